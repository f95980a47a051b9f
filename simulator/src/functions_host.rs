//! A stand-in for the Azure Functions host that runs a custom handler from the app's own `host.json` and
//! `*/function.json` files.
//!
//! It starts, probes, feeds and kills the handler as the real host does, traps included, and **refuses what it does
//! not know**: an unknown key, binding type or route form fails [`Host::start`] with a sentence. What it imitates was
//! read from the sources of the real host (Azure/azure-functions-host, 4.10xx line) and the public documentation.
//!
//! Known differences from Azure: ISO dates inside outputs are not re-written as Json.NET would; timers keep their last
//! run in memory and take no blob lease; the host does not ping `/` after the start; JSON bodies of HTTP requests are
//! not merged into `Metadata`; one key stands for function, host and master keys; the front end's 230 s limit answers
//! 502.

mod answer;
mod error;
mod front;
mod function_json;
mod handler;
mod host_json;
mod invocation;
mod listener;
mod logs;
mod options;
mod payload;
pub mod program;
mod queues;
mod route;
mod schedule;
mod settings;
mod timer;

pub use error::{Error, Result};
pub use invocation::Invocation;
pub use listener::Twice;
pub use logs::{Level, LogLine};
pub use options::{HostOptions, Timings};
pub use payload::ScheduleStatus;
pub use queues::{MemoryQueues, Queues, StorageQueues};
pub use settings::{Settings, read_settings};

use function_json::{Function, Trigger};
use handler::{Handler, Plan, State};
use host_json::{HostJson, QueueOptions};
use logs::Log;
use payload::Payload;
use queues::QueueService;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use time::OffsetDateTime;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle, time::timeout};
use url::Url;

/// A running host. Dropping it kills the handler and ends everything at once, as when an instance is lost: messages
/// being handled stay hidden until their lease ends.
pub struct Host {
    core: Arc<Core>,
    url: Url,
    tasks: Vec<AbortHandle>,
}

impl Host {
    /// Reads the app, starts the handler, waits until it listens, and starts queue listeners and the HTTP front.
    ///
    /// # Errors
    /// When the app holds something the stand-in does not know, or the handler cannot be brought to listen.
    pub async fn start(options: HostOptions) -> Result<Self> {
        let app_root = std::path::absolute(&options.app_root)
            .map_err(|e| Error::new(format!("cannot use the app root {}: {e}", options.app_root.display())))?;
        let mut host_json = HostJson::read(&app_root, &options.settings)?;
        if let Some(handler) = options.handler {
            host_json.handler.executable = std::path::absolute(&handler).unwrap_or(handler);
        }
        if let Some(arguments) = options.handler_arguments {
            host_json.handler.arguments = arguments;
        }
        let functions = function_json::read_all(&app_root, &options.settings)?;
        let queues = QueueService::new(options.queues, &host_json.queues)?;
        let address = (Ipv4Addr::LOCALHOST, options.port);
        let bound = TcpListener::bind(address).await.and_then(|l| Ok((l.local_addr()?.port(), l)));
        let (port, front) = bound
            .map_err(|e| Error::new(format!("cannot listen on 127.0.0.1:{}: {e}; choose another", options.port)))?;
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).map_err(|e| Error::new(e.to_string()))?;

        let log = Arc::new(Log::default());
        let plan = Plan {
            description: host_json.handler,
            app_root,
            settings: options.settings,
            initialization_timeout: options.timings.initialization_timeout.unwrap_or(host_json.initialization_timeout),
            port: free_port()?,
        };
        let (handler, supervision) = Handler::start(plan, log.clone());
        let mut tasks = vec![supervision.abort_handle()];
        let core = Arc::new(Core {
            handler,
            queues,
            log,
            functions: functions.into_iter().map(|f| (f.name.clone(), Arc::new(f))).collect(),
            function_timeout: options.timings.function_timeout.or(host_json.function_timeout),
            visibility_timeout: options.timings.visibility_timeout.unwrap_or(host_json.queues.visibility_timeout),
            queue_options: host_json.queues,
            route_prefix: host_json.route_prefix,
            functions_key: options.functions_key,
            schedule_status: options.schedule_status,
            timings: options.timings,
            invocations: watch::Sender::default(),
            activity: watch::Sender::default(),
            twice: Mutex::default(),
            last_runs: Mutex::default(),
        });
        if let Err(e) = core.handler.connection().await {
            supervision.abort();
            return Err(Error::new(format!("cannot start the handler: {e}")));
        }
        for function in core.functions.values() {
            let (core, function) = (core.clone(), function.clone());
            let task = match &function.trigger {
                Trigger::Queue { binding, queue } => {
                    let (binding, queue) = (binding.clone(), queue.clone());
                    tokio::spawn(listener::listen(core, function, binding, queue))
                }
                Trigger::Timer { .. } if options.run_schedules => tokio::spawn(timer::tick(core, function)),
                Trigger::Timer { .. } | Trigger::Http { .. } => continue,
            };
            tasks.push(task.abort_handle());
        }
        tasks.push(tokio::spawn(front::serve(core.clone(), front)).abort_handle());
        Ok(Self { core, url, tasks })
    }

    /// The address of the HTTP front, ending in a slash. Routes stand behind it with their prefix.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Runs a timer function now, with the retries of its policy, and gives the last attempt.
    ///
    /// # Errors
    /// When there is no such timer.
    pub async fn fire(&self, timer: &str) -> Result<Invocation> {
        self.core.fire(timer, false).await
    }

    /// The same with `IsPastDue` set, as after a missed tick.
    ///
    /// # Errors
    /// When there is no such timer.
    pub async fn fire_past_due(&self, timer: &str) -> Result<Invocation> {
        self.core.fire(timer, true).await
    }

    /// Invokes any function with `data` under the name of its trigger and nothing else around it.
    ///
    /// # Errors
    /// When there is no such function. A failed invocation is an outcome, not an error.
    pub async fn invoke(&self, function: &str, data: &Value) -> Result<Invocation> {
        let function = self.core.function(function)?;
        let (Trigger::Timer { binding, .. } | Trigger::Queue { binding, .. } | Trigger::Http { binding, .. }) =
            &function.trigger;
        let payload = Payload::raw(binding, data);
        let call = invocation::Call { function: &function, payload: &payload, dequeue_count: None, retry: None };
        Ok(invocation::run(&self.core, call).await.0)
    }

    /// Puts a text at the end of a queue, encoded as `messageEncoding` says.
    ///
    /// # Errors
    /// When the message is too large or the queue cannot be reached.
    pub async fn enqueue(&self, queue: &str, text: &str) -> Result<()> {
        self.core.queues.send(queue, text.as_bytes()).await
    }

    /// Puts a text at the end of a queue without encoding it, as a careless client would.
    ///
    /// # Errors
    /// When the message is too large or the queue cannot be reached.
    pub async fn enqueue_as_is(&self, queue: &str, text: &str) -> Result<()> {
        self.core.queues.send_as_is(queue, text).await
    }

    /// The texts in a queue, oldest first, decoded where they can be. In memory, messages being handled are among
    /// them; storage queues show at most 32, and only visible ones.
    ///
    /// # Errors
    /// When the queue cannot be reached.
    pub async fn queue_messages(&self, queue: &str) -> Result<Vec<String>> {
        let bodies = self.core.queues.peek(queue).await?;
        Ok(bodies.into_iter().map(|body| self.core.queues.decode(&body).unwrap_or(body)).collect())
    }

    /// Delivers the next message of a queue twice.
    pub fn deliver_twice(&self, queue: &str, how: Twice) {
        lock(&self.core.twice).insert(queue.to_owned(), how);
    }

    /// Kills the handler with SIGKILL, as a crash. The host starts it again; the third crash stops the host. Returns
    /// when the process is gone.
    pub async fn kill_handler(&self) {
        self.core.handler.kill().await;
    }

    /// Restarts the host around the handler: SIGKILL and a new start, with all former crashes forgotten.
    ///
    /// # Errors
    /// When the handler cannot be brought to listen.
    pub async fn restart_handler(&self) -> Result<()> {
        self.core.handler.restart().await;
        self.core.handler.connection().await.map(drop)
    }

    /// Why the host stopped by itself, if it did.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        match &*self.core.handler.state().borrow() {
            State::Stopped(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// All invocations that ended, in the order of their ends.
    #[must_use]
    pub fn invocations(&self) -> Vec<Invocation> {
        self.core.invocations.borrow().clone()
    }

    /// All log lines so far.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.core.log.lines()
    }

    /// Waits for a log line and gives the first one that fits.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub async fn wait_for_log(&self, limit: Duration, fits: impl Fn(&LogLine) -> bool) -> Result<LogLine> {
        let mut lines = self.core.log.follow();
        let found = timeout(limit, lines.wait_for(|lines| lines.iter().any(&fits))).await;
        let lines = found.ok().and_then(std::result::Result::ok);
        let line = lines.and_then(|lines| lines.iter().find(|line| fits(line)).cloned());
        line.ok_or_else(|| Error::new(format!("no such log line within {limit:?}; look at logs()")))
    }

    /// Waits until `count` invocations have ended since the start, and gives them all.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub async fn wait_for_invocations(&self, limit: Duration, count: usize) -> Result<Vec<Invocation>> {
        let mut all = self.core.invocations.subscribe();
        let found = timeout(limit, all.wait_for(|all| all.len() >= count)).await;
        let all = found.ok().and_then(std::result::Result::ok).map(|all| all.clone());
        all.ok_or_else(|| {
            Error::new(format!("{} instead of {count} invocations ended within {limit:?}", self.invocations().len()))
        })
    }

    /// Waits until all trigger queues are empty, hidden messages included, and nothing runs or waits for a retry.
    ///
    /// # Errors
    /// When `limit` passes first, a queue cannot be reached, or the host stopped while messages wait.
    pub async fn wait_idle(&self, limit: Duration) -> Result<()> {
        timeout(limit, self.core.idle()).await.unwrap_or_else(|_| {
            let running = self.core.activity.borrow().running;
            Err(Error::new(format!("still not idle after {limit:?}: {running} activities run, or messages wait")))
        })
    }

    /// Kills the handler and ends the host. Returns when the process is gone.
    pub async fn stop(self) {
        self.core.handler.stop().await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What all parts of the host share.
struct Core {
    handler: Handler,
    queues: QueueService,
    log: Arc<Log>,
    functions: BTreeMap<String, Arc<Function>>,
    function_timeout: Option<Duration>,
    visibility_timeout: Duration,
    queue_options: QueueOptions,
    route_prefix: String,
    functions_key: String,
    schedule_status: ScheduleStatus,
    timings: Timings,
    invocations: watch::Sender<Vec<Invocation>>,
    activity: watch::Sender<Activity>,
    twice: Mutex<HashMap<String, Twice>>,
    last_runs: Mutex<HashMap<String, OffsetDateTime>>,
}

/// How much goes on.
#[derive(Clone, Copy, Debug, Default)]
struct Activity {
    running: usize,
    /// Grows with every start, so that a look at the queues can be known to be undisturbed.
    started: u64,
}

/// Something that keeps the host from being idle, until it is dropped.
struct Busy(watch::Sender<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|activity| activity.running -= 1);
    }
}

impl Core {
    fn function(&self, name: &str) -> Result<Arc<Function>> {
        self.functions.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.functions.keys().map(String::as_str).collect();
            Error::new(format!("there is no function {name}; the app has {}", known.join(", ")))
        })
    }

    async fn fire(&self, timer: &str, past_due: bool) -> Result<Invocation> {
        let function = self.function(timer)?;
        let ran = timer::fire(self, &function, past_due).await;
        ran.ok_or_else(|| Error::new(format!("{timer} has no timer trigger; use invoke")))
    }

    fn busy(&self) -> Busy {
        self.activity.send_modify(|activity| {
            activity.running += 1;
            activity.started += 1;
        });
        Busy(self.activity.clone())
    }

    async fn idle(&self) -> Result<()> {
        let mut activity = self.activity.subscribe();
        loop {
            let before = *activity.borrow_and_update();
            if before.running == 0 && self.trigger_queues_are_empty().await? {
                let after = *activity.borrow();
                if (after.running, after.started) == (0, before.started) {
                    return Ok(());
                }
            } else if before.running == 0
                && let State::Stopped(why) = &*self.handler.state().borrow()
            {
                return Err(Error::new(format!("messages wait, but the host has stopped: {why}")));
            }
            // Storage queues say nothing of their own accord, so look again soon in any case.
            let _ = timeout(Duration::from_millis(20), activity.changed()).await;
        }
    }

    async fn trigger_queues_are_empty(&self) -> Result<bool> {
        for function in self.functions.values() {
            if let Trigger::Queue { queue, .. } = &function.trigger
                && self.queues.count(queue).await? > 0
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_twice(&self, queue: &str) -> Option<Twice> {
        lock(&self.twice).remove(queue)
    }

    fn last_run(&self, timer: &str) -> Option<OffsetDateTime> {
        lock(&self.last_runs).get(timer).copied()
    }

    fn timer_ran(&self, timer: &str, at: OffsetDateTime) {
        lock(&self.last_runs).insert(timer.to_owned(), at);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port for the handler that is free at this moment. It lies below the range from which the system takes ports for
/// outgoing connections, because one of those could take it while the handler is being restarted.
fn free_port() -> Result<u16> {
    let candidates = (0..100).map(|_| rand::random_range(20_000..32_000));
    let free = |port: &u16| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    candidates.into_iter().find(free).ok_or_else(|| Error::new("found no free port from 20000 to 32000 on 127.0.0.1"))
}
