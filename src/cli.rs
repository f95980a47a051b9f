//! The command line: the same operations as the functions, run directly, so that a restore is possible when the
//! Functions app itself is gone.

mod backup;
mod copy;
mod diff;
mod drill;
mod guard;
mod list;
mod listing;
mod manual;
mod operations;
mod print;
mod prune;
mod remote;
mod restore;
mod show;
mod status;
mod stop;
mod verify;
mod version;

use std::{ffi::OsString, process::ExitCode};

use clap::{
    ArgMatches, Args as _, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    parser::ValueSource,
};
use time::OffsetDateTime;
use uuid::Uuid;

use self::print::{End, Printer};
use crate::{
    app::App,
    config::{AppSettings, Config, Settings, connect::Connections},
    coverage::{self, Cause, Coverage},
    error::{Error, ErrorKind, Result},
    events, functions,
    model::{Timestamp, VaultName, did_you_mean},
    repository::Repository,
    store,
    telemetry::Telemetry,
};

/// Backs up every key, secret and certificate of Azure Key Vaults, and restores them.
#[derive(Debug, Parser)]
///
/// It works directly against vaults and storage, as whoever is signed in (az login) or with a managed identity, so that
/// a restore is possible when the Functions app itself is gone. Settings are flags or environment variables of the same
/// meaning; only BACKUP_STORE_URL is required.
#[command(name = "keyvault-backup", version, long_version = version::FACTS, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table, help_heading = "Output")]
    output: Output,
    #[command(flatten)]
    terminal: print::Options,
    #[command(flatten)]
    app: AppSettings,
    #[command(flatten)]
    settings: Settings,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs: one JSON document on standard output, also when it fails.
    Json,
}

/// In the order of the help: what is done often stands first. When each is for is said where its arguments are.
#[derive(Debug, Subcommand)]
enum Command {
    Backup(backup::BackUp),
    Restore(restore::Restore),
    List(list::List),
    Show(show::Show),
    Diff(diff::Diff),
    Status(status::Status),
    Operations(operations::Operations),
    Verify(verify::Verify),
    Drill(drill::Drill),
    Guard(guard::Guard),
    Prune(prune::Prune),
    Copy(copy::Copy),
    /// Answer the Azure Functions host.
    ///
    /// This is what host.json starts; nobody else has to. It listens on 127.0.0.1 only, and logs to standard output.
    Serve {
        /// The port on 127.0.0.1.
        #[arg(long, env = "FUNCTIONS_CUSTOMHANDLER_PORT", value_name = "PORT")]
        port: u16,
    },
    /// Print completions for a shell.
    ///
    /// A script to be kept where the shell looks for completions. It is the same whatever --output says.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print a manual page.
    ///
    /// In the format of man(1). It is the same whatever --output says.
    Man {
        /// The command [default: the page of the program].
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(manual::names()))]
        command: Option<String>,
    },
}

/// Runs the command that `arguments` hold, the program's name first.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let color = wanted_color(&arguments);
    let parsed = command_line().color(color).try_get_matches_from(&arguments);
    let parsed = parsed.and_then(|parsed| Ok((Arguments::from_arg_matches(&parsed)?, Typed::of(&parsed))));
    let (arguments, typed) = match parsed.map_err(|message| manual::with_plain_usage(message, command_line())) {
        Ok(parsed) => parsed,
        // Help and version are answers; everything else is a mistake.
        Err(message) if message.use_stderr() && wants_json(&arguments) => {
            Printer::new(true, &print::Options::default(), false).errors(&[usage(&message)]);
            return ExitCode::from(print::USAGE);
        }
        Err(message) if is_welcome(&message) => {
            Printer::new(false, &print::Options::default(), false).complain(manual::WELCOME.trim_end());
            // A script that lost its command must not look like one that did something.
            return ExitCode::from(print::USAGE);
        }
        Err(message) => {
            let _ = message.print();
            return if message.use_stderr() { ExitCode::from(print::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let logs = log_level(&arguments.settings).is_some_and(|level| level != "off");
    let printer = Printer::new(arguments.output == Output::Json, &arguments.terminal, logs);
    let telemetry = Telemetry::start();
    let code = match execute(arguments, &typed, &printer, &telemetry).await {
        Ok(end) => end.into(),
        Err(errors) => {
            printer.errors(&errors);
            End::of_errors(&errors).into()
        }
    };
    if let Ok(Some(telemetry)) = telemetry {
        telemetry.finish().await;
    }
    code
}

/// The definitions of all commands with their manuals: what `--help`, completions, manual pages and `docs/commands.md`
/// are made of.
pub fn command_line() -> clap::Command {
    manual::complete(Arguments::command())
}

/// Whether no command was given.
fn is_welcome(message: &clap::Error) -> bool {
    use clap::error::ErrorKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    matches!(message.kind(), DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand)
}

/// What was given as flags, and not by the environment, where it may stand for another day.
struct Typed {
    /// Settings, which mean nothing to an app that has settings of its own.
    settings: Vec<String>,
    /// How the app is reached, which means nothing without one.
    app: Vec<String>,
}

impl Typed {
    fn of(parsed: &ArgMatches) -> Self {
        let all = |command: clap::Command| -> Vec<String> {
            let of_both = ["azure_cloud", "log_level"];
            let typed = |id: &str| parsed.value_source(id) == Some(ValueSource::CommandLine) && !of_both.contains(&id);
            let arguments = command.get_arguments().filter(|argument| typed(argument.get_id().as_str()));
            arguments.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
        };
        let none = || clap::Command::new("none");
        Self { settings: all(Settings::augment_args(none())), app: all(AppSettings::augment_args(none())) }
    }
}

/// Whether a command line that cannot be read asks for JSON all the same.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "--output=json")
        || arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

/// The colour that a command line asks for, also one that cannot be read or asks for help.
fn wanted_color(arguments: &[OsString]) -> ColorChoice {
    let flags = arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("--color="));
    let pairs = arguments.windows(2).filter(|pair| pair[0] == "--color").filter_map(|pair| pair[1].to_str());
    flags.chain(pairs).find_map(|choice| choice.parse().ok()).unwrap_or_default()
}

/// What is logged, if that is said.
fn log_level(settings: &Settings) -> Option<&str> {
    settings.log_level.as_deref().map(str::trim).filter(|level| !level.is_empty())
}

/// A wrong command line as an error: what is wrong with it and what may have been meant, without the usage lines.
fn usage(message: &clap::Error) -> Error {
    let text = message.to_string();
    let said = text.split("\n\n").take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more "));
    let said: Vec<String> = said
        .map(|part| part.trim().trim_start_matches("error: ").trim_start_matches("tip: "))
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    Error::new(ErrorKind::InvalidInput, format!("The command line is wrong: {}. See --help.", said.join("; ")))
}

async fn execute(
    arguments: Arguments,
    typed: &Typed,
    printer: &Printer,
    telemetry: &Result<Option<Telemetry>>,
) -> Result<End, Vec<Error>> {
    let Arguments { command, app, mut settings, .. } = arguments;
    if let Command::Copy(copy) = &command {
        copy.choose_source(&mut settings);
    }
    let one = |error: Error| vec![error];
    let serves = matches!(command, Command::Serve { .. });
    let (log, usual) = if serves { (events::Output::Json, "info") } else { (events::Output::Plain, "off") };
    let level = log_level(&settings).unwrap_or(usual);
    let listening = telemetry.as_ref().ok().and_then(Option::as_ref);
    // A wrong level is one mistake among others, and the others must be heard of.
    let mut mistakes = Vec::new();
    if let Err(mistake) = events::install(log, level, listening) {
        mistakes.push(mistake);
        events::install(log, usual, listening).map_err(one)?;
    }
    // No reason not to back up.
    if let Err(error) = telemetry {
        tracing::warn!("{} Nothing is sent.", error.message());
    }
    if let Command::Completions { shell } = command {
        printer.text(&manual::completions(command_line(), shell));
        return Ok(End::GOOD);
    }
    if let Command::Man { command } = command {
        printer.text(&manual::page(command_line(), &command.unwrap_or_default()));
        return Ok(End::GOOD);
    }
    if app.are_set() && !serves {
        let access = app.read(&settings.azure_cloud).map_err(|more| mistakes.extend(more));
        if let [flag, ..] = &typed.settings[..] {
            let message = format!(
                "{flag} means nothing to the app, which has settings of its own. Leave it out, or change the app's setting."
            );
            mistakes.push(Error::invalid(flag, message));
        }
        return match access {
            Ok(access) if mistakes.is_empty() => {
                let app = App::new(access).map_err(one)?;
                unless_stopped(command.run_by(&app, printer), printer).await.map_err(one)
            }
            _ => Err(mistakes),
        };
    }
    if app.are_set() {
        let message = "An app cannot let another app answer for it. Remove BACKUP_APP_URL from its settings.";
        mistakes.push(Error::invalid("BACKUP_APP_URL", message));
    }
    if let ([flag, ..], false) = (&typed.app[..], app.are_set()) {
        let message = format!(
            "{flag} is about the deployed app, and nothing says where that is. Give its address with --app, or leave \
             {flag} out."
        );
        mistakes.push(Error::invalid(flag, message));
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
    unless_stopped(command.run(&connections, printer), printer).await.map_err(one)
}

/// Does this, unless somebody stops it.
async fn unless_stopped(work: impl Future<Output = Result<End>>, printer: &Printer) -> Result<End> {
    let stop = stop::requested();
    let end = tokio::select! {
        end = work => end,
        () = stop => Ok(printer.stopped()),
    };
    store::azure::all_given_back().await;
    end
}

impl Command {
    async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        match self {
            Self::Backup(command) => command.run(connections, printer).await,
            Self::Restore(command) => command.run(connections, printer).await,
            Self::List(command) => command.run(connections, printer).await,
            Self::Show(command) => command.run(connections, printer).await,
            Self::Prune(command) => command.run(connections, printer).await,
            Self::Copy(command) => command.run(connections, printer).await,
            Self::Verify(command) => command.run(connections, printer).await,
            Self::Drill(command) => command.run(connections, printer).await,
            Self::Diff(command) => command.run(connections, printer).await,
            Self::Status(command) => command.run(connections, printer).await,
            Self::Operations(command) => command.run(connections, printer).await,
            Self::Guard(command) => command.run(connections, printer).await,
            Self::Serve { .. } | Self::Completions { .. } | Self::Man { .. } => Ok(End::GOOD),
        }
    }

    /// The same by the deployed app.
    async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        match self {
            Self::Backup(command) => command.run_by(app, printer).await,
            Self::Restore(command) => command.run_by(app, printer).await,
            Self::List(command) => command.run_by(app, printer).await,
            Self::Show(command) => command.run_by(app, printer).await,
            Self::Prune(command) => command.run_by(app, printer).await,
            Self::Verify(command) => command.run_by(app, printer).await,
            Self::Drill(command) => command.run_by(app, printer).await,
            Self::Diff(command) => command.run_by(app, printer).await,
            Self::Status(command) => command.run_by(app, printer).await,
            Self::Operations(command) => command.run_by(app, printer).await,
            Self::Guard(command) => command.run_by(app, printer).await,
            Self::Copy(_) | Self::Serve { .. } | Self::Completions { .. } | Self::Man { .. } => {
                let message = "This command is about this machine, and the app can do nothing for it. Leave --app out, \
                               and BACKUP_APP_URL.";
                Err(Error::invalid("BACKUP_APP_URL", message))
            }
        }
    }
}

/// The id of an operation, as a person types it.
fn operation_id(text: &str) -> Result<Uuid, String> {
    let advice = "it is not the id of an operation, which is a GUID; `keyvault-backup operations` lists the newest";
    text.parse().map_err(|_| advice.to_owned())
}

/// The vault of that name or URI.
fn name(connections: &Connections, name: &str) -> Result<VaultName> {
    VaultName::parse(name, connections.config().cloud)
}

/// The vaults of these names, or all in scope when there are none.
fn vaults(connections: &Connections, names: &[String]) -> Result<Vec<VaultName>> {
    if names.is_empty() && connections.config().vaults.is_empty() {
        let message = "There is nothing to do: name a vault, or set BACKUP_VAULTS.";
        return Err(Error::invalid("BACKUP_VAULTS", message));
    }
    if names.is_empty() {
        return Ok(connections.config().vaults.clone());
    }
    names.iter().map(|vault| name(connections, vault)).collect()
}

/// The vaults of these names. One of which nothing is known is refused when another may have been meant.
async fn known_vaults(connections: &Connections, repository: &Repository, names: &[String]) -> Result<Vec<VaultName>> {
    let mut vaults = Vec::new();
    for text in names {
        vaults.push(known_vault(connections, repository, text).await?);
    }
    Ok(vaults)
}

async fn known_vault(connections: &Connections, repository: &Repository, text: &str) -> Result<VaultName> {
    let vault = name(connections, text)?;
    let meant = meant_vault(connections, repository, &vault).await;
    if meant.is_empty() { Ok(vault) } else { Err(unknown_vault(&vault, &repository.describe(), &meant)) }
}

/// What the app says of the vaults of these names, refused likewise; of all that it knows when there are none.
async fn known_rows(app: &App, names: &[String]) -> Result<Vec<Coverage>> {
    let vaults = names.iter().map(|vault| app.name(vault)).collect::<Result<Vec<_>>>()?;
    let rows = app.vaults(&vaults).await?;
    let is_unknown = |row: &&Coverage| {
        let could_look = row.attention.iter().all(|reason| reason.cause != Cause::Unknown);
        !row.in_scope && row.backups == 0 && could_look
    };
    if let (Some(Coverage { vault, .. }), false) = (rows.iter().find(is_unknown), names.is_empty()) {
        let known = app.vaults(&[]).await.unwrap_or_default();
        let meant = did_you_mean(vault.as_str(), known.iter().map(|row| row.vault.as_str()));
        if !meant.is_empty() {
            return Err(unknown_vault(vault, &app.describe(), &meant));
        }
    }
    Ok(rows)
}

fn unknown_vault(vault: &VaultName, place: &str, meant: &str) -> Error {
    let message = format!(
        "Nothing is known of vault {vault} in {place}: BACKUP_VAULTS does not name it, and there is no backup of it.{meant}"
    );
    Error::new(ErrorKind::NotFound, message).at("vault")
}

/// Which vault may have been meant instead of one that nothing is known of: of those in scope and those with backups.
async fn meant_vault(connections: &Connections, repository: &Repository, vault: &VaultName) -> String {
    let scope = &connections.config().vaults;
    if scope.contains(vault) {
        return String::new();
    }
    // Whatever is wrong with that listing is told by what was asked for.
    let known = coverage::vaults(repository, scope).await.unwrap_or_default();
    if known.contains(vault) {
        return String::new();
    }
    did_you_mean(vault.as_str(), known.iter().map(VaultName::as_str))
}

#[allow(clippy::disallowed_methods, reason = "a use case is given the time; this is where it comes from")]
fn now() -> Timestamp {
    OffsetDateTime::now_utc().into()
}
