//! Asking before something is done that cannot be taken back.

use std::io::{BufRead as _, Write as _};

use super::Printer;
use crate::error::{Error, Result};

impl Printer {
    /// Refuses early what needs a yes that nobody can give: before anything is looked at. `what` begins a sentence, such
    /// as `A prune removes backups`.
    pub(in crate::cli) fn needs_yes(&self, yes: bool, what: &str) -> Result<()> {
        if yes || self.can_ask {
            return Ok(());
        }
        let message =
            format!("{what}, and there is nobody at a terminal to be asked. If that is what you want, give --yes.");
        Err(Error::invalid("--yes", message))
    }

    /// Whether there is somebody to ask.
    pub(in crate::cli) fn can_ask(&self) -> bool {
        self.can_ask
    }

    /// Shows what will be done and waits for the answer. Anything but a yes is a no, and so is the end of the input.
    pub(in crate::cli) async fn confirm(&self, summary: &[String], question: &str) -> bool {
        self.works.aside(|| {
            for line in summary {
                self.write_aside(line);
            }
            let mut out = std::io::stderr();
            let _ = write!(out, "{question} [y/N] ").and_then(|()| out.flush());
        });
        let (answered, answer) = tokio::sync::oneshot::channel();
        // A thread of its own: nothing can end its reading, and the runtime would wait for one of its own threads.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            let _ = answered.send(read.is_ok_and(|read| read > 0).then_some(line));
        });
        match answer.await {
            Ok(Some(line)) => ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()),
            _ => {
                // The cursor still stands behind the question.
                self.write_aside("");
                false
            }
        }
    }
}
