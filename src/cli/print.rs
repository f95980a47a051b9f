//! What the command line prints: tables for people, JSON for programs, progress on standard error, and the exit code.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this module is the terminal's door")]

use std::{io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    error::{Error, ErrorKind, Result},
    json,
    model::{BackupId, VaultName},
    report::{Progress, Status},
    repository::{
        BackupRef,
        manifest::{Header, Manifest},
        operation::Operation,
    },
    restore::{Action, Plan},
};

/// `println!` without its panic: nobody reading any more, as behind `| head`, is no failure.
macro_rules! println {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// Shown by `--help`.
pub(super) const EXIT_CODES: &str = "Exit codes:
  0  everything was done
  1  it failed
  2  the command or a setting is wrong
  3  it was done in part: something is stale, skipped or failed
  4  the vault, backup or operation was not found
  5  somebody else is at work on the vault, or the service is busy or out of reach: try again
  6  the identity is unknown or may not do this
  7  stored data is damaged, or from a newer release";

/// A wrong command line.
pub(super) const USAGE: u8 = 2;

const IN_PART: u8 = 3;

/// The table: what the caller can do, as an exit code.
fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput => USAGE,
        ErrorKind::NotFound => 4,
        ErrorKind::Busy | ErrorKind::Throttled | ErrorKind::Unavailable => 5,
        ErrorKind::Unauthenticated | ErrorKind::Forbidden => 6,
        ErrorKind::Corrupt | ErrorKind::NewerFormat => 7,
        ErrorKind::Conflict | ErrorKind::Refused | ErrorKind::Internal => 1,
    }
}

/// What came of a command, as an exit code. Of several troubles the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(u8);

impl End {
    /// Everything was done.
    pub(super) const GOOD: Self = Self(0);

    /// Nothing was done, for these reasons.
    pub(super) fn of_errors(errors: &[Error]) -> Self {
        Self(errors.first().map_or(1, |error| code_of(error.kind())))
    }

    /// What operations came to: done in part unless all went well or all failed.
    pub(super) fn of_operations<'a>(results: impl IntoIterator<Item = Result<&'a Operation, &'a Error>>) -> Self {
        let ends: Vec<Self> = results
            .into_iter()
            .map(|result| match result {
                Ok(operation) => Self::of_operation(operation),
                Err(error) => Self::of_errors(std::slice::from_ref(error)),
            })
            .collect();
        match ends.first() {
            Some(first) if ends.iter().all(|end| end == first) => *first,
            Some(first) if !ends.iter().any(|end| matches!(end.0, 0 | IN_PART)) => *first,
            Some(_) => Self(IN_PART),
            None => Self::GOOD,
        }
    }

    fn of_operation(operation: &Operation) -> Self {
        Self(match operation.status {
            Status::Succeeded => 0,
            Status::PartiallySucceeded => IN_PART,
            _ => {
                let of_items = operation.items.iter().filter_map(|item| item.problem.as_ref());
                let first = operation.problems.iter().chain(of_items).next();
                first.and_then(|problem| ErrorKind::from_code(&problem.code)).map_or(1, code_of)
            }
        })
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        Self::from(end.0)
    }
}

/// Prints in the chosen form.
pub(super) struct Printer {
    json: bool,
    bars: indicatif::MultiProgress,
    terminal: bool,
}

impl Printer {
    pub(super) fn new(json: bool, terminal: bool) -> Self {
        Self { json, bars: indicatif::MultiProgress::new(), terminal }
    }

    /// A bar that follows the progress until it is finished; nothing when standard error is not a terminal.
    pub(super) fn progress(&self, title: &str, progress: &Arc<Progress>) -> Bar {
        if !self.terminal || self.json {
            return Bar { bar: ProgressBar::hidden(), follow: None };
        }
        let bar = self.bars.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} items, {per_sec}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(title.to_owned());
        let follow = tokio::spawn({
            let (bar, progress) = (bar.clone(), progress.clone());
            async move {
                let mut tick = tokio::time::interval(Duration::from_millis(200));
                loop {
                    tick.tick().await;
                    let look = progress.look();
                    bar.set_length(look.total);
                    bar.set_position(look.done);
                }
            }
        });
        Bar { bar, follow: Some(follow) }
    }

    pub(super) fn errors(&self, errors: &[Error]) {
        if self.json {
            println!("{}", pretty(&json::error(errors)));
            return;
        }
        for error in errors {
            eprintln!("Error: {}", error.chain());
        }
    }

    pub(super) fn text(&self, text: &str) {
        let _ = write!(std::io::stdout(), "{text}");
    }

    pub(super) fn backups(&self, results: &[(VaultName, Result<Operation>)]) {
        if self.json {
            let value: Vec<Value> = results
                .iter()
                .map(|(vault, result)| match result {
                    Ok(operation) => json::operation(operation),
                    Err(error) => {
                        let mut body = json::error(std::slice::from_ref(error));
                        body["vault"] = vault.as_str().into();
                        body
                    }
                })
                .collect();
            println!("{}", pretty(&json!({ "value": value })));
            return;
        }
        let mut table = table(&["Vault", "Result", "Backup", "Items", "Read", "Unchanged", "Stale", "Missing"]);
        for (vault, result) in results {
            let Ok(operation) = result else {
                table.add_row([vault.as_str(), "Failed"]);
                continue;
            };
            let count = |name: &str| operation.counts.get(name).copied().unwrap_or_default();
            let items = count("keys") + count("secrets") + count("certificates");
            let result = if count("notNeeded") > 0 { "Not needed" } else { operation.status.as_str() };
            let backup = operation.backup_id.as_ref().map_or("", BackupId::as_str);
            let numbers = [items, count("read"), count("carriedOver"), count("stale"), count("missing")];
            let mut row = vec![vault.to_string(), result.to_owned(), backup.to_owned()];
            row.extend(numbers.iter().map(ToString::to_string));
            table.add_row(row);
        }
        println!("{table}");
        for (vault, result) in results {
            match result {
                Ok(operation) => self.troubles(operation),
                Err(error) => eprintln!("{vault}: {}", error.chain()),
            }
        }
    }

    pub(super) fn restored(&self, operation: &Operation) {
        if self.json {
            println!("{}", pretty(&json::operation(operation)));
            return;
        }
        let mut table = table(&["Item", "Result", "Version"]);
        for report in &operation.items {
            let version = report.version.as_deref().unwrap_or_default();
            table.add_row([&report.item.to_string(), report.outcome.as_str(), version]);
        }
        if !operation.items.is_empty() {
            println!("{table}");
        }
        println!("{}: {}", operation.status, operation.message.as_deref().unwrap_or_default());
        self.troubles(operation);
    }

    /// What went wrong, a line each.
    fn troubles(&self, operation: &Operation) {
        for problem in &operation.problems {
            eprintln!("{}", problem.message);
        }
        for problem in operation.items.iter().filter_map(|report| report.problem.as_ref()) {
            eprintln!("{}", problem.message);
        }
    }

    pub(super) fn plan(&self, plan: &Plan) {
        if self.json {
            println!("{}", pretty(&json::plan(plan)));
            return;
        }
        let mut table = table(&["Item", "Action", "Version", "Why"]);
        for step in &plan.steps {
            let why = step.reason.as_deref().unwrap_or_default();
            table.add_row([&step.item.to_string(), step.action.as_str(), &step.version, why]);
        }
        println!("{table}");
        println!(
            "Backup {} of vault {} into vault {}: {} to restore, {} to recover, {} to replace, {} present, {} skipped, {} blocked. \
             It takes about {}. Nothing was changed.",
            plan.backup_id,
            plan.vault,
            plan.target_vault,
            plan.count(Action::Restore),
            plan.count(Action::Recover),
            plan.count(Action::Replace),
            plan.count(Action::AlreadyPresent),
            plan.count(Action::Skip),
            plan.count(Action::Blocked),
            HumanDuration(Duration::from_secs(plan.estimated_seconds))
        );
    }

    pub(super) fn vaults(&self, place: &str, rows: &[(VaultName, usize, Option<Row>)]) {
        if self.json {
            let value: Vec<Value> = rows
                .iter()
                .map(|(vault, backups, newest)| {
                    json!({ "vault": vault, "backups": backups, "newest": newest.as_ref().map(row) })
                })
                .collect();
            println!("{}", pretty(&json!({ "value": value })));
            return;
        }
        if rows.is_empty() {
            println!("There is no backup in {place}. Make one with: keyvault-backup backup VAULT");
            return;
        }
        let mut table = table(&["Vault", "Backups", "Newest", "Result", "Items", "Size"]);
        for (vault, backups, newest) in rows {
            let mut row = vec![vault.to_string(), backups.to_string()];
            match newest {
                Some((_, Ok(newest))) => row.extend(summary(newest)),
                Some((backup, Err(_))) => row.extend([backup.id.to_string(), UNREADABLE.to_owned()]),
                None => (),
            }
            table.add_row(row);
        }
        println!("{table}");
        rows.iter().filter_map(|(_, _, newest)| newest.as_ref()).for_each(complain);
    }

    /// The backups of a vault, in the order in which they come.
    pub(super) fn backup_list(&self, vault: &VaultName, rows: &[Row]) {
        if self.json {
            let value: Vec<Value> = rows.iter().map(row).collect();
            println!("{}", pretty(&json!({ "vault": vault, "value": value })));
            return;
        }
        let mut table = table(&["Backup", "Result", "Items", "Size", "Full", "Label"]);
        for (backup, header) in rows {
            let label = backup.label.as_ref().map(ToString::to_string).unwrap_or_default();
            match header {
                Ok(header) => {
                    let mut row = summary(header);
                    row.extend([if header.full { "yes".into() } else { String::new() }, label]);
                    table.add_row(row);
                }
                Err(_) => {
                    let nothing = String::new;
                    let row = [backup.id.to_string(), UNREADABLE.into(), nothing(), nothing(), nothing(), label];
                    table.add_row(row);
                }
            }
        }
        println!("{table}");
        rows.iter().for_each(complain);
    }

    pub(super) fn backup(&self, manifest: &Manifest) {
        let Manifest { header, items } = manifest;
        if self.json {
            println!("{}", pretty(&json::backup(header, items)));
            return;
        }
        let mut table = table(&["Item", "Version", "Versions", "Enabled", "Updated", "Size", "Stale"]);
        for item in items {
            table.add_row([
                item.id.to_string(),
                item.version.to_string(),
                item.versions.to_string(),
                if item.attributes.enabled { "yes".into() } else { "no".into() },
                item.attributes.updated.to_string(),
                HumanBytes(item.size).to_string(),
                item.stale.as_ref().map(|stale| stale.code.clone()).unwrap_or_default(),
            ]);
        }
        println!("{table}");
        println!(
            "Backup {} of vault {}, {}, finished {}: {} keys, {} secrets, {} certificates; {} managed items are held by \
             their certificates.",
            header.backup_id,
            header.vault,
            header.status,
            header.finished_at,
            header.counts.keys,
            header.counts.secrets,
            header.counts.certificates,
            header.counts.managed_skipped
        );
        for failure in &header.failures {
            eprintln!("{}", failure.reason);
        }
    }
}

/// A progress bar and the task that moves it.
pub(super) struct Bar {
    bar: ProgressBar,
    follow: Option<tokio::task::JoinHandle<()>>,
}

impl Bar {
    pub(super) fn finish(self) {
        if let Some(follow) = self.follow {
            follow.abort();
        }
        self.bar.finish_and_clear();
    }
}

/// A backup of a listing, whose manifest may be damaged or from a newer release.
pub(super) type Row = (BackupRef, Result<Header>);

const UNREADABLE: &str = "Unreadable";

fn row((backup, header): &Row) -> Value {
    match header {
        Ok(header) => json::backup_summary(header),
        Err(error) => json::unreadable_backup(backup, error),
    }
}

fn complain((_, header): &Row) {
    if let Err(error) = header {
        eprintln!("{}", error.chain());
    }
}

fn summary(header: &Header) -> Vec<String> {
    vec![
        header.backup_id.to_string(),
        header.status.to_string(),
        header.counts.items().to_string(),
        HumanBytes(header.counts.bytes).to_string(),
    ]
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

fn pretty(value: &Value) -> String {
    // A JSON value always becomes text.
    serde_json::to_string_pretty(value).unwrap_or_default()
}
