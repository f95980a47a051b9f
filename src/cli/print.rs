//! What the command line prints: tables for people, JSON for programs, progress on standard error, and the exit code.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this module is the terminal's door")]

use std::{
    fmt::Display,
    io::{BufWriter, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    diff::Diff,
    error::{Error, ErrorKind, Result},
    json::{self, Body},
    model::VaultName,
    report::{Progress, Status},
    repository::operation::Operation,
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
  1  it failed; of diff: something differs
  2  the command or a setting is wrong
  3  it was done in part, or needs attention: something is stale, skipped, failed, too old or guarded
  4  the vault, backup or operation was not found
  5  somebody else is at work on the vault, or the service is busy or out of reach: try again
  6  the identity is unknown or may not do this
  7  stored data is damaged, or from a newer release";

/// More rows than a person reads: of longer lists only the part that needs attention is shown.
pub(super) const MANY: usize = 100;

/// A wrong command line.
pub(super) const USAGE: u8 = 2;

const DAMAGED: u8 = 7;

/// The table: what the caller can do, as an exit code.
fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput => USAGE,
        ErrorKind::NotFound => 4,
        ErrorKind::Busy | ErrorKind::Throttled | ErrorKind::Unavailable => 5,
        ErrorKind::Unauthenticated | ErrorKind::Forbidden => 6,
        ErrorKind::Corrupt | ErrorKind::NewerFormat => DAMAGED,
        ErrorKind::Conflict | ErrorKind::Refused | ErrorKind::Abandoned | ErrorKind::Internal => 1,
    }
}

/// What came of a command, as an exit code. Of several troubles the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(u8);

impl End {
    /// Everything was done.
    pub(super) const GOOD: Self = Self(0);

    /// Something was left undone.
    pub(super) const IN_PART: Self = Self(3);

    /// It was looked for damage, and there is some.
    pub(super) const DAMAGED: Self = Self(DAMAGED);

    /// Nothing was done, for these reasons.
    pub(super) fn of_errors(errors: &[Error]) -> Self {
        Self(errors.first().map_or(1, |error| code_of(error.kind())))
    }

    /// What operations came to: done in part unless all went well or all failed.
    pub(super) fn of_operations<'a>(results: impl IntoIterator<Item = Result<&'a Operation, &'a Error>>) -> Self {
        Self::of_all(results.into_iter().map(|result| match result {
            Ok(operation) => Self::of_operation(operation),
            Err(error) => Self::of_errors(std::slice::from_ref(error)),
        }))
    }

    /// What several things came to, each with an end of its own.
    pub(super) fn of_all(ends: impl IntoIterator<Item = Self>) -> Self {
        let ends: Vec<Self> = ends.into_iter().collect();
        match ends.first() {
            Some(first) if ends.iter().all(|end| end == first) => *first,
            Some(first) if !ends.iter().any(|end| [Self::GOOD, Self::IN_PART].contains(end)) => *first,
            Some(_) => Self::IN_PART,
            None => Self::GOOD,
        }
    }

    /// Whether something asks for a person's attention. What could not be looked at does.
    pub(super) fn of_attention(found: impl IntoIterator<Item = Result<bool>>) -> Self {
        let mut end = Self::GOOD;
        for one in found {
            match one {
                Ok(false) => (),
                Ok(true) => return Self::IN_PART,
                Err(error) => end = Self::of_errors(&[error]),
            }
        }
        end
    }

    /// What a comparison came to, as of the program `diff`; something that could not be compared counts more.
    pub(super) fn of_diff(diff: &Diff) -> Self {
        let in_part = !diff.failures.is_empty();
        if in_part { Self::IN_PART } else { Self(u8::from(!diff.differences.is_empty())) }
    }

    fn of_operation(operation: &Operation) -> Self {
        match operation.status {
            Status::Succeeded => Self::GOOD,
            Status::PartiallySucceeded => Self::IN_PART,
            _ => {
                let first = operation.all_problems().next();
                Self(first.and_then(|problem| ErrorKind::from_code(&problem.code)).map_or(1, code_of))
            }
        }
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

    /// Whether results are for a program.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// A result for a program.
    pub(super) fn json(&self, value: &Value) {
        println!("{}", pretty(value));
    }

    /// A result for a program that may be long: it is written as it is made.
    pub(super) fn json_body(&self, body: &Body) -> Result<()> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        match serde_json::to_writer_pretty(&mut out, body) {
            Err(cause) if !cause.is_io() => {
                let message = "The result could not be written to its end. Run the command again.";
                Err(Error::new(ErrorKind::Unavailable, message).because(cause))
            }
            // Nobody reading any more is no failure.
            _ => {
                let _ = writeln!(out);
                Ok(())
            }
        }
    }

    /// For a program, a row for each vault: what `body` says of it, or why nothing can be said. Nothing for a person: then
    /// the answer is false.
    pub(super) fn json_by_vault<T>(
        &self,
        rows: &[(VaultName, Result<T>)],
        body: impl Fn(&VaultName, &T) -> Value,
    ) -> bool {
        if !self.json {
            return false;
        }
        let value: Vec<Value> = rows
            .iter()
            .map(|(vault, result)| match result {
                Ok(result) => body(vault, result),
                Err(error) => {
                    let mut body = json::error(std::slice::from_ref(error));
                    body["vault"] = vault.as_str().into();
                    body
                }
            })
            .collect();
        self.json(&json!({ "value": value }));
        true
    }

    /// A line of a result for a person.
    pub(super) fn line(&self, line: impl Display) {
        println!("{line}");
    }

    /// A line about something that went wrong, beside the result.
    pub(super) fn complain(&self, line: impl Display) {
        eprintln!("{line}");
    }

    /// What went wrong in an operation, a line each.
    pub(super) fn troubles(&self, operation: &Operation) {
        let mut problems = operation.all_problems();
        problems.by_ref().take(MANY).for_each(|problem| self.complain(&problem.message));
        let more = problems.count();
        if more > 0 {
            self.complain(format!("And {more} more; --output json shows all."));
        }
    }

    pub(super) fn text(&self, text: &str) {
        let _ = write!(std::io::stdout(), "{text}");
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

/// An empty table that fits the terminal.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

fn pretty(value: &Value) -> String {
    // A JSON value always becomes text.
    serde_json::to_string_pretty(value).unwrap_or_default()
}
