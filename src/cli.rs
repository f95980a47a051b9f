//! The command line: the same operations as the functions, run directly, so that a restore is possible when the
//! Functions app itself is gone.

mod print;

use std::{ffi::OsString, io::IsTerminal as _, process::ExitCode, sync::Arc};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use self::print::{End, Printer, Row};
use crate::{
    config::{
        Config, Settings,
        connect::{Connections, Role},
    },
    error::{Error, ErrorKind, Result},
    events, functions,
    jobs::{self, BackupRequest, RestoreRequest},
    model::{Label, Timestamp, VaultName},
    operation::Attempts,
    report::Progress,
    repository::{
        BackupRef, Repository, Selector,
        operation::{Operation, OperationKind},
    },
    restore::{OnConflict, OnDeleted},
};

/// Vaults backed up at once by one command.
const VAULTS_AT_ONCE: usize = 4;

/// Backs up every key, secret and certificate of Azure Key Vaults, and restores them.
#[derive(Debug, Parser)]
#[command(name = "keyvault-backup", version, max_term_width = 100, after_help = print::EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs: one JSON document on standard output.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer the Azure Functions host. This is what host.json starts.
    #[command(after_help = "Example:\n  \
        keyvault-backup serve --port 7071")]
    Serve {
        /// The port on 127.0.0.1.
        #[arg(long, env = "FUNCTIONS_CUSTOMHANDLER_PORT", value_name = "PORT")]
        port: u16,
    },
    /// Back up vaults now.
    #[command(after_help = "Examples:\n  \
        keyvault-backup backup contoso-prod --label before-upgrade\n  \
        keyvault-backup backup --full            (every vault in BACKUP_VAULTS, every item read anew)")]
    Backup {
        /// Names or URIs of vaults [default: all of BACKUP_VAULTS].
        vaults: Vec<String>,
        /// A name for the backup, by which it can be restored.
        #[arg(long, value_parser = Label::chosen)]
        label: Option<Label>,
        /// Read every item anew, also those that seem unchanged.
        #[arg(long)]
        full: bool,
    },
    /// Restore a backup into a vault.
    #[command(after_help = "Examples:\n  \
        keyvault-backup restore contoso-prod --to contoso-dr --dry-run\n  \
        keyvault-backup restore contoso-prod --to contoso-prod --items secrets/db-password\n  \
        keyvault-backup restore contoso-prod --to contoso-dr --backup 2026-11-21T02:00:00Z")]
    Restore {
        /// The vault whose backup it is.
        vault: String,
        /// The vault to restore into; RESTORE_TARGET_VAULTS must name it.
        #[arg(long, value_name = "VAULT")]
        to: String,
        /// latest, an id, a label, or a time: then the newest backup that was complete at that time.
        #[arg(long, default_value = "latest")]
        backup: String,
        /// Patterns of items such as secrets/db-* or !keys/tmp-* [default: all].
        #[arg(long, value_name = "PATTERN", num_args = 1.., value_delimiter = ',')]
        items: Vec<String>,
        /// When another item or version of that name is in the target: skip it, fail before anything is restored, or
        /// replace it after keeping a safety copy.
        #[arg(long, value_name = "WHAT", default_value = "skip")]
        on_conflict: OnConflict,
        /// When the name is held by a deleted item: recover it, fail before anything is restored, or purge it after
        /// keeping a safety copy.
        #[arg(long, value_name = "WHAT", default_value = "recover")]
        on_deleted: OnDeleted,
        /// Show what would be done and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// The id of an interrupted restore, to go on with it.
        #[arg(long, value_name = "ID")]
        resume: Option<Uuid>,
    },
    /// List the vaults that have backups, or the backups of one vault.
    #[command(after_help = "Examples:\n  \
        keyvault-backup list\n  \
        keyvault-backup list contoso-prod --output json")]
    List {
        /// The vault.
        vault: Option<String>,
    },
    /// Show a backup and its items.
    #[command(after_help = "Examples:\n  \
        keyvault-backup show contoso-prod\n  \
        keyvault-backup show contoso-prod before-upgrade --output json")]
    Show {
        /// The vault.
        vault: String,
        /// latest, an id, a label or a time.
        #[arg(default_value = "latest")]
        backup: String,
    },
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  \
        keyvault-backup completions bash > ~/.local/share/bash-completion/completions/keyvault-backup")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the command that `arguments` hold, the program's name first.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed =
        command_line().try_get_matches_from(&arguments).and_then(|parsed| Arguments::from_arg_matches(&parsed));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        // Help and version are answers; everything else is a mistake.
        Err(message) if message.use_stderr() && wants_json(&arguments) => {
            Printer::new(true, false).errors(&[usage(&message)]);
            return ExitCode::from(print::USAGE);
        }
        Err(message) => {
            let _ = message.print();
            return if message.use_stderr() { ExitCode::from(print::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let printer = Printer::new(arguments.output == Output::Json, std::io::stderr().is_terminal());
    match execute(arguments, &printer).await {
        Ok(end) => end.into(),
        Err(errors) => {
            printer.errors(&errors);
            End::of_errors(&errors).into()
        }
    }
}

/// The command line with the exit codes in the help of every command.
fn command_line() -> clap::Command {
    Arguments::command().mut_subcommands(|command| {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        command.after_help(format!("{examples}\n\n{}", print::EXIT_CODES))
    })
}

/// Whether a command line that cannot be read asks for JSON all the same.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "--output=json")
        || arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

/// A wrong command line as an error: what is wrong with it, without the usage lines.
fn usage(message: &clap::Error) -> Error {
    let text = message.to_string();
    let text = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let line: Vec<&str> = text.split_whitespace().collect();
    Error::new(ErrorKind::InvalidInput, format!("The command line is wrong: {}. See --help.", line.join(" ")))
}

async fn execute(arguments: Arguments, printer: &Printer) -> Result<End, Vec<Error>> {
    let Arguments { command, settings, .. } = arguments;
    let one = |error: Error| vec![error];
    let serves = matches!(command, Command::Serve { .. });
    let (log, usual) = if serves { (events::Output::Json, "info") } else { (events::Output::Plain, "off") };
    let level = settings.log_level.as_deref().map(str::trim).filter(|level| !level.is_empty()).unwrap_or(usual);
    // A wrong level is one mistake among others, and the others must be heard of.
    let mut mistakes = Vec::new();
    if let Err(mistake) = events::install(log, level) {
        mistakes.push(mistake);
        events::install(log, usual).map_err(one)?;
    }
    if let Command::Completions { shell } = command {
        let mut completions = Vec::new();
        clap_complete::generate(shell, &mut command_line(), "keyvault-backup", &mut completions);
        printer.text(&String::from_utf8_lossy(&completions));
        return Ok(End::GOOD);
    }
    let config = Config::read(&settings).map_err(|more| mistakes.extend(more));
    let connections = match config {
        Ok(config) if mistakes.is_empty() => Ok(Connections::new(config)),
        _ => Err(mistakes),
    };
    if let Command::Serve { port } = command {
        functions::serve(connections, port).await.map_err(one)?;
        // It serves until it is ended; the host takes exit code 0 for "never start again".
        let message = "The handler stopped listening. Start it again.";
        return Err(one(Error::new(ErrorKind::Internal, message)));
    }
    let connections = connections?;
    let name = |name: &str| VaultName::parse(name, connections.config().cloud).map_err(one);
    match command {
        Command::Backup { vaults, label, full } => {
            let vaults = vaults.iter().map(|vault| name(vault)).collect::<Result<Vec<_>, _>>()?;
            back_up(&connections, vaults, label, full, printer).await.map_err(one)
        }
        Command::Restore { vault, to, backup, items, on_conflict, on_deleted, dry_run, resume } => {
            let (vault, target_vault) = (name(&vault)?, name(&to)?);
            let request = RestoreRequest { vault, backup, target_vault, items, on_conflict, on_deleted };
            restore(&connections, request, dry_run, resume, printer).await.map_err(one)
        }
        Command::List { vault: None } => {
            let repository = connections.repository(Role::Restore).map_err(one)?;
            list_vaults(&repository, printer).await.map_err(one)
        }
        Command::List { vault: Some(vault) } => {
            let repository = connections.repository(Role::Restore).map_err(one)?;
            list_backups(&repository, &name(&vault)?, printer).await.map_err(one)
        }
        Command::Show { vault, backup } => {
            let repository = connections.repository(Role::Restore).map_err(one)?;
            show(&repository, &name(&vault)?, &backup, printer).await.map_err(one)
        }
        Command::Serve { .. } | Command::Completions { .. } => Ok(End::GOOD),
    }
}

async fn back_up(
    connections: &Connections,
    vaults: Vec<VaultName>,
    label: Option<Label>,
    full: bool,
    printer: &Printer,
) -> Result<End> {
    let vaults = if vaults.is_empty() { connections.config().vaults.clone() } else { vaults };
    if vaults.is_empty() {
        let message = "There is nothing to back up: name a vault, or set BACKUP_VAULTS.";
        return Err(Error::invalid("BACKUP_VAULTS", message));
    }
    let repository = connections.repository(Role::Backup)?;
    let work = stream::iter(vaults)
        .map(|vault| {
            let (repository, label) = (&repository, label.clone());
            async move {
                let now = now();
                let request = json!(BackupRequest { full });
                let mut operation = Operation::new(Uuid::new_v4(), OperationKind::Backup, vault.clone(), request, now);
                operation.label = label;
                let progress = Arc::new(Progress::default());
                let bar = printer.progress(&format!("Backing up {vault}"), &progress);
                let result = async {
                    repository.create_operation(&operation).await?;
                    jobs::back_up(connections, operation, Attempts::Last, &progress, now).await
                }
                .await;
                bar.finish();
                (vault, result)
            }
        })
        .buffer_unordered(VAULTS_AT_ONCE)
        .collect::<Vec<(VaultName, Result<Operation>)>>();
    let results = tokio::select! {
        results = work => results,
        _ = tokio::signal::ctrl_c() => {
            let message = "Stopped. Backups that were finished stay; of the others nothing is to be seen. Give the command \
                           again; it may wait half a minute until the storage knows that this one has ended.";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
    };
    printer.backups(&results);
    Ok(End::of_operations(results.iter().map(|(_, result)| result.as_ref())))
}

async fn restore(
    connections: &Connections,
    request: RestoreRequest,
    dry_run: bool,
    resume: Option<Uuid>,
    printer: &Printer,
) -> Result<End> {
    connections.config().check_restore_target(&request.target_vault)?;
    if dry_run {
        let plan = jobs::plan_restore(connections, &request).await?;
        printer.plan(&plan);
        return Ok(End::GOOD);
    }
    let repository = connections.repository(Role::Restore)?;
    // A backup that does not exist is a mistake of the command, not an operation that fails.
    let selector: Selector = request.backup.parse()?;
    repository.find(&request.vault, &selector).await?;
    let now = now();
    let mut operation = Operation::new(
        resume.unwrap_or_else(Uuid::new_v4),
        OperationKind::Restore,
        request.vault.clone(),
        json!(request),
        now,
    );
    operation.target_vault = Some(request.target_vault.clone());
    if let Some(known) = repository.create_operation(&operation).await? {
        if known.request != operation.request {
            let message = format!("Operation {} is not this restore. Repeat the command that began it.", operation.id);
            return Err(Error::invalid("--resume", message));
        }
        operation = known;
    }
    if !operation.status.is_final() {
        let id = operation.id;
        let progress = Arc::new(Progress::default());
        let bar = printer.progress(&format!("Restoring into {}", request.target_vault), &progress);
        let work = jobs::restore(connections, operation, Attempts::Last, &progress, now);
        let result = tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => {
                let message = format!(
                    "Stopped. What was restored stays; go on with the same command and --resume {id}."
                );
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        };
        bar.finish();
        operation = result?;
    }
    printer.restored(&operation);
    Ok(End::of_operations([Ok(&operation)]))
}

async fn list_vaults(repository: &Repository, printer: &Printer) -> Result<End> {
    let mut rows = Vec::new();
    for vault in repository.vaults().await? {
        let backups = repository.backups(&vault).await?;
        let newest = match backups.last() {
            Some(newest) => Some(row(repository, newest.clone()).await?),
            None => None,
        };
        rows.push((vault, backups.len(), newest));
    }
    printer.vaults(&repository.describe(), &rows);
    Ok(end_of_listing(rows.iter().filter_map(|(_, _, newest)| newest.as_ref())))
}

async fn list_backups(repository: &Repository, vault: &VaultName, printer: &Printer) -> Result<End> {
    let backups = repository.backups(vault).await?;
    if backups.is_empty() {
        // Says which vaults there are.
        repository.find(vault, &Selector::Latest).await?;
    }
    let newest_first = backups.into_iter().rev();
    let rows: Vec<Row> =
        stream::iter(newest_first).map(|backup| row(repository, backup)).buffered(8).try_collect().await?;
    printer.backup_list(vault, &rows);
    Ok(end_of_listing(&rows))
}

/// A backup of a listing. One that is damaged, or from a newer release, must not hide the others.
async fn row(repository: &Repository, backup: BackupRef) -> Result<Row> {
    match repository.header(&backup).await {
        Err(error) if !error.kind().is_of_stored_data() => Err(error),
        header => Ok((backup, header)),
    }
}

fn end_of_listing<'a>(rows: impl IntoIterator<Item = &'a Row>) -> End {
    let unreadable = rows.into_iter().find_map(|(_, header)| header.as_ref().err());
    unreadable.map_or(End::GOOD, |error| End::of_errors(std::slice::from_ref(error)))
}

async fn show(repository: &Repository, vault: &VaultName, backup: &str, printer: &Printer) -> Result<End> {
    let selector: Selector = backup.parse()?;
    let manifest = repository.open(&repository.find(vault, &selector).await?).await?;
    printer.backup(&manifest);
    Ok(End::GOOD)
}

#[allow(clippy::disallowed_methods, reason = "a use case is given the time; this is where it comes from")]
fn now() -> Timestamp {
    OffsetDateTime::now_utc().into()
}
