//! The thread that writes progress. What it writes to can stand still at any time: a terminal that was stopped with Ctrl-S,
//! a pipe that nobody reads. Then it stands still alone, and requests and leases go on (decision 0036).

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread,
    time::Duration,
};

use console::Term;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use tokio::time::Instant;

use super::progress::{Form, Task};
use crate::model::size;

/// Between two looks at the work, for people.
const FRAME: Duration = Duration::from_millis(100);

/// Between two lines, for programs.
const LINE: Duration = Duration::from_secs(1);

/// How long the thread is waited for, once as long as it stands still: much less than a lease goes without renewal.
const PATIENCE: Duration = Duration::from_secs(2);

/// Below this many columns a bar has no room for itself.
const NARROW: usize = 80;

/// Columns that stay free for a `^C` that is typed: it would wrap a full line, which then cannot be wiped any more.
const ECHO: u16 = 3;

/// How work looks whose size is not known yet.
const UNCOUNTED: &str = "{spinner} {prefix} {msg}";

/// Where progress is shown.
pub(super) struct Screen {
    form: Form,
    /// To the thread, which begins with the first work. `None`: there can be none, and nothing is shown.
    orders: OnceLock<Option<Sender<Order>>>,
    /// What the thread was asked to answer when it was waited for in vain.
    unanswered: Mutex<Option<Receiver<()>>>,
}

enum Order {
    Show(Arc<Task>),
    End(Arc<Task>),
    /// Answer with nothing on the screen, and leave it alone until the other side hangs up.
    Hold(Sender<()>, Receiver<()>),
}

impl Screen {
    /// Shows nothing yet.
    pub(super) fn new(form: Form) -> Self {
        Self { form, orders: OnceLock::new(), unanswered: Mutex::default() }
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Shows work from now on; also what is soon over was shown.
    pub(super) fn show(&self, task: Arc<Task>) {
        let form = self.form;
        let orders = self.orders.get_or_init(|| {
            let (sender, orders) = mpsc::channel();
            let thread = thread::Builder::new().name("progress".to_owned());
            thread.spawn(move || Writer::new(form).run(&orders)).is_ok().then_some(sender)
        });
        if let Some(orders) = orders {
            let _ = orders.send(Order::Show(task));
        }
    }

    /// The work is over.
    pub(super) fn end(&self, task: Arc<Task>) {
        if let Some(Some(orders)) = self.orders.get() {
            let _ = orders.send(Order::End(task));
        }
    }

    /// Prints while no bar is in the way, behind all that was to be shown before. When what shows it stands still, it is
    /// printed all the same: it may go elsewhere.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        let _held = self.hold();
        print()
    }

    /// The screen is free as long as this lives.
    fn hold(&self) -> Option<Sender<()>> {
        let orders = self.orders.get()?.as_ref()?;
        let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        if unanswered.as_ref().is_some_and(|answer| answer.try_recv() == Err(TryRecvError::Empty)) {
            return None;
        }
        let ((answer, answered), (held, is_held)) = (mpsc::channel(), mpsc::channel());
        orders.send(Order::Hold(answer, is_held)).ok()?;
        let is_late = answered.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
        *unanswered = is_late.then_some(answered);
        (!is_late).then_some(held)
    }
}

impl Drop for Screen {
    /// The end of the command: what is still to be shown is, unless what shows it stands still.
    fn drop(&mut self) {
        drop(self.hold());
    }
}

/// What the thread has.
struct Writer {
    form: Form,
    bars: MultiProgress,
    shown: Vec<Shown>,
}

struct Shown {
    task: Arc<Task>,
    /// When it is to be looked at again.
    due: Instant,
    bar: ProgressBar,
    rates: Rates,
    template: &'static str,
}

impl Writer {
    fn new(form: Form) -> Self {
        let target = if form == Form::Auto { Edge::target() } else { ProgressDrawTarget::hidden() };
        Self { form, bars: MultiProgress::with_draw_target(target), shown: Vec::new() }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let next = self.shown.iter().map(|shown| shown.due).min();
            let order = match next {
                Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Order::Show(task)) => self.show(task),
                Ok(Order::End(task)) => self.end(&task),
                Ok(Order::Hold(answer, is_held)) => self.bars.suspend(|| {
                    let _ = answer.send(());
                    let _ = is_held.recv();
                }),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look();
        }
    }

    fn show(&mut self, task: Arc<Task>) {
        let bar = match self.form {
            Form::Json => ProgressBar::hidden(),
            Form::Auto => {
                let bar = ProgressBar::no_length().with_style(style(UNCOUNTED)).with_prefix(task.title.clone());
                self.bars.add(bar)
            }
        };
        let rates = Rates::new(&task);
        // Now, because the end of it may be the next order.
        let mut shown = Shown { task, due: Instant::now(), bar, rates, template: UNCOUNTED };
        shown.look(self.form);
        self.shown.push(shown);
    }

    fn end(&mut self, task: &Arc<Task>) {
        let Some(at) = self.shown.iter().position(|shown| Arc::ptr_eq(&shown.task, task)) else { return };
        let shown = self.shown.remove(at);
        shown.bar.finish_and_clear();
        if self.form == Form::Json {
            tell(task, if task.is_done() { "ended" } else { "stopped" });
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.shown.iter_mut().filter(|shown| shown.due <= now).for_each(|shown| shown.look(self.form));
    }
}

impl Shown {
    fn look(&mut self, form: Form) {
        match form {
            Form::Json => tell(&self.task, "running"),
            Form::Auto => self.draw(),
        }
        // From now, because this may have taken long: what was missed is not made up for.
        self.due = Instant::now() + if form == Form::Json { LINE } else { FRAME };
    }

    fn draw(&mut self) {
        let Self { task, bar, rates, .. } = self;
        let look = task.progress.look();
        rates.look(task);
        let width = usize::from(Edge::new().width());
        let narrow = width < NARROW;
        let counts = format!("{}/{}", look.done, look.total).chars().count();
        let (template, before) = match (look.total > 0, narrow) {
            (false, _) => (UNCOUNTED, task.title.chars().count() + 3),
            (true, true) => ("{prefix}\n  {pos}/{len} {msg}", counts + 3),
            (true, false) => ("{prefix} {bar:20} {pos}/{len} {msg}", task.title.chars().count() + 23 + counts),
        };
        if self.template != template {
            self.template = template;
            bar.set_style(style(template));
        }
        if look.total > 0 {
            bar.set_length(look.total);
            bar.set_position(look.done);
        }
        let mut message = rates.message(task, bar, narrow);
        message.truncate(width.saturating_sub(before));
        bar.set_message(message);
        bar.tick();
    }
}

/// Prints a line for programs. Nobody reading is no failure.
fn tell(task: &Task, state: &str) {
    let _ = writeln!(io::stderr(), "{}", task.line(state));
}

/// The terminal without its last columns.
#[derive(Debug)]
struct Edge(Term);

impl Edge {
    fn new() -> Self {
        Self(Term::stderr())
    }

    fn target() -> ProgressDrawTarget {
        ProgressDrawTarget::term_like(Box::new(Self::new()))
    }
}

impl TermLike for Edge {
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
