//! What a caller chooses when starting the host.

use super::{Queues, ScheduleStatus, Settings};
use std::{path::PathBuf, time::Duration};

/// What to run and how.
pub struct HostOptions {
    /// The folder with `host.json` and one folder per function.
    pub app_root: PathBuf,
    /// The handler to start instead of `customHandler.description.defaultExecutablePath`.
    pub handler: Option<PathBuf>,
    /// The arguments to use instead of `customHandler.description.arguments`.
    pub handler_arguments: Option<Vec<String>>,
    /// App settings: the source of `%NAME%` in bindings, and environment of the handler beside what it inherits.
    pub settings: Settings,
    /// Where queue messages live.
    pub queues: Queues,
    /// The key that `authLevel` `function` and `admin` and the `/admin` route ask for.
    pub functions_key: String,
    /// The port of the HTTP front on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Whether timers run by their schedule and by `runOnStartup`. Otherwise only [`Host::fire`](super::Host::fire) and
    /// `POST /admin/functions/{name}` run them.
    pub run_schedules: bool,
    /// What timers are told about their last run.
    pub schedule_status: ScheduleStatus,
    /// Times to shorten in tests.
    pub timings: Timings,
}

impl HostOptions {
    /// The app at `app_root` with queues in memory, a free port, and timers that only fire on demand.
    #[must_use]
    pub fn new(app_root: impl Into<PathBuf>) -> Self {
        Self {
            app_root: app_root.into(),
            handler: None,
            handler_arguments: None,
            settings: Settings::new(),
            queues: Queues::InMemory,
            functions_key: "local-functions-key".to_owned(),
            port: 0,
            run_schedules: false,
            schedule_status: ScheduleStatus::default(),
            timings: Timings::default(),
        }
    }
}

/// The host's waiting times; the default is what the real host uses.
#[derive(Clone, Debug)]
pub struct Timings {
    /// Instead of `functionTimeout` in `host.json`.
    pub function_timeout: Option<Duration>,
    /// Instead of `extensions.queues.visibilityTimeout` in `host.json`.
    pub visibility_timeout: Option<Duration>,
    /// Instead of the delays of a retry policy.
    pub timer_retry_delay: Option<Duration>,
    /// How long a message being handled is hidden; renewed at half time. The queue extension uses 10 minutes.
    pub queue_lease: Duration,
    /// After this time the front answers 502 while the function goes on. Azure's load balancer takes 230 s.
    pub http_limit: Duration,
    /// Instead of `customHandler.initializationTimeout` in `host.json`.
    pub initialization_timeout: Option<Duration>,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            function_timeout: None,
            visibility_timeout: None,
            timer_retry_delay: None,
            queue_lease: Duration::from_secs(600),
            http_limit: Duration::from_secs(230),
            initialization_timeout: None,
        }
    }
}
