//! How far the work is: bars on a terminal, JSON lines for programs, nothing elsewhere. All on standard error, and all
//! written by [`Screen`], so that the work never waits for whoever reads.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use clap::ValueEnum;
use indicatif::HumanCount;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::screen::Screen;
use crate::{
    model::VaultName,
    report::Progress,
    vault::pacing::{Pacing, Traffic},
};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Form {
    /// Bars on standard error when that is a terminal.
    Auto,
    /// JSON lines on standard error, one each second for each vault.
    Json,
}

/// A piece of work that takes a while.
pub(in crate::cli) struct Work<'a> {
    /// What is being done, for people.
    pub(in crate::cli) title: String,
    /// The word for it, for programs.
    pub(in crate::cli) kind: &'static str,
    /// The operation, where it has a record.
    pub(in crate::cli) operation: Option<Uuid>,
    /// The vault it is about.
    pub(in crate::cli) vault: &'a VaultName,
    /// How far it is.
    pub(in crate::cli) progress: &'a Arc<Progress>,
    /// The vault that is asked, if one is.
    pub(in crate::cli) pacing: Option<Arc<Pacing>>,
}

/// All the work of a command, shown as it goes on.
pub(in crate::cli) struct Works {
    screen: Option<Screen>,
    begun: Mutex<Vec<Arc<Task>>>,
}

/// What is known of a piece of work.
pub(super) struct Task {
    pub(super) title: String,
    kind: &'static str,
    operation: Option<Uuid>,
    vault: Option<VaultName>,
    pub(super) progress: Arc<Progress>,
    pub(super) pacing: Option<Arc<Pacing>>,
    /// Of the vault's traffic, what was there before.
    before: Traffic,
    start: Instant,
    is_done: AtomicBool,
}

/// Work that goes on. It is done when this is finished, and was cut off when it is dropped before.
pub(in crate::cli) struct Bar<'a> {
    task: Arc<Task>,
    /// Where it is shown, if it is.
    screen: Option<&'a Screen>,
}

impl Works {
    /// `None` shows nothing.
    pub(super) fn new(form: Option<Form>) -> Self {
        Self { screen: form.map(Screen::new), begun: Mutex::default() }
    }

    pub(super) fn begin(&self, work: Work<'_>) -> Bar<'_> {
        let before = work.pacing.as_ref().map(|pacing| pacing.traffic()).unwrap_or_default();
        self.show(Task {
            title: work.title,
            kind: work.kind,
            operation: work.operation,
            vault: Some(work.vault.clone()),
            progress: work.progress.clone(),
            pacing: work.pacing,
            before,
            start: Instant::now(),
            is_done: AtomicBool::new(false),
        })
    }

    /// Work of which nobody knows how long it takes.
    pub(super) fn wait(&self, title: String) -> Bar<'_> {
        self.show(Task {
            title,
            kind: "",
            operation: None,
            vault: None,
            progress: Arc::default(),
            pacing: None,
            before: Traffic::default(),
            start: Instant::now(),
            is_done: AtomicBool::new(false),
        })
    }

    fn show(&self, task: Task) -> Bar<'_> {
        let task = Arc::new(task);
        if task.vault.is_some() {
            self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(task.clone());
        }
        // Programs are told of vaults only.
        let screen = self.screen.as_ref().filter(|screen| screen.form() == Form::Auto || task.vault.is_some());
        if let Some(screen) = screen {
            screen.show(task.clone());
        }
        Bar { task, screen }
    }

    /// Prints while no bar is in the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.screen {
            Some(screen) => screen.aside(print),
            None => print(),
        }
    }

    /// What became of all the work so far, a line each.
    pub(super) fn account(&self) -> Vec<String> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.iter().map(|task| task.account()).collect()
    }
}

impl Bar<'_> {
    /// The work is done, however it ended.
    pub(in crate::cli) fn finish(self) {
        self.task.is_done.store(true, Ordering::Relaxed);
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if let Some(screen) = self.screen {
            screen.end(self.task.clone());
        }
    }
}

impl Task {
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }

    pub(super) fn traffic(&self) -> Traffic {
        let now = self.pacing.as_ref().map(|pacing| pacing.traffic()).unwrap_or_default();
        Traffic {
            requests: now.requests.saturating_sub(self.before.requests),
            throttled: now.throttled.saturating_sub(self.before.throttled),
        }
    }

    /// A line for programs.
    pub(super) fn line(&self, state: &str) -> Value {
        let (look, traffic) = (self.progress.look(), self.traffic());
        json!({
            "progress": self.kind,
            "state": state,
            "operation": self.operation,
            "vault": self.vault,
            "total": look.total,
            "done": look.done,
            "bytes": look.bytes,
            "requests": traffic.requests,
            "throttled": traffic.throttled,
            "seconds": self.start.elapsed().as_secs(),
        })
    }

    fn account(&self) -> String {
        let look = self.progress.look();
        match self.is_done() {
            true => format!("{}: done.", self.title),
            false if look.total == 0 => format!("{}: begun.", self.title),
            false => format!("{}: {} of {} done.", self.title, HumanCount(look.done), HumanCount(look.total)),
        }
    }
}
