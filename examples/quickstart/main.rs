//! The whole story on one machine: a vault is backed up by the timer, lost, and restored into another vault, every
//! item identical.
//!
//! The vaults, the identities and the Functions host are simulated; the program under them is the real one. It runs as
//! a child process behind the host, from the repository's own `host.json` and function folders. This executable is that
//! child too: called with a command of `keyvault-backup`, such as `serve` or `list`, it is `keyvault-backup`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it tells its story on the terminal")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it arranges the outside that the program meets"
)]

mod app;
mod azure;
mod proof;
mod story;

use std::{
    error::Error,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use indicatif::HumanBytes;
use keyvault_backup::{
    cli,
    functions::FUNCTIONS,
    vault::pacing::{DEFAULT_REQUESTS_PER_SECOND, FOR_EMULATORS, Pacing},
};
use serde_json::{Value, json};
use simulator::key_vault::{Kind, Snapshot};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    app::{Answer, App, Backup},
    azure::{Azure, DISASTER_RECOVERY, PRODUCTION},
    proof::Proof,
    story::{Story, count, number, shown},
};

/// Every failure ends the story with a sentence.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Differences that are printed; more would say no more.
const SHOWN_DIFFERENCES: usize = 20;

/// Backs up, loses and restores a simulated Key Vault on this machine, with the real program.
#[derive(Parser)]
#[command(name = "quickstart", max_term_width = 100)]
struct Arguments {
    /// How many keys, secrets and certificates the vault holds.
    #[arg(long, value_name = "NUMBER", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    items: u32,
    /// Print the result as one line of JSON; the story goes to standard error.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let is_command = |first: OsString| !first.to_string_lossy().starts_with('-');
    if std::env::args_os().nth(1).is_some_and(is_command) {
        return runtime.block_on(cli::run(std::env::args_os()));
    }
    let arguments = Arguments::parse();
    // Whichever comes first: what is dropped then takes the handler with it.
    runtime.block_on(async {
        tokio::select! {
            ending = tell(&arguments) => ending.unwrap_or_else(|error| failed(&*error)),
            stop = asked_to_stop() => stop.map_or_else(|error| failed(&error), |()| {
                eprintln!("Stopped; the handler is ended too.");
                ExitCode::FAILURE
            }),
        }
    })
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("The quickstart failed: {error}");
    ExitCode::FAILURE
}

async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// The story from its beginning to its end, or to its first failure.
async fn tell(arguments: &Arguments) -> Result<ExitCode> {
    let mut story = Story::new(arguments.json);
    story.line("Key Vault backup and restore on one machine. Azure and its Functions host are simulated;");
    story.line("the program is the real one, in a process of its own.");

    story.chapter("A vault to protect");
    let folder = new_folder()?;
    let azure = Azure::open(&folder, arguments.items as usize).await?;
    let before = azure.vaults.snapshot(PRODUCTION);
    show_vault(&mut story, &before);

    story.chapter("The function app starts");
    let requests_per_second = requests_per_second(arguments.items);
    let app = App::start(&azure, &folder, requests_per_second).await?;
    introduce(&mut story, &app, requests_per_second)?;

    let proof = act(&mut story, &azure, &app, &before, &folder).await;
    if proof.is_err() {
        app.complaints().iter().for_each(|line| eprintln!("{line}"));
    }
    app.stop().await;
    let proof = proof?;

    let succeeded = proof.differences.is_empty();
    if succeeded {
        let (all, seconds) = (count(proof.identical), story.elapsed().as_secs_f64());
        story.line(format!("\nAll {all} items are back, identical. The whole story took {seconds:.1} s."));
        what_next(&mut story, &folder)?;
    } else {
        eprintln!("\nNot everything came back as it was:");
        proof.differences.iter().take(SHOWN_DIFFERENCES).for_each(|difference| eprintln!("  {difference}"));
        if proof.differences.len() > SHOWN_DIFFERENCES {
            eprintln!("  and {} more", proof.differences.len() - SHOWN_DIFFERENCES);
        }
    }
    if arguments.json {
        println!("{}", proof.json(story.elapsed()));
    }
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The backup, the disaster, the restore and the proof.
async fn act(story: &mut Story, azure: &Azure, app: &App, before: &Snapshot, folder: &Path) -> Result<Proof> {
    story.chapter("The timer fires");
    let backup = back_up(story, app, folder).await?;

    story.chapter("Disaster");
    azure.vaults.lose_everything(PRODUCTION);
    let left = azure.vaults.snapshot(PRODUCTION).items.len();
    story.line(format!("   All of {PRODUCTION} is deleted and purged. Items left: {left}."));

    story.chapter("A look before the restore");
    preview(story, app).await?;

    story.chapter("The restore");
    let operation = restore(story, app).await?;

    story.chapter("The proof");
    let after = azure.vaults.snapshot(DISASTER_RECOVERY);
    let mut proof = Proof::of(&backup, &operation, before, &after);
    proof.differences.extend(azure.surprises());
    proof.show(story);
    Ok(proof)
}

/// The first free number below `target/quickstart`, so that no run meets the files of another.
fn new_folder() -> Result<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join("quickstart");
    fs::create_dir_all(&all).map_err(|error| format!("the folder {} cannot be made: {error}", all.display()))?;
    for number in 1_u32.. {
        let folder = all.join(number.to_string());
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("the folder {} cannot be made: {error}", folder.display()).into()),
        }
    }
    Err("every number is taken".into())
}

/// The program's default, unless the restore would take more than about ten seconds then.
fn requests_per_second(items: u32) -> f64 {
    let few = f64::from(items) <= 10.0 * Pacing::new(DEFAULT_REQUESTS_PER_SECOND).restores_per_second();
    if few { DEFAULT_REQUESTS_PER_SECOND } else { FOR_EMULATORS }
}

fn show_vault(story: &mut Story, vault: &Snapshot) {
    let rows = Kind::ALL.map(|kind| {
        let of_kind = vault.items.iter().filter(|((of, _), _)| *of == kind).map(|(_, item)| item);
        let (managed, own): (Vec<_>, Vec<_>) = of_kind.partition(|item| item.managed);
        let versions: usize = own.iter().map(|item| item.versions.len()).sum();
        let disabled = own.iter().filter(|item| item.versions.last().is_some_and(|version| !version.enabled)).count();
        let numbers = [own.len(), versions, disabled, managed.len()];
        let [own, versions, disabled, managed] = numbers.map(count);
        [kind.plural().to_owned(), own, versions, disabled, managed]
    });
    let items: usize = Kind::ALL.iter().map(|kind| vault.count(*kind)).sum();
    story.line(format!("   {PRODUCTION} holds {} items:", count(items)));
    story.table(["Kind", "Items", "Versions", "Disabled", "Managed by a certificate"], rows);
}

fn introduce(story: &mut Story, app: &App, requests_per_second: f64) -> Result<()> {
    story.line(format!("   Functions: {}", FUNCTIONS.join(", ")));
    story.line(format!("   Their API: {}", app.url("")?));
    story.line("   One identity backs up and can read no value; another restores. Each has its least rights.");
    let pace = format!(
        "{} requests a second to a vault, {} of them restores",
        count(requests_per_second as u64),
        count(Pacing::new(requests_per_second).restores_per_second() as u64)
    );
    if requests_per_second > DEFAULT_REQUESTS_PER_SECOND {
        story.line(format!("   Pace: {pace}. That is for this show; the default of 100 spares real vaults."));
    } else {
        story.line(format!("   Pace: {pace}: the default, a quarter of what Key Vault allows."));
    }
    Ok(())
}

/// Lets the timer start the backup and waits for its end; gives the backup.
async fn back_up(story: &mut Story, app: &App, folder: &Path) -> Result<Backup> {
    let start = Instant::now();
    app.fire("BackupTimer").await?;
    story.line("   BackupTimer → queue keyvault-backup-jobs → BackupWorker");
    let location = loop {
        let operations = app.get(app.url("operations?top=1")?).await?;
        if let Some(id) = operations["value"][0]["id"].as_str() {
            break app.url(&format!("operations/{id}"))?;
        }
        app.pause().await?;
    };
    app.follow(&location, |operation| show_progress(story, operation, start)).await?;
    let backup = app.newest_backup(PRODUCTION).await?;
    let counts = &backup.summary["counts"];
    story.table(
        ["Kind", "Backed up", "Bytes"],
        Kind::ALL.map(|kind| {
            let bytes = backup.bytes.get(kind.plural()).copied().unwrap_or_default();
            [kind.plural().to_owned(), count(number(&counts[kind.plural()])), HumanBytes(bytes).to_string()]
        }),
    );
    let managed = count(number(&counts["managedSkipped"]));
    story.line(format!("   Skipped: {managed} managed keys and secrets, which come back with their certificates."));
    story.line(format!("   Files: {}", shown(&folder.join("backups"))));
    Ok(backup)
}

/// Asks what a restore would do.
async fn preview(story: &mut Story, app: &App) -> Result<()> {
    let mut request = restore_request();
    request["dryRun"] = true.into();
    story.line(format!("   POST {}", app.url("restore")?));
    story.line(format!("   {request}"));
    let Answer { status, body, .. } = app.post("restore", &request).await?;
    if status != 200 {
        return Err(format!("the dry run was answered with {status}: {body}").into());
    }
    let counts = body["counts"].as_object().into_iter().flatten().filter(|(_, items)| number(items) > 0);
    let counts: Vec<String> = counts.map(|(action, items)| format!("{action} {}", count(number(items)))).collect();
    story.line(format!("   200 OK: {}. Nothing was changed.", counts.join(", ")));
    Ok(())
}

/// Asks for the restore and follows it to its end; gives the operation.
async fn restore(story: &mut Story, app: &App) -> Result<Value> {
    let start = Instant::now();
    let request = restore_request();
    story.line(format!("   POST {}", app.url("restore")?));
    story.line(format!("   {request}"));
    let Answer { status, operation_location, body } = app.post("restore", &request).await?;
    let Some(location) = operation_location.filter(|_| status == 202) else {
        return Err(format!("the restore was answered with {status}: {body}").into());
    };
    story.line(format!("   202 Accepted\n   Operation-Location: {location}"));
    app.follow(&location, |operation| show_progress(story, operation, start)).await
}

fn restore_request() -> Value {
    json!({ "vault": PRODUCTION, "backup": "latest", "targetVault": DISASTER_RECOVERY })
}

fn show_progress(story: &mut Story, operation: &Value, start: Instant) {
    let status = operation["status"].as_str().unwrap_or_default();
    let [done, total] = ["done", "total"].map(|name| number(&operation["progress"][name]));
    let items = if total > 0 { format!(": {} of {} items", count(done), count(total)) } else { String::new() };
    story.line(format!("   {:>5.1} s  {status}{items}", start.elapsed().as_secs_f64()));
}

fn what_next(story: &mut Story, folder: &Path) -> Result<()> {
    let store = url::Url::from_file_path(folder.join("backups")).map_err(|()| "the backup folder is not absolute")?;
    let program = shown(&std::env::current_exe()?);
    story.line("\nThe backup is still there. Look at it with the same executable, which is the program too:");
    story.line(format!("   export BACKUP_STORE_URL={store}"));
    story.line(format!("   {program} list {PRODUCTION}"));
    story.line(format!("   {program} show {PRODUCTION}"));
    story.line("More items; the result as JSON; and away with the files of all runs:");
    story.line("   cargo run --release --example quickstart -- --items 2000");
    story.line("   cargo run --release --example quickstart -- --json");
    story.line(format!("   rm -r {}", shown(folder.parent().unwrap_or(folder))));
    Ok(())
}
