//! A small app and the words in which the tests talk to it.

use serde_json::{Value, json};
use simulator::functions_host::{Host, HostOptions, Invocation, Level};
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;

/// Longer than anything a test waits for, so that only a broken test meets it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// An app folder with a queue function, a timer and an HTTP function.
pub(crate) struct App {
    pub(crate) folder: TempDir,
}

impl App {
    pub(crate) fn new() -> Self {
        let app = Self { folder: TempDir::new().unwrap() };
        app.write(
            "host.json",
            &json!({
                "version": "2.0",
                "functionTimeout": "00:01:00",
                "customHandler": {"description": {
                    "defaultExecutablePath": env!("CARGO_BIN_EXE_echo_handler"), "arguments": ["--from", "%GREETING%"],
                }},
                "extensions": {"queues": {"batchSize": 2, "newBatchThreshold": 1, "messageEncoding": "base64"}},
            }),
        );
        app.write(
            "Job/function.json",
            &json!({"bindings": [
                {"type": "queueTrigger", "direction": "in", "name": "job", "queueName": "%JOBS%"},
                {"type": "queue", "direction": "out", "name": "out", "queueName": "results", "connection": "Any"},
                {"type": "queue", "direction": "out", "name": "exact", "queueName": "results", "dataType": "binary"},
            ]}),
        );
        app.write(
            "Tick/function.json",
            &json!({
                "bindings": [{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "* * * * * *"}],
                "retry": {"strategy": "fixedDelay", "maxRetryCount": 2, "delayInterval": "01:00:00"},
            }),
        );
        app.write(
            "Web/function.json",
            &json!({"bindings": [
                {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "function",
                 "methods": ["get", "post"], "route": "things/{kind}/{name?}"},
                {"type": "http", "direction": "out", "name": "res"},
                {"type": "queue", "direction": "out", "name": "out", "queueName": "results"},
            ]}),
        );
        app
    }

    pub(crate) fn write(&self, path: &str, content: &Value) {
        let file = self.folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content.to_string()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn options(&self) -> HostOptions {
        let mut options = HostOptions::new(self.folder.path());
        options.settings = [("JOBS", "jobs"), ("GREETING", "the app")].map(|(n, v)| (n.into(), v.into())).into();
        options
    }

    pub(crate) async fn start(&self) -> Host {
        Host::start(self.options()).await.unwrap()
    }
}

/// Orders that make the handler answer with these outputs.
pub(crate) fn answer(outputs: &Value) -> String {
    json!({"body": json!({"Outputs": outputs, "Logs": ["a line"], "ReturnValue": null}).to_string()}).to_string()
}

/// Gives the queue function its orders and waits for its first invocation.
pub(crate) async fn run_job(host: &Host, orders: &str) -> Invocation {
    host.enqueue("jobs", orders).await.unwrap();
    host.wait_for_invocations(LIMIT, 1).await.unwrap().remove(0)
}

/// The next request the handler printed that came for this path.
pub(crate) async fn seen(host: &Host, path: &str) -> Value {
    let start = format!("SEEN {{\"path\":\"{path}\"");
    let line = host.wait_for_log(LIMIT, |line| line.message.starts_with(&start)).await.unwrap();
    serde_json::from_str(&line.message["SEEN ".len()..]).unwrap()
}

/// What the handler printed at its n-th start, counted from 0.
pub(crate) async fn started(host: &Host, n: usize) -> Value {
    let starts = || {
        let lines = host.logs().into_iter().map(|line| line.message);
        lines.filter(|message| message.starts_with("STARTED ")).collect::<Vec<_>>()
    };
    host.wait_for_log(LIMIT, |_| starts().len() > n).await.unwrap();
    serde_json::from_str(&starts()[n]["STARTED ".len()..]).unwrap()
}

/// Waits for a line with this text and gives its level.
pub(crate) async fn level_of(host: &Host, text: &str) -> Level {
    host.wait_for_log(LIMIT, |line| line.message == text).await.unwrap().level
}
