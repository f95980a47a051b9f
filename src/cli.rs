//! The command line: the same operations as the functions, run directly, so that a restore is possible when the
//! Functions app itself is gone.

mod backup;
mod diff;
mod drill;
mod guard;
mod list;
mod operations;
mod print;
mod prune;
mod remote;
mod restore;
mod show;
mod status;
mod verify;

use std::{ffi::OsString, io::IsTerminal as _, process::ExitCode};

use clap::{
    ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, parser::ValueSource,
};
use time::OffsetDateTime;

use self::print::{End, Printer};
use crate::{
    app::App,
    config::{AppSettings, Config, Settings, connect::Connections},
    error::{Error, ErrorKind, Result},
    events, functions,
    model::{Timestamp, VaultName},
    telemetry::Telemetry,
};

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
    app: AppSettings,
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
    Backup(backup::BackUp),
    /// Restore a backup into a vault.
    Restore(restore::Restore),
    /// List the vaults that have backups, or the backups of one vault.
    List(list::List),
    /// Show a backup and its items.
    Show(show::Show),
    /// Remove the backups that the retention policy does not keep.
    Prune(prune::Prune),
    /// Check that every stored backup is sound.
    Verify(verify::Verify),
    /// Restore the newest backup into an empty vault, compare, and remove it there again.
    Drill(drill::Drill),
    /// Show what differs between two backups, or a backup and the vault.
    Diff(diff::Diff),
    /// Show how well each vault is protected.
    Status(status::Status),
    /// Show what was started, and how it stands.
    Operations(operations::Operations),
    /// Show or acknowledge what tripped the guard against mass deletion.
    Guard(guard::Guard),
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
    let parsed = command_line().try_get_matches_from(&arguments);
    let parsed = parsed.and_then(|parsed| Ok((Arguments::from_arg_matches(&parsed)?, typed_settings(&parsed))));
    let (arguments, typed) = match parsed {
        Ok(parsed) => parsed,
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

/// The command line with the exit codes in the help of every command.
fn command_line() -> clap::Command {
    Arguments::command().mut_subcommands(|command| {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        command.after_help(format!("{examples}\n\n{}", print::EXIT_CODES))
    })
}

/// The settings that were given as flags, which mean nothing to an app that has settings of its own.
fn typed_settings(parsed: &ArgMatches) -> Vec<String> {
    let all = Settings::augment_args(clap::Command::new("settings"));
    let of_both = ["azure_cloud", "log_level"];
    all.get_arguments()
        .filter(|argument| !of_both.contains(&argument.get_id().as_str()))
        .filter(|argument| parsed.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine))
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .collect()
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

async fn execute(
    arguments: Arguments,
    typed: &[String],
    printer: &Printer,
    telemetry: &Result<Option<Telemetry>>,
) -> Result<End, Vec<Error>> {
    let Arguments { command, app, settings, .. } = arguments;
    let one = |error: Error| vec![error];
    let serves = matches!(command, Command::Serve { .. });
    let (log, usual) = if serves { (events::Output::Json, "info") } else { (events::Output::Plain, "off") };
    let level = settings.log_level.as_deref().map(str::trim).filter(|level| !level.is_empty()).unwrap_or(usual);
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
        let mut completions = Vec::new();
        clap_complete::generate(shell, &mut command_line(), "keyvault-backup", &mut completions);
        printer.text(&String::from_utf8_lossy(&completions));
        return Ok(End::GOOD);
    }
    if app.are_set() && !serves {
        let access = app.read(&settings.azure_cloud).map_err(|more| mistakes.extend(more));
        if let [flag, ..] = typed {
            let message = format!(
                "{flag} means nothing to the app, which has settings of its own. Leave it out, or change the app's setting."
            );
            mistakes.push(Error::invalid(flag, message));
        }
        return match access {
            Ok(access) if mistakes.is_empty() => {
                let app = App::new(access).map_err(one)?;
                command.run_by(&app, printer).await.map_err(one)
            }
            _ => Err(mistakes),
        };
    }
    if app.are_set() {
        let message = "An app cannot let another app answer for it. Remove BACKUP_APP_URL from its settings.";
        mistakes.push(Error::invalid("BACKUP_APP_URL", message));
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
    match command {
        Command::Backup(command) => command.run(&connections, printer).await,
        Command::Restore(command) => command.run(&connections, printer).await,
        Command::List(command) => command.run(&connections, printer).await,
        Command::Show(command) => command.run(&connections, printer).await,
        Command::Prune(command) => command.run(&connections, printer).await,
        Command::Verify(command) => command.run(&connections, printer).await,
        Command::Drill(command) => command.run(&connections, printer).await,
        Command::Diff(command) => command.run(&connections, printer).await,
        Command::Status(command) => command.run(&connections, printer).await,
        Command::Operations(command) => command.run(&connections, printer).await,
        Command::Guard(command) => command.run(&connections, printer).await,
        Command::Serve { .. } | Command::Completions { .. } => Ok(End::GOOD),
    }
    .map_err(one)
}

impl Command {
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
            Self::Serve { .. } | Self::Completions { .. } => {
                let message = "This command is about this machine, and the app can do nothing for it. Leave --app out.";
                Err(Error::invalid("BACKUP_APP_URL", message))
            }
        }
    }
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

#[allow(clippy::disallowed_methods, reason = "a use case is given the time; this is where it comes from")]
fn now() -> Timestamp {
    OffsetDateTime::now_utc().into()
}
