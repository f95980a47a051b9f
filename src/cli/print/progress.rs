//! How far the work is: bars on a terminal, JSON lines for programs, nothing elsewhere. All on standard error.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::ValueEnum;
use console::Term;
use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};
use uuid::Uuid;

use crate::{
    model::{VaultName, size},
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

/// Between two looks at the work, for people.
const FRAME: Duration = Duration::from_millis(100);

/// Between two lines, for programs.
const LINE: Duration = Duration::from_secs(1);

/// Below this many columns a bar has no room for itself.
const NARROW: usize = 80;

/// Columns that stay free for a `^C` that is typed: it would wrap a full line, which then cannot be wiped any more.
const ECHO: u16 = 3;

/// How work looks whose size is not known yet.
const UNCOUNTED: &str = "{spinner} {prefix} {msg}";

/// All the work of a command, shown as it goes on.
pub(in crate::cli) struct Works {
    form: Option<Form>,
    bars: MultiProgress,
    begun: Mutex<Vec<Arc<Task>>>,
}

struct Task {
    title: String,
    kind: &'static str,
    operation: Option<Uuid>,
    vault: Option<VaultName>,
    progress: Arc<Progress>,
    pacing: Option<Arc<Pacing>>,
    /// Of the vault's traffic, what was there before.
    before: Traffic,
    start: Instant,
    is_done: AtomicBool,
    /// Whether the last line for programs was printed; held while one is.
    last_told: Mutex<bool>,
}

/// Work that goes on. It is done when this is finished, and was cut off when it is dropped before.
pub(in crate::cli) struct Bar {
    task: Arc<Task>,
    bar: ProgressBar,
    follow: Option<JoinHandle<()>>,
    lines: bool,
}

impl Works {
    /// `None` shows nothing.
    pub(super) fn new(form: Option<Form>) -> Self {
        let target = if form == Some(Form::Auto) { Screen::target() } else { ProgressDrawTarget::hidden() };
        Self { form, bars: MultiProgress::with_draw_target(target), begun: Mutex::default() }
    }

    pub(super) fn begin(&self, work: Work<'_>) -> Bar {
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
            last_told: Mutex::new(false),
        })
    }

    /// Work of which nobody knows how long it takes.
    pub(super) fn wait(&self, title: String) -> Bar {
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
            last_told: Mutex::new(false),
        })
    }

    fn show(&self, task: Task) -> Bar {
        let task = Arc::new(task);
        if task.vault.is_some() {
            self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(task.clone());
        }
        let lines = self.form == Some(Form::Json) && task.vault.is_some();
        let (bar, follow) = match self.form {
            Some(Form::Json) if lines => (ProgressBar::hidden(), Some(tokio::spawn(follow(task.clone())))),
            Some(Form::Auto) if !self.bars.is_hidden() => {
                let bar = ProgressBar::no_length().with_style(style(UNCOUNTED)).with_prefix(task.title.clone());
                let bar = self.bars.add(bar);
                // Now, and not when the task has its turn: also what is soon over was shown.
                bar.tick();
                let follow = tokio::spawn(draw(task.clone(), bar.clone()));
                (bar, Some(follow))
            }
            _ => (ProgressBar::hidden(), None),
        };
        Bar { task, bar, follow, lines }
    }

    /// Prints while no bar is in the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bars.suspend(print)
    }

    /// What became of all the work so far, a line each.
    pub(super) fn account(&self) -> Vec<String> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.iter().map(|task| task.account()).collect()
    }
}

impl Bar {
    /// The work is done, however it ended.
    pub(in crate::cli) fn finish(self) {
        self.task.is_done.store(true, Ordering::Relaxed);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(follow) = &self.follow {
            follow.abort();
        }
        self.bar.finish_and_clear();
        if self.lines {
            self.task.tell(if self.task.is_done() { "ended" } else { "stopped" }, true);
        }
    }
}

impl Task {
    fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }

    fn traffic(&self) -> Traffic {
        let now = self.pacing.as_ref().map(|pacing| pacing.traffic()).unwrap_or_default();
        Traffic {
            requests: now.requests.saturating_sub(self.before.requests),
            throttled: now.throttled.saturating_sub(self.before.throttled),
        }
    }

    /// A line for programs.
    fn line(&self, state: &str) -> Value {
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

    /// Prints a line for programs; nothing after the last one, though the task that follows may still be at it.
    fn tell(&self, state: &str, is_last: bool) {
        let mut last_told = self.last_told.lock().unwrap_or_else(PoisonError::into_inner);
        if !*last_told {
            // Nobody reading is no failure.
            let _ = writeln!(io::stderr(), "{}", self.line(state));
            *last_told = is_last;
        }
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

async fn follow(task: Arc<Task>) {
    let mut tick = tokio::time::interval(LINE);
    loop {
        tick.tick().await;
        task.tell("running", false);
    }
}

async fn draw(task: Arc<Task>, bar: ProgressBar) {
    let mut tick = tokio::time::interval(FRAME);
    let mut rates = Rates::new(&task);
    let mut shown = None;
    loop {
        tick.tick().await;
        let look = task.progress.look();
        rates.look(&task);
        let width = usize::from(Screen::new().width());
        let narrow = width < NARROW;
        let counts = format!("{}/{}", look.done, look.total).chars().count();
        let (template, before) = match (look.total > 0, narrow) {
            (false, _) => (UNCOUNTED, task.title.chars().count() + 3),
            (true, true) => ("{prefix}\n  {pos}/{len} {msg}", counts + 3),
            (true, false) => ("{prefix} {bar:20} {pos}/{len} {msg}", task.title.chars().count() + 23 + counts),
        };
        if shown != Some(template) {
            shown = Some(template);
            bar.set_style(style(template));
        }
        if look.total > 0 {
            bar.set_length(look.total);
            bar.set_position(look.done);
        }
        let mut message = rates.message(&task, &bar, narrow);
        message.truncate(width.saturating_sub(before));
        bar.set_message(message);
        bar.tick();
    }
}

/// The terminal without its last columns.
#[derive(Debug)]
struct Screen(Term);

impl Screen {
    fn new() -> Self {
        Self(Term::stderr())
    }

    fn target() -> ProgressDrawTarget {
        ProgressDrawTarget::term_like(Box::new(Self::new()))
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.0.size().1.saturating_sub(ECHO)
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.0.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Of a template that is known to be right.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Rates over the last seconds: what is told must follow what happens, and not jump.
struct Rates {
    looks: VecDeque<(Instant, u64, u64, u64)>,
}

impl Rates {
    const SPAN: Duration = Duration::from_secs(3);

    fn new(task: &Task) -> Self {
        let mut rates = Self { looks: VecDeque::new() };
        rates.look(task);
        rates
    }

    fn look(&mut self, task: &Task) {
        let (look, now) = (task.progress.look(), Instant::now());
        self.looks.push_back((now, look.done, look.bytes, task.traffic().requests));
        while self.looks.len() > 2 && now.duration_since(self.looks[1].0) >= Self::SPAN {
            self.looks.pop_front();
        }
    }

    /// Such as `97 items/s, 101 requests/s, throttled, 12 seconds left`.
    fn message(&self, task: &Task, bar: &ProgressBar, narrow: bool) -> String {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else { return String::new() };
        let seconds = last.0.duration_since(first.0).as_secs_f64().max(FRAME.as_secs_f64());
        let rate = |first: u64, last: u64| (last - first) as f64 / seconds;
        let mut parts = Vec::new();
        let look = task.progress.look();
        if look.total > 0 && !narrow {
            parts.push(format!("{:.0} items/s", rate(first.1, last.1)));
        }
        match &task.pacing {
            Some(pacing) => {
                parts.push(format!("{:.0} requests/s", rate(first.3, last.3)));
                if pacing.is_throttled() {
                    parts.push("throttled".to_owned());
                }
            }
            None if look.bytes > 0 => parts.push(format!("{}/s", size(rate(first.2, last.2) as u64))),
            None => (),
        }
        if look.done > 0 && look.done < look.total {
            parts.push(format!("{:#} left", HumanDuration(bar.eta())));
        }
        parts.join(", ")
    }
}
