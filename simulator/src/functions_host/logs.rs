//! What the host logs: the handler's console, the `Logs` of its responses, and the host's own words.

use tokio::sync::watch;

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Lines from stdout, `Logs` of responses, and the normal course of things.
    Information,
    /// Lines from stderr that contain "warn" in any case.
    Warning,
    /// Other lines from stderr, failed invocations, handler crashes.
    Error,
}

/// One log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How serious it is.
    pub level: Level,
    /// `Host.Function.Console` for the handler's console, `Function.<name>.User` for `Logs` of a response,
    /// `Function.<name>` for outcomes of invocations, `Host` for the host itself.
    pub category: String,
    /// The text without its line end.
    pub message: String,
}

/// Category of the handler's stdout and stderr.
pub(super) const CONSOLE: &str = "Host.Function.Console";
/// Category of what the host says about itself and its handler.
pub(super) const HOST: &str = "Host";

/// Collects lines; readers can wait for more.
#[derive(Debug, Default)]
pub(super) struct Log(watch::Sender<Vec<LogLine>>);

impl Log {
    pub(super) fn add(&self, level: Level, category: impl Into<String>, message: impl Into<String>) {
        let line = LogLine { level, category: category.into(), message: message.into() };
        self.0.send_modify(|lines| lines.push(line));
    }

    pub(super) fn lines(&self) -> Vec<LogLine> {
        self.0.borrow().clone()
    }

    pub(super) fn follow(&self) -> watch::Receiver<Vec<LogLine>> {
        self.0.subscribe()
    }
}

/// The level of a stderr line, as the host's worker process class guesses it.
pub(super) fn stderr_level(line: &str, stderr_is_error: bool) -> Level {
    let line = line.to_lowercase();
    let has = |word: &str| line.contains(word);
    if has("warn") {
        Level::Warning
    } else if stderr_is_error || has("error") || has("fail") || has("severe") {
        Level::Error
    } else {
        Level::Information
    }
}
