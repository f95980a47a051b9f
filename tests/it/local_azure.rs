//! An Azure on this machine for the real binary: simulated vaults behind the proxy, folders as stores, and the Functions
//! host with queues in memory. The binary is told by settings alone, as in production.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;
use simulator::{
    clock::Clock,
    functions_host::{Host, HostOptions},
    identity::{Directory, Identity},
    key_vault::{ALL_DATA_ACTIONS, KeyVaults, VaultOptions},
    proxy::{Doors, Protocols, Services},
};
use tempfile::TempDir;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_keyvault-backup");

/// Longer than anything a test waits for, so that only a broken test meets it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The function key of the host; tests search all output for it.
pub(crate) const FUNCTION_KEY: &str = "canary-function-key";

pub(crate) type Settings = BTreeMap<String, String>;

pub(crate) struct LocalAzure {
    pub(crate) vaults: KeyVaults,
    pub(crate) identity: Identity,
    doors: Doors,
    folder: TempDir,
    names: Vec<String>,
}

impl LocalAzure {
    /// Vaults of these names; the first is the one in `BACKUP_VAULTS`, and all others may be restored into.
    pub(crate) async fn with(names: &[&str]) -> Self {
        Self::altered(names, |services| services).await
    }

    /// The same with something else behind the doors.
    pub(crate) async fn altered(names: &[&str], alter: impl FnOnce(Services) -> Services) -> Self {
        let clock = Clock::system();
        let directory = Directory::new(clock.clone());
        let vaults = KeyVaults::new(clock, directory.clone());
        let identity = directory.identity("system");
        directory.set_system_assigned(Some(&identity));
        for name in names {
            vaults.add_vault(VaultOptions { name: (*name).to_owned(), ..Default::default() });
            vaults.assign(&identity, name, ALL_DATA_ACTIONS);
        }
        let folder = TempDir::new().unwrap();
        let services = alter(Services::of(vaults.clone(), directory));
        let doors = Doors::open(services, Protocols::Both, folder.path()).await.unwrap();
        let names = names.iter().map(ToString::to_string).collect();
        Self { vaults, identity, doors, folder, names }
    }

    /// A folder for this test alone.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the backups are.
    pub(crate) fn backups(&self) -> PathBuf {
        self.folder().join("backups")
    }

    /// Where leases and records are.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder().join("backups-state")
    }

    /// The settings of an app in this Azure.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings: Settings =
            self.doors.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let own = [
            ("BACKUP_STORE_URL", format!("file://{}", self.backups().display())),
            ("BACKUP_VAULTS", self.names.first().cloned().unwrap_or_default()),
            ("RESTORE_TARGET_VAULTS", self.names.iter().skip(1).cloned().collect::<Vec<_>>().join(",")),
            ("BACKUP_REQUESTS_PER_SECOND", "10000".to_owned()),
            ("BACKUP_SCHEDULE", "0 0 2 * * *".to_owned()),
            ("VERIFY_SCHEDULE", "0 0 4 * * 6".to_owned()),
            ("BACKUP_QUEUE", "backup-jobs".to_owned()),
            ("RESTORE_QUEUE", "restore-jobs".to_owned()),
        ];
        settings.extend(own.map(|(name, value)| (name.to_owned(), value)));
        settings
    }

    /// The app in the Functions host.
    pub(crate) async fn app(&self) -> App {
        self.app_with(&[]).await
    }

    /// The app in the Functions host, with these settings changed.
    pub(crate) async fn app_with(&self, changes: &[(&str, &str)]) -> App {
        let mut options = HostOptions::new(env!("CARGO_MANIFEST_DIR"));
        options.handler = Some(BINARY.into());
        options.functions_key = FUNCTION_KEY.to_owned();
        options.settings = self.settings();
        options.settings.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        options.timings.visibility_timeout = Some(Duration::ZERO);
        options.timings.timer_retry_delay = Some(Duration::ZERO);
        App { host: Host::start(options).await.unwrap(), client: client() }
    }

    /// Runs a command with nothing in its environment but the settings.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        run(&self.settings(), arguments).await
    }

    /// The same with these settings changed.
    pub(crate) async fn run_with(&self, changes: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut settings = self.settings();
        settings.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        run(&settings, arguments).await
    }

    /// The manifests of a vault, oldest first.
    pub(crate) fn manifests(&self, vault: &str) -> Vec<PathBuf> {
        files(&self.backups().join("vaults").join(vault).join("backups"))
    }

    /// The blobs of a vault's items.
    pub(crate) fn items(&self, vault: &str) -> Vec<PathBuf> {
        files(&self.backups().join("vaults").join(vault).join("items"))
    }

    /// Turns a manifest into one of a format that nobody reads yet.
    pub(crate) fn make_newer(&self, manifest: &Path) {
        let text = fs::read_to_string(manifest).unwrap();
        assert!(text.contains("\"formatVersion\": 1"));
        fs::write(manifest, text.replacen("\"formatVersion\": 1", "\"formatVersion\": 2", 1)).unwrap();
    }

    /// Requests to vaults so far that asked for anything but reading.
    pub(crate) fn changes_asked_for(&self) -> Vec<String> {
        let requests = self.vaults.requests().into_iter();
        requests
            .filter(|request| request.method != "GET")
            .map(|request| format!("{} {:?} {}", request.method, request.operation, request.name))
            .collect()
    }

    /// Nothing asked for what the simulator does not know, or for a host that is not there.
    pub(crate) fn assert_all_known(&self) {
        assert_eq!(self.vaults.unknown_requests(), Vec::<String>::new());
        assert_eq!(self.doors.refused(), Vec::<String>::new());
    }
}

/// Every file below a folder, in the order of names.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What came out of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as the one JSON document it must be.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the binary with this environment and no other.
pub(crate) async fn run(environment: &Settings, arguments: &[&str]) -> Ran {
    let mut command = tokio::process::Command::new(BINARY);
    command.args(arguments).env_clear().envs(environment).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("the command ends").unwrap();
    Ran {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The app in the Functions host, and a client of its API.
pub(crate) struct App {
    pub(crate) host: Host,
    client: reqwest::Client,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {self:?}")).to_str().unwrap()
    }

    /// Checks the shape of an error and gives its message.
    pub(crate) fn error(&self, status: u16, code: &str, target: Option<&str>) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("x-ms-error-code"), code);
        let error = &self.body["error"];
        assert_eq!(error["code"], code);
        if let Some(target) = target {
            assert_eq!(error["target"], target, "{self:?}");
        }
        error["message"].as_str().unwrap()
    }

    /// The fields that `details` of an error names.
    pub(crate) fn targets(&self) -> Vec<&str> {
        let details = self.body["error"]["details"].as_array().unwrap_or_else(|| panic!("no details: {self:?}"));
        details.iter().map(|detail| detail["target"].as_str().unwrap()).collect()
    }
}

impl App {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[], &body.to_string()).await
    }

    pub(crate) async fn post_as(&self, operation_id: &str, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("Operation-Id", operation_id)], &body.to_string()).await
    }

    /// A request with the function key.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.client.request(method, self.url(path)).header("x-functions-key", FUNCTION_KEY);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header("Content-Type", "application/json").body(body.to_owned());
        }
        answer(request).await
    }

    /// A request as it is.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url(path))
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { self.host.url().join(path).unwrap().into() }
    }

    /// Waits until nothing runs and no message waits.
    pub(crate) async fn settle(&self) {
        self.host.wait_idle(LIMIT).await.unwrap();
    }

    /// Starts an operation, waits for its end, and gives its record.
    pub(crate) async fn run(&self, path: &str, body: &Value) -> Value {
        let accepted = self.post(path, body).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        self.settle().await;
        self.get(accepted.header("Operation-Location")).await.body
    }

    /// All that the host has logged, as one text.
    pub(crate) fn log(&self) -> String {
        let lines: Vec<String> = self.host.logs().into_iter().map(|line| line.message).collect();
        lines.join("\n")
    }
}

/// Sends a request and reads the answer; a body that is not JSON counts as null.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
}

/// A client that talks to this machine only.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap()
}
