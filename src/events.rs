//! What the outside is told: one JSON line per event on standard output, with names that alert rules can rely on.
//!
//! Every line is also an ordinary log line, so `RUST_LOG`-like filters and the Functions host treat it alike. Values of
//! secrets, tokens, keys of functions and bytes of backups are never handed to this module.

use std::{io::Write as _, panic::PanicHookInfo};

use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, filter::LevelFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    error::{Error, Result},
    telemetry::Telemetry,
};

/// The names of all events. Alert rules match on them: a name is never changed, only added.
pub mod name {
    /// A backup was committed and everything is in it.
    pub const BACKUP_COMPLETED: &str = "backup.completed";
    /// A backup was committed, but something is stale or missing.
    pub const BACKUP_PARTIAL: &str = "backup.partial";
    /// No backup was made.
    pub const BACKUP_FAILED: &str = "backup.failed";
    /// A backup was not needed, because another run was at work.
    pub const BACKUP_NOT_NEEDED: &str = "backup.notNeeded";
    /// A restore ended with every item in place.
    pub const RESTORE_COMPLETED: &str = "restore.completed";
    /// A restore ended with some items not in place.
    pub const RESTORE_PARTIAL: &str = "restore.partial";
    /// A restore brought nothing back.
    pub const RESTORE_FAILED: &str = "restore.failed";
    /// Backups were removed by the retention policy.
    pub const PRUNE_COMPLETED: &str = "prune.completed";
    /// Backups that the retention policy does not keep could not be removed.
    pub const PRUNE_FAILED: &str = "prune.failed";
    /// Many items vanished or were disabled since the last good backup; nothing is pruned until a person acknowledges.
    pub const GUARD_TRIPPED: &str = "guard.tripped";
    /// A person acknowledged what tripped the guard.
    pub const GUARD_ACKNOWLEDGED: &str = "guard.acknowledged";
    /// A verification found every backup of a vault sound.
    pub const VERIFY_COMPLETED: &str = "verify.completed";
    /// A verification found damage, or could not be done.
    pub const VERIFY_FAILED: &str = "verify.failed";
    /// A drill restored a backup and found it as it was backed up.
    pub const DRILL_COMPLETED: &str = "drill.completed";
    /// A drill did not bring everything back, or could not be done.
    pub const DRILL_FAILED: &str = "drill.failed";
    /// No worker will ever finish an operation that was begun.
    pub const OPERATION_ABANDONED: &str = "operation.abandoned";
    /// A queue message could not be understood.
    pub const MESSAGE_REFUSED: &str = "message.refused";
    /// The settings are wrong; nothing can be done until they are corrected.
    pub const CONFIGURATION_INVALID: &str = "configuration.invalid";
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// JSON lines on standard output: for the Functions host, which takes standard error for errors.
    Json,
    /// Plain lines on standard error: for people at a terminal, whose standard output is the result.
    Plain,
}

/// Starts writing log lines. `level` is `error`, `warn`, `info`, `debug` or `trace`, or a filter such as
/// `info,keyvault_backup=debug`; it does not concern the telemetry.
///
/// A line holds all spans it is within: the invocation, with its id and the host's `traceparent`, and the operation.
pub fn install(output: Output, level: &str, telemetry: Option<&Telemetry>) -> Result<()> {
    let refuse = || {
        let message = format!("LOG_LEVEL is {level:?}, which is no level; use error, warn, info, debug or trace.");
        Error::invalid("LOG_LEVEL", message)
    };
    // A lone word that is no level would be taken for the name of a module, and everything else would fall silent.
    if level.split(',').any(|part| !part.contains('=') && part.trim().parse::<LevelFilter>().is_err()) {
        return Err(refuse());
    }
    let filter = EnvFilter::try_new(level).map_err(|cause| refuse().because(cause))?;
    let lines = tracing_subscriber::fmt::layer::<Registry>();
    let lines = match output {
        Output::Json => {
            let json = lines.json().flatten_event(true).with_current_span(false).with_span_list(true);
            json.with_target(true).with_filter(filter).boxed()
        }
        Output::Plain => {
            lines.with_writer(std::io::stderr).with_target(false).without_time().with_filter(filter).boxed()
        }
    };
    let lines = tracing_subscriber::registry().with(lines);
    let installed = match telemetry {
        Some(telemetry) => lines.with(telemetry.layer()).try_init(),
        None => lines.try_init(),
    };
    std::panic::set_hook(Box::new(move |panic| {
        let line = describe(panic);
        match output {
            Output::Json => tracing::error!("{line}"),
            // Logging is off on a terminal unless it is asked for.
            Output::Plain => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }));
    // A second call, in tests that run several programs in one process, keeps the first.
    let _ = installed;
    Ok(())
}

/// What is said of a panic: where it was, never its payload, which can quote whatever was being worked on.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!("This program made a mistake at {place}. Please report that place and the release.")
}

/// Emits an event: its name, then fields as in `tracing`'s macros.
#[macro_export]
macro_rules! event {
    ($level:ident, $name:expr, $($fields:tt)*) => {
        ::tracing::event!(target: "event", ::tracing::Level::$level, event = $name, $($fields)*)
    };
}

#[cfg(test)]
mod tests {
    use std::{
        panic,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[test]
    fn a_panic_is_told_by_its_place_and_not_by_what_it_says() {
        let told = Arc::new(Mutex::new(String::new()));
        let hook = panic::take_hook();
        let tell = told.clone();
        panic::set_hook(Box::new(move |panic| *tell.lock().unwrap() = describe(panic)));
        let ended = panic::catch_unwind(|| panic!("canary-value"));
        panic::set_hook(hook);
        let told = told.lock().unwrap();
        assert!(ended.is_err() && told.contains("src/events.rs") && !told.contains("canary"), "{told}");
    }
}
