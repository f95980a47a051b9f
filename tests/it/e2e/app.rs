//! The running app, as its callers and its logs show it.

use std::{env, path::PathBuf, time::Duration};

use serde_json::Value;
use simulator::functions_host::{Host, HostOptions, LogLine, Settings};

use super::cloud::{CANARY, app_root, within};
use crate::leaks::TOKENS;

/// The host with the release binary behind it.
pub(super) struct App {
    pub(super) host: Host,
    client: reqwest::Client,
    key: String,
}

/// What an HTTP function answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) operation_location: Option<String>,
    pub(super) body: Value,
}

impl App {
    /// The app with these settings. Its functions key is a canary as well.
    pub(super) fn options(settings: Settings) -> HostOptions {
        let mut options = HostOptions::new(app_root());
        options.handler = Some(binary());
        options.settings = settings;
        options.functions_key = format!("canary-key-{}", uuid::Uuid::new_v4().simple());
        options
    }

    pub(super) async fn start(options: HostOptions) -> Self {
        let key = options.functions_key.clone();
        let host = Host::start(options).await.unwrap();
        Self { host, client: reqwest::Client::builder().no_proxy().build().unwrap(), key }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.host.url().join(path).unwrap())).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.client.post(self.host.url().join(path).unwrap());
        self.send(request.header("Content-Type", "application/json").body(body.to_string())).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.header("x-functions-key", &self.key).send().await.unwrap();
        let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        let (status, operation_location) = (response.status().as_u16(), header("operation-location"));
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} with {text:?} is not JSON"));
        Answer { status, operation_location, body }
    }

    /// Asks for an operation; gives the address at which it can be asked about.
    pub(super) async fn accept(&self, path: &str, body: &Value) -> String {
        let accepted = self.post(path, body).await;
        assert_eq!(accepted.status, 202, "{:#}", accepted.body);
        accepted.operation_location.expect("an accepted operation says where it can be asked about")
    }

    /// Asks about an operation until it has ended.
    pub(super) async fn ended(&self, operation: &str) -> Value {
        let asking = async {
            loop {
                let Answer { status, body, .. } = self.get(operation).await;
                assert_eq!(status, 200, "{body:#}");
                if !["NotStarted", "Running"].contains(&body["status"].as_str().unwrap()) {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        within("the end of the operation", asking).await
    }

    /// Runs an operation to its end.
    pub(super) async fn run(&self, path: &str, body: &Value) -> Value {
        self.ended(&self.accept(path, body).await).await
    }

    /// The events of this name in the handler's output.
    pub(super) fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.host.logs();
        let objects = lines.iter().filter_map(|line| serde_json::from_str::<Value>(&line.message).ok());
        objects.filter(|line| line["event"] == name).collect()
    }

    /// The ends of all invocations of a function: how often the message had been delivered, and whether it went well.
    pub(super) fn deliveries(&self, function: &str) -> Vec<(u32, bool)> {
        let all = self.host.invocations();
        let of_it = all.iter().filter(|invocation| invocation.function == function);
        of_it.map(|invocation| (invocation.dequeue_count.unwrap_or(0), invocation.succeeded())).collect()
    }

    /// No line of all that was logged holds the value of a secret, a token, the functions key or these pieces.
    pub(super) fn check_logs(&self, pieces: &[String]) {
        let [typ, alg, kid] = TOKENS;
        let fixed = [CANARY, typ, alg, kid, &self.key, "BackupV1.microsoft.com"];
        for LogLine { message, .. } in self.host.logs() {
            let found = fixed.into_iter().chain(pieces.iter().map(String::as_str)).find(|text| message.contains(*text));
            assert_eq!(found, None, "is in the log line {message:?}");
            assert!(!holds_a_seeded_value(&message), "the value of a secret is in the log line {message:?}");
        }
    }
}

/// Whether a text holds the value of a seeded secret.
fn holds_a_seeded_value(text: &str) -> bool {
    text.split("value ")
        .skip(1)
        .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(" of secret-"))
}

/// The binary that is shipped, packaged by `scripts/package.sh`.
pub(super) fn binary() -> PathBuf {
    let target = || env::var_os("CARGO_TARGET_DIR").map_or_else(|| app_root().join("target"), PathBuf::from);
    let packaged = || target().join("package/app/keyvault-backup");
    let binary = env::var_os("KEYVAULT_BACKUP_BINARY").map_or_else(packaged, PathBuf::from);
    assert!(
        binary.is_file(),
        "There is no release binary at {}. Run scripts/package.sh, which builds it, or name one in KEYVAULT_BACKUP_BINARY.",
        binary.display()
    );
    binary
}
