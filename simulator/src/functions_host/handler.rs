//! The handler process: started, probed, watched and killed as the real host does.

use super::{
    Error, Result, Settings,
    error::chain,
    host_json::HandlerDescription,
    logs::{CONSOLE, HOST, Level, Log, stderr_level},
    settings::show_time_span,
};
use std::{collections::VecDeque, path::PathBuf, process::ExitStatus, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use uuid::Uuid;

/// The time between two probes of a handler that does not listen yet (host: `WorkerReadyCheckPollingInterval`).
const PROBE_EVERY: Duration = Duration::from_millis(25);
/// At this many handler errors the host stops (host: `HttpFunctionInvocationDispatcher`).
const ERROR_LIMIT: usize = 3;
/// Errors are forgotten when the latest is older than this.
const ERROR_WINDOW: Duration = Duration::from_secs(30 * 60);
/// How long the host waits for the last console lines of a process that is gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How to start the handler.
pub(super) struct Plan {
    pub(super) description: HandlerDescription,
    pub(super) app_root: PathBuf,
    pub(super) settings: Settings,
    pub(super) initialization_timeout: Duration,
    /// The port the handler must listen on. The real host chooses it once, so it survives restarts.
    pub(super) port: u16,
}

/// What the handler can do for callers at the moment.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// The process was started and does not listen yet; calls wait.
    Starting,
    /// The process listens.
    Ready(Connection),
    /// The process left with exit code 0: it stays dead and every call fails.
    Dead,
    /// Too many errors: the host stopped. The text says why.
    Stopped(String),
}

/// A connection pool to one process. It ends with the process, so no call is ever sent to a connection left over.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) client: reqwest::Client,
    pub(super) port: u16,
    /// Which start of the process this is, counted from 1.
    pub(super) generation: u64,
}

/// The running handler, as the rest of the host sees it.
pub(super) struct Handler {
    commands: mpsc::UnboundedSender<(Order, oneshot::Sender<()>)>,
    state: watch::Receiver<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// SIGKILL from outside: the host sees a crash, counts it, and restarts.
    Kill,
    /// SIGKILL by the host itself and a new start, if this generation still runs.
    Replace(u64),
    /// A restart of the whole host: SIGKILL, a new start, and the errors are forgotten.
    Restart,
    /// SIGKILL and no new start.
    Stop,
}

/// How one run of the process ended.
enum End {
    Exit(ExitStatus),
    NotReady,
    NotStarted(std::io::Error),
    By(Order),
}

impl Handler {
    /// Starts the process and its supervision. The process dies when the returned task is aborted.
    pub(super) fn start(plan: Plan, log: Arc<Log>) -> (Self, JoinHandle<()>) {
        let (commands, orders) = mpsc::unbounded_channel();
        let (publish, state) = watch::channel(State::Starting);
        let supervisor = Supervisor { plan, log, publish, orders, waiting: Vec::new(), errors: Vec::new() };
        (Self { commands, state }, tokio::spawn(supervisor.run()))
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// A connection to the process, as soon as it listens.
    ///
    /// # Errors
    /// When the process is dead for good or the host stopped.
    pub(super) async fn connection(&self) -> Result<Connection> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Starting)).await;
        match settled.map(|state| state.clone()) {
            Ok(State::Ready(connection)) => Ok(connection),
            Ok(State::Dead) => Err(Error::new("the handler left with exit code 0 and is not started again")),
            Ok(State::Stopped(why)) => Err(Error::new(format!("the host has stopped: {why}"))),
            Ok(State::Starting) | Err(_) => Err(Error::new("the host is shutting down")),
        }
    }

    pub(super) async fn kill(&self) {
        self.order(Order::Kill).await;
    }

    pub(super) async fn replace(&self, generation: u64) {
        self.order(Order::Replace(generation)).await;
    }

    pub(super) async fn restart(&self) {
        self.order(Order::Restart).await;
    }

    pub(super) async fn stop(&self) {
        self.order(Order::Stop).await;
    }

    /// Returns when the order was carried out, or can no longer be because the supervision ended.
    async fn order(&self, order: Order) {
        let (done, carried_out) = oneshot::channel();
        if self.commands.send((order, done)).is_ok() {
            let _ = carried_out.await;
        }
    }
}

struct Supervisor {
    plan: Plan,
    log: Arc<Log>,
    publish: watch::Sender<State>,
    orders: mpsc::UnboundedReceiver<(Order, oneshot::Sender<()>)>,
    /// Those who ordered something and wait until the new state is published.
    waiting: Vec<oneshot::Sender<()>>,
    errors: Vec<Instant>,
}

impl Supervisor {
    async fn run(mut self) {
        for generation in 1.. {
            self.settle(State::Starting);
            let stderr = Arc::new(std::sync::Mutex::new(VecDeque::new()));
            let error = match self.run_once(generation, &stderr).await {
                End::By(Order::Stop) => return,
                End::By(Order::Restart) => {
                    self.errors.clear();
                    continue;
                }
                End::By(_) => continue,
                End::Exit(status) => match exit_code(status) {
                    0 => {
                        self.log.add(Level::Warning, HOST, "the handler left with exit code 0 and stays dead");
                        if self.rest(State::Dead).await { continue } else { return }
                    }
                    200 => {
                        self.log.add(Level::Information, HOST, "the handler asked for a restart with exit code 200");
                        continue;
                    }
                    code => {
                        let last: Vec<String> =
                            stderr.lock().map(|lines| lines.iter().cloned().collect()).unwrap_or_default();
                        format!("the handler exited with code {code}: {}", last.join(","))
                    }
                },
                End::NotReady => format!(
                    "the handler did not listen on 127.0.0.1:{} within {}",
                    self.plan.port,
                    show_time_span(self.plan.initialization_timeout)
                ),
                End::NotStarted(e) => {
                    format!("the handler {} cannot be started: {e}", self.plan.description.executable.display())
                }
            };
            self.log.add(Level::Error, HOST, error.clone());
            if self.errors.last().is_some_and(|last| last.elapsed() > ERROR_WINDOW) {
                self.errors.clear();
            }
            self.errors.push(Instant::now());
            if self.errors.len() >= ERROR_LIMIT {
                let why = format!("{ERROR_LIMIT} handler errors, the last: {error}");
                self.log.add(Level::Error, HOST, format!("the host stops after {why}"));
                if !self.rest(State::Stopped(why)).await {
                    return;
                }
            }
        }
    }

    /// Publishes a state and tells those who wait for it.
    fn settle(&mut self, state: State) {
        self.publish.send_replace(state);
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(());
        }
    }

    /// Stays without a process until a restart (true) or the end (false) is ordered.
    async fn rest(&mut self, state: State) -> bool {
        self.settle(state);
        while let Some((order, done)) = self.orders.recv().await {
            match order {
                Order::Restart => {
                    self.errors.clear();
                    self.waiting.push(done);
                    return true;
                }
                Order::Stop => return false,
                Order::Kill | Order::Replace(_) => drop(done),
            }
        }
        false
    }

    async fn run_once(&mut self, generation: u64, stderr: &Arc<std::sync::Mutex<VecDeque<String>>>) -> End {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(e) => return End::NotStarted(e),
        };
        let readers = self.read_console(&mut child, stderr);
        let end = self.watch(&mut child, generation).await;
        // SIGKILL, as `Process.Kill` on Linux; never SIGTERM. Harmless when the process is gone already.
        let _ = child.kill().await;
        self.publish.send_replace(State::Starting);
        for reader in readers {
            // A grandchild may keep the pipe open.
            let _ = timeout(LAST_WORDS, reader).await;
        }
        end
    }

    async fn watch(&mut self, child: &mut Child, generation: u64) -> End {
        let client = match reqwest::Client::builder().no_proxy().build() {
            Ok(client) => client,
            Err(e) => return End::NotStarted(std::io::Error::other(chain(&e))),
        };
        let connection = Connection { client, port: self.plan.port, generation };
        let probing = connection.clone();
        let mut ready = std::pin::pin!(timeout(self.plan.initialization_timeout, probe(&probing)));
        let mut starting = true;
        loop {
            tokio::select! {
                status = child.wait() => return match status {
                    Ok(status) => End::Exit(status),
                    Err(e) => End::NotStarted(e),
                },
                ready = &mut ready, if starting => {
                    starting = false;
                    if ready.is_err() {
                        return End::NotReady;
                    }
                    self.settle(State::Ready(connection.clone()));
                }
                order = self.orders.recv() => match order {
                    None => return End::By(Order::Stop),
                    Some((Order::Kill, done)) => {
                        let _ = child.start_kill();
                        // A probe that got through just before says nothing any more.
                        starting = false;
                        self.waiting.push(done);
                    }
                    Some((Order::Replace(other), done)) if other != generation => drop(done),
                    Some((order, done)) => {
                        self.waiting.push(done);
                        return End::By(order);
                    }
                },
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let Plan { description, settings, app_root, port, .. } = &self.plan;
        let worker = Uuid::new_v4().to_string();
        Command::new(&description.executable)
            .args(&description.arguments)
            .current_dir(&description.working_directory)
            .envs(settings)
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &worker)
            .env("FUNCTIONS_HTTPWORKER_PORT", port.to_string())
            .env("FUNCTIONS_HTTPWORKER_ID", &worker)
            .env("FUNCTIONS_APP_ROOT_PATH", app_root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    fn read_console(&self, child: &mut Child, last: &Arc<std::sync::Mutex<VecDeque<String>>>) -> Vec<JoinHandle<()>> {
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let log = self.log.clone();
            readers.push(tokio::spawn(each_line(stdout, move |line| add_console(&log, Level::Information, line))));
        }
        if let Some(stderr) = child.stderr.take() {
            let (log, last) = (self.log.clone(), last.clone());
            let stderr_is_error = self.plan.description.stderr_is_error;
            readers.push(tokio::spawn(each_line(stderr, move |line| {
                let level = stderr_level(&line, stderr_is_error);
                if let (Level::Error, Ok(mut last)) = (level, last.lock()) {
                    // The host repeats the last three error lines when the process exits.
                    if last.len() == 3 {
                        last.pop_front();
                    }
                    last.push_back(line.clone());
                }
                add_console(&log, level, line);
            })));
        }
        readers
    }
}

/// Asks for `/` until a TCP connection succeeds; whatever is answered then, the handler is ready.
async fn probe(connection: &Connection) {
    let root = format!("http://127.0.0.1:{}/", connection.port);
    while matches!(connection.client.get(&root).send().await, Err(e) if e.is_connect()) {
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

async fn each_line(stream: impl AsyncRead + Unpin, mut act: impl FnMut(String)) {
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    while stream.read_until(b'\n', &mut bytes).await.is_ok_and(|count| count > 0) {
        let line = String::from_utf8_lossy(&bytes);
        act(line.trim_end_matches(['\r', '\n']).to_owned());
        bytes.clear();
    }
}

/// Lines with this prefix go to the host's own log instead of the console's.
fn add_console(log: &Log, level: Level, line: String) {
    match line.strip_prefix("LanguageWorkerConsoleLog") {
        Some(rest) => log.add(level, HOST, rest),
        None => log.add(level, CONSOLE, line),
    }
}

/// .NET tells death by signal n as exit code 128 + n.
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
