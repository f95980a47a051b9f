//! The handler under the bodies that Functions hosts send, posted as the host posts them.

use std::{collections::BTreeSet, fs, os::unix::fs::OpenOptionsExt as _, process::Stdio, time::Duration};

use reqwest::Body;
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Child};

use crate::local_azure::{Answer, BINARY, LIMIT, LocalAzure, Settings, answer, client};

const FIXTURES: &str = "tests/it/fixtures/host";

/// `O_NONBLOCK` of Linux.
const NON_BLOCKING: i32 = 0o4000;

/// How the handler answers the host, and for HTTP functions their client.
const WANTED: &[(&str, u16, Option<u16>)] = &[
    ("BackupTimer.never-ran", 200, None),
    ("BackupTimer.never-ran-with-offset", 200, None),
    ("BackupTimer.ran-before", 200, None),
    ("BackupTimer.second-retry", 200, None),
    ("BackupTimer.unmonitored", 200, None),
    ("BackupWorker.double-encoded", 200, None),
    ("BackupWorker.fields-merged-into-metadata", 200, None),
    ("BackupWorker.last-delivery", 200, None),
    ("BackupWorker.not-json", 500, None),
    ("BackupWorker.null", 500, None),
    ("BackupWorker.numbers-as-numbers", 200, None),
    ("BackupWorker.object", 200, None),
    ("BackupWorker.other-json", 500, None),
    ("BackupWorker.single-encoded", 200, None),
    ("BackupsHttp.empty-objects-as-strings", 200, Some(200)),
    ("BackupsHttp.key-in-the-url", 200, Some(200)),
    ("BackupsHttp.list", 200, Some(200)),
    ("BackupsHttp.one-vault", 200, Some(200)),
    ("BackupsHttp.start", 200, Some(202)),
    ("BackupsHttp.start-with-an-object", 200, Some(202)),
    ("BackupsHttp.start-with-nonsense", 200, Some(400)),
    ("BackupsHttp.start-without-body", 200, Some(202)),
    ("OperationsHttp.list", 200, Some(200)),
    ("OperationsHttp.no-url", 500, None),
    ("OperationsHttp.unknown", 200, Some(404)),
    ("RestoreHttp.binary-body", 200, Some(400)),
    ("RestoreHttp.without-body", 200, Some(400)),
    ("RestoreWorker.bytes", 500, None),
    ("RestoreWorker.unknown-operation", 404, None),
];

/// The handler alone, without a host around it.
struct Handler {
    process: Child,
    port: u16,
    client: reqwest::Client,
}

impl Handler {
    async fn start(azure: &LocalAzure) -> Self {
        Self::start_in(&azure.settings()).await
    }

    /// Started in this environment, and answering.
    async fn start_in(environment: &Settings) -> Self {
        loop {
            let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            let process = tokio::process::Command::new(BINARY)
                .arg("serve")
                .env_clear()
                .envs(environment)
                .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut handler = Self { process, port, client: client() };
            tokio::select! {
                () = until_it_listens(&handler.client, handler.url("")) => return handler,
                // Somebody was given the port in between: take another.
                _ = handler.process.wait() => (),
                () = tokio::time::sleep(LIMIT) => panic!("the handler does not listen"),
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Posts a body in chunks and without its length, as the host does.
    async fn post(&self, path: &str, body: String) -> Answer {
        let chunks = futures::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
        let request = self
            .client
            .post(self.url(path))
            .header("Content-Type", "application/json; charset=utf-8")
            .header("X-Azure-Functions-InvocationId", "8d3b7c1e-5d5c-4d0e-9f59-2f0c8b7a6a11")
            .body(Body::wrap_stream(chunks));
        answer(request).await
    }

    async fn assert_alive(&mut self) {
        assert_eq!(answer(self.client.get(self.url(""))).await.status, 200);
        assert_eq!(self.process.try_wait().unwrap(), None, "the host never starts again what ends with exit code 0");
    }
}

/// As the host does: asks for `/` until a connection is made.
async fn until_it_listens(client: &reqwest::Client, url: String) {
    while client.get(&url).send().await.is_err_and(|error| error.is_connect()) {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn every_body_a_host_may_send_gets_json_or_a_clear_failure() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let mut handler = Handler::start(&azure).await;
    for (name, status, of_client) in WANTED {
        let body = fs::read_to_string(format!("{FIXTURES}/{name}.json")).unwrap();
        let function = name.split('.').next().unwrap();
        let got = handler.post(function, body).await;
        assert_eq!(got.status, *status, "{name}: {got:?}");
        assert_eq!(got.header("content-type"), "application/json", "{name}");
        if got.status == 200 {
            // An empty answer, or null, makes the host wait until its time-out.
            assert!(got.body["Outputs"].is_object() && got.body["Logs"].is_array(), "{name}: {got:?}");
            assert_eq!(got.body["Outputs"]["res"]["statusCode"].as_u64(), of_client.map(u64::from), "{name}: {got:?}");
            let jobs = &got.body["Outputs"]["jobs"];
            assert!(jobs.is_null() || jobs.as_array().unwrap().iter().all(Value::is_string), "{name}: {jobs}");
        } else {
            assert!(
                got.body["error"]["message"].as_str().is_some_and(|text| text.contains(". ") || text.ends_with('.')),
                "{name}: {got:?}"
            );
        }
        assert!(!got.text.contains("canary-function-key"), "{name}: {got:?}");
    }
    handler.assert_alive().await;
}

#[test]
fn no_body_is_forgotten() {
    let files: BTreeSet<String> = fs::read_dir(FIXTURES)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str().unwrap().strip_suffix(".json").map(str::to_owned))
        .collect();
    assert_eq!(files, WANTED.iter().map(|(name, ..)| (*name).to_owned()).collect());
}

#[tokio::test]
async fn what_is_no_invocation_fails_with_a_sentence_and_ends_nothing() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let mut handler = Handler::start(&azure).await;
    for body in ["", "null", "[]", "7", "{", "\u{0}", "{\"Data\":7}"] {
        let got = handler.post("BackupWorker", body.to_owned()).await;
        assert_eq!(got.status, 500, "{body:?}: {got:?}");
        assert_eq!(got.body["error"]["code"], "InvalidInput", "{body:?}: {got:?}");
    }
    for function in ["BackupWorker", "RestoreWorker", "BackupsHttp", "RestoreHttp", "OperationsHttp"] {
        let got = handler.post(function, "{}".to_owned()).await;
        assert_eq!((got.status, &got.body["error"]["code"]), (500, &Value::from("InvalidInput")), "{function}");
    }
    let unknown = handler.post("DrillTimer", "{\"Data\":{},\"Metadata\":{}}".to_owned()).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body["error"]["message"].as_str().unwrap().contains("There is no function \"DrillTimer\""));
    for path in ["BackupWorker/more", "%00", ""] {
        let got = handler.post(path, "{}".to_owned()).await;
        assert!((400..=599).contains(&got.status) && !got.text.is_empty(), "{path}: {got:?}");
    }
    assert_eq!(answer(handler.client.get(handler.url("BackupTimer"))).await.status, 405);
    handler.assert_alive().await;
}

#[tokio::test]
async fn a_repeated_request_asks_again_until_somebody_has_begun() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let handler = Handler::start(&azure).await;
    let id = "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c05";
    let request = json!({ "Data": { "req": {
        "Url": "https://app.azurewebsites.net/api/backups", "Method": "POST", "Query": {}, "Params": {},
        "Headers": { "Operation-Id": [id] }, "Body": "{}",
    } }, "Metadata": {} });
    let ask = async || {
        let answer = handler.post("BackupsHttp", request.to_string()).await.body;
        assert_eq!(answer["Outputs"]["res"]["body"]["id"], id, "{answer}");
        answer["Outputs"]["jobs"].as_array().cloned().unwrap_or_default()
    };
    // The host writes messages after the answer, so the first one may be lost with it; and the record's place in the
    // list with the handler.
    let first = ask().await;
    assert_eq!(first.len(), 1);
    fs::remove_dir_all(azure.state().join("operations-by-time")).unwrap();
    let message = ask().await.pop().unwrap();
    let listed =
        json!({ "Data": { "req": { "Url": "https://app.azurewebsites.net/api/operations", "Method": "GET" } } });
    let listed = handler.post("OperationsHttp", listed.to_string()).await.body;
    assert_eq!(listed["Outputs"]["res"]["body"]["value"][0]["id"], id, "{listed}");

    let work = json!({ "Data": { "job": message.to_string() }, "Metadata": { "DequeueCount": "1" } }).to_string();
    assert_eq!(handler.post("BackupWorker", work.clone()).await.status, 200);
    assert_eq!(ask().await, Vec::<Value>::new(), "it has ended: no message is needed");
    // The other message comes as well, in its time.
    let again = handler.post("BackupWorker", work).await;
    assert!(again.body["Logs"][0].as_str().unwrap().contains("ended before: Succeeded"), "{again:?}");
    assert_eq!(azure.manifests("contoso-prod").len(), 1);
}

#[tokio::test]
async fn the_handler_listens_on_this_machine_only() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let handler = Handler::start(&azure).await;
    // Listening sockets (state 0A) by their local address, in hexadecimal and in the order of this machine's bytes.
    let port = format!(":{:04X}", handler.port);
    let listening = |file: &str| -> Vec<String> {
        let rows = fs::read_to_string(file).unwrap_or_default();
        let rows = rows.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row[3] == "0A" && row[1].ends_with(&port)).map(|row| row[1].to_owned()).collect()
    };
    let loopback = format!("{:08X}{port}", u32::from_ne_bytes([127, 0, 0, 1]));
    assert_eq!(listening("/proc/net/tcp"), [loopback]);
    assert_eq!(listening("/proc/net/tcp6"), Vec::<String>::new());
}

/// The host gives a new instance its first probe at once, and its first invocation when that is answered. Certificates
/// that take for ever to read, an identity endpoint that never answers and a folder that is not there yet stand for
/// everything that is slow.
#[tokio::test]
async fn the_first_probe_is_answered_before_anything_slow_is_touched() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let certificates = azure.folder().join("certificates.pem");
    assert!(std::process::Command::new("mkfifo").arg(&certificates).status().unwrap().success());
    let identity = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = azure.settings();
    settings.insert("SSL_CERT_FILE".into(), certificates.display().to_string());
    settings.insert("IDENTITY_ENDPOINT".into(), format!("http://{}/token", identity.local_addr().unwrap()));
    let handler = Handler::start_in(&settings).await;
    assert_eq!(answer(handler.client.get(handler.url(""))).await.status, 200);
    assert!(!azure.backups().exists(), "no store is opened before somebody asks for something");

    // The first invocation gets to both: they would have been noticed.
    let body = fs::read_to_string(format!("{FIXTURES}/BackupWorker.single-encoded.json")).unwrap();
    let invocation = tokio::spawn(handler.client.post(handler.url("BackupWorker")).body(body).send());
    let read = async {
        // A pipe can be opened for writing, without waiting, when somebody reads.
        let mut pipe = fs::OpenOptions::new();
        pipe.write(true).custom_flags(NON_BLOCKING);
        while pipe.open(&certificates).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, read).await.expect("the certificates are read");
    assert!(azure.state().exists());
    assert_eq!(answer(handler.client.get(handler.url(""))).await.status, 200, "probes are answered meanwhile");
    invocation.abort();
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_handler_with_an_error_and_not_with_0() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = azure.run(&["serve", "--port", &port]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains(&format!("Port {port} of 127.0.0.1 cannot be opened")), "{ended:?}");
}
