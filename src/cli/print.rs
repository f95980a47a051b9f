//! What the command line prints: tables for people, JSON for programs, progress on standard error, and the exit code.

mod ask;
mod progress;
mod screen;
mod table;

use std::{
    fmt::Display,
    io::{BufWriter, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use anstream::AutoStream;
use clap::{Args, ColorChoice};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use self::progress::{Form, Works};
pub(super) use self::{
    progress::{Bar, Work},
    table::{Cell, Table, Tone, table},
};

use crate::{
    diff::Diff,
    error::{Error, ErrorKind, Result},
    json::{self, Body},
    model::{Timestamp, VaultName, spoken},
    report::{Outcome, Status},
    repository::operation::Operation,
    store::LEASE,
};

/// Shown by `--help`.
pub(super) const EXIT_CODES: &str = "Exit codes:
  0  everything was done
  1  it failed; of diff: something differs
  2  the command or a setting is wrong
  3  it was done in part, or needs attention: something is stale, skipped, failed, too old or guarded
  4  the vault, backup or operation was not found
  5  somebody else is at work on the vault, or the service is busy or out of reach: try again
  6  the identity is unknown or may not do this
  7  stored data is damaged, or from a newer release
  130  it was stopped: by Ctrl-C, by SIGTERM, or by the answer no";

/// More rows than a person reads: of longer lists only the part that needs attention is shown.
pub(super) const MANY: usize = 100;

/// A wrong command line.
pub(super) const USAGE: u8 = 2;

const NOT_FOUND: u8 = 4;

const DAMAGED: u8 = 7;

/// Stopped by a person or by whoever ends processes: 128 and the number of SIGINT, as shells have it.
pub(super) const STOPPED: u8 = 130;

/// The table: what the caller can do, as an exit code.
fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput => USAGE,
        ErrorKind::NotFound => NOT_FOUND,
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

    /// What was asked for is not there.
    pub(super) const NOT_FOUND: Self = Self(NOT_FOUND);

    /// It was looked for damage, and there is some.
    pub(super) const DAMAGED: Self = Self(DAMAGED);

    /// Somebody stopped it.
    pub(super) const STOPPED: Self = Self(STOPPED);

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

/// How the terminal is used.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Terminal")]
pub(super) struct Options {
    /// When colours are used. NO_COLOR, CLICOLOR and TERM=dumb are respected.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: ColorChoice,
    /// Show times in UTC instead of the local time zone (TZ). JSON is always in UTC.
    #[arg(long, global = true)]
    utc: bool,
    /// Nothing but results, and what went wrong: no progress, no hints, no questions.
    #[arg(long, short, global = true, conflicts_with = "progress")]
    quiet: bool,
    /// How progress is shown on standard error.
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t = Form::Auto)]
    progress: Form,
}

impl Default for Options {
    fn default() -> Self {
        Self { color: ColorChoice::Auto, utc: false, quiet: false, progress: Form::Auto }
    }
}

/// Prints in the chosen form.
pub(super) struct Printer {
    json: bool,
    quiet: bool,
    can_ask: bool,
    out: anstream::ColorChoice,
    aside: anstream::ColorChoice,
    zone: TimeZone,
    works: Works,
    /// What to do when this is stopped: the last that a command has said.
    how_to_go_on: Mutex<String>,
}

impl Printer {
    /// For results as JSON or not. `logs`: lines of a log are on standard error too, where no bar may come between.
    pub(super) fn new(json: bool, options: &Options, logs: bool) -> Self {
        let Options { color, utc, quiet, progress } = *options;
        let color = |auto| match color {
            ColorChoice::Auto => auto,
            ColorChoice::Always => anstream::ColorChoice::AlwaysAnsi,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        let terminal = std::io::stderr().is_terminal();
        let form = match progress {
            _ if quiet => None,
            Form::Json => Some(Form::Json),
            Form::Auto => (terminal && !logs && !is_dumb()).then_some(Form::Auto),
        };
        Self {
            json,
            quiet,
            can_ask: terminal && std::io::stdin().is_terminal() && !quiet,
            out: color(AutoStream::choice(&std::io::stdout())),
            aside: color(AutoStream::choice(&std::io::stderr())),
            zone: if utc { TimeZone::UTC } else { TimeZone::system() },
            works: Works::new(form),
            how_to_go_on: Mutex::new("Nothing was changed.".to_owned()),
        }
    }

    /// Shows how far this is until it is finished or dropped.
    pub(super) fn begin(&self, work: Work<'_>) -> Bar<'_> {
        self.works.begin(work)
    }

    /// Shows that something takes a while, until it is finished or dropped.
    pub(super) fn wait(&self, title: impl Into<String>) -> Bar<'_> {
        self.works.wait(title.into())
    }

    /// What a person is told when the command is stopped from here on: what stays, and how to go on.
    pub(super) fn when_stopped(&self, sentence: impl Into<String>) {
        *self.how_to_go_on.lock().unwrap_or_else(PoisonError::into_inner) = sentence.into();
    }

    /// It was stopped: what was done, and how to go on.
    pub(super) fn stopped(&self) -> End {
        let how = self.how_to_go_on.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut parts = vec!["Stopped.".to_owned()];
        parts.extend(self.works.account());
        parts.push(how);
        self.tell_stop(&parts);
        End::STOPPED
    }

    /// Somebody said no.
    pub(super) fn declined(&self) -> End {
        self.tell_stop(&["Stopped. Nothing was changed.".to_owned()]);
        End::STOPPED
    }

    fn tell_stop(&self, parts: &[String]) {
        if self.json {
            return self.json(&json!({ "error": { "code": "Stopped", "message": parts.join(" ") } }));
        }
        parts.iter().for_each(|part| self.complain(part));
    }

    pub(super) fn errors(&self, errors: &[Error]) {
        if self.json {
            return self.json(&json::error(errors));
        }
        for error in errors {
            self.complain(format!("{} {}", Tone::Bad.paint("Error:"), error.chain()));
        }
    }

    /// Whether results are for a program.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// A result for a program.
    pub(super) fn json(&self, value: &Value) {
        // A JSON value always becomes text.
        self.line(serde_json::to_string_pretty(value).unwrap_or_default());
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

    /// A line of a result. Nobody reading any more, as behind `| head`, is no failure.
    pub(super) fn line(&self, line: impl Display) {
        let line = line.to_string();
        let _ = self.works.aside(|| writeln!(AutoStream::new(std::io::stdout(), self.out), "{line}"));
    }

    /// A table of a result.
    pub(super) fn table(&self, table: Table) {
        let lines = table.lines();
        self.works.aside(|| {
            let mut out = AutoStream::new(std::io::stdout().lock(), self.out);
            for line in lines {
                let _ = writeln!(out, "{line}");
            }
        });
    }

    /// A line about something that went wrong, beside the result.
    pub(super) fn complain(&self, line: impl Display) {
        let line = line.to_string();
        self.works.aside(|| self.write_aside(&line));
    }

    /// What a person may do next; not for programs, nor for those who want to hear of trouble only.
    pub(super) fn hint(&self, line: impl Display) {
        if !self.quiet && !self.json {
            self.complain(line);
        }
    }

    fn write_aside(&self, line: &str) {
        let _ = writeln!(AutoStream::new(std::io::stderr(), self.aside), "{line}");
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

    /// Text as it is.
    pub(super) fn text(&self, text: &str) {
        let _ = write!(std::io::stdout(), "{text}");
    }

    /// A moment for a person: in the local zone, and still as `--backup` takes it.
    pub(super) fn time(&self, moment: Timestamp) -> String {
        let Ok(known) = jiff::Timestamp::from_second(moment.unix()) else { return moment.to_string() };
        let local = known.to_zoned(self.zone.clone());
        if local.offset().is_zero() { moment.to_string() } else { local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string() }
    }
}

/// Somebody did not want to wait for a stop. Beside the printer, whose lock the one that hangs may hold.
pub(super) fn ended_at_once() {
    let _ = writeln!(
        std::io::stderr(),
        "Ended at once, which damages nothing: every backup that is listed is whole, and the same command completes what \
         is missing; a lease that was not given back ends by itself within {} seconds.",
        LEASE.as_secs()
    );
}

/// A duration for a person, to the second, and to the minute when it is longer than an hour.
pub(super) fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// The state of an operation in a table.
pub(super) fn status(status: Status) -> Cell {
    match status {
        Status::Succeeded => Cell::good(status),
        Status::PartiallySucceeded => Cell::doubtful(status),
        Status::Failed => Cell::bad(status),
        Status::NotStarted | Status::Running => status.as_str().into(),
    }
}

/// What became of an item in a table.
pub(super) fn outcome(outcome: Outcome) -> Cell {
    match outcome {
        Outcome::Failed | Outcome::Missing => Cell::bad(spoken(outcome.as_str())),
        Outcome::Stale | Outcome::Skipped | Outcome::Blocked => Cell::doubtful(spoken(outcome.as_str())),
        _ => Cell::good(spoken(outcome.as_str())),
    }
}

#[allow(clippy::disallowed_methods, reason = "TERM describes the terminal, whose door this is")]
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}
