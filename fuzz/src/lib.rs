//! What comes from outside and is read byte by byte, each as a function of any bytes that must never panic and keeps
//! the promise in its name. `cargo fuzz run NAME` looks for bytes that break it; `tests/it/fuzz.rs` replays the corpus.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use azure_core::{
    credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions},
    http::{AsyncRawResponse, HttpClient, Request, StatusCode, Transport, headers::Headers},
};
use bytes::Bytes;
use futures::StreamExt as _;
use keyvault_backup::{
    app::{App, Backups, Row, Started},
    config::{AppAccess, Config, Settings, connect::Connections},
    coverage::Coverage,
    error::Result,
    functions,
    jobs::{BackupRequest, Comparison, DrillRequest, RestoreRequest},
    json,
    model::{Cloud, Kind, VaultName},
    report::Progress,
    repository::{
        findings::Findings,
        items::Items,
        manifest::{Header, Manifest},
        operation::Operation,
    },
    restore::Plan,
    vault::{Vault, pacing::Pacing},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const MANIFEST: &str = "vaults/contoso-prod/backups/20261121T020000Z-1f2e3d4c.before-upgrade.json";

const HOME: &str = "contoso-prod.vault.azure.net";

const APP: &str = "contoso-backup.azurewebsites.net";

const KEY: &str = "canary-function-key";

/// Whatever the Functions host posts, to whichever function: an answer in JSON, and never a panic.
pub fn host_payload(input: &[u8]) {
    let Some((first, payload)) = input.split_first() else { return };
    let function = functions::FUNCTIONS[usize::from(*first) % functions::FUNCTIONS.len()];
    invoke(function, payload.to_vec());
}

/// Whatever a client of the HTTP API sends as its body: an answer that is not the program's own fault.
pub fn api_body(input: &[u8]) {
    let Ok(body) = std::str::from_utf8(input) else { return };
    for (function, url) in [("RestoreHttp", "restore"), ("BackupsHttp", "backups")] {
        let request = json!({
            "Url": format!("https://contoso.azurewebsites.net/api/{url}"),
            "Method": "POST",
            "Headers": { "Content-Type": ["application/json"] },
            "Body": body,
        });
        let payload = json!({ "Data": { "req": request }, "Metadata": {} });
        let (status, answer) = invoke(function, payload.to_string().into_bytes());
        assert_eq!(status, 200, "what a client sends is no failed invocation");
        let status = answer["Outputs"]["res"]["statusCode"].as_u64().unwrap();
        // The storage cannot be reached, so a request that is right ends there.
        assert!(matches!(status, 400 | 403 | 404 | 409 | 500 | 503), "{status}");
        assert!(answer["Outputs"]["res"]["body"]["error"]["message"].is_string());
        assert!(answer["Outputs"].get("jobs").is_none_or(|jobs| jobs.as_array().is_some_and(Vec::is_empty)));
    }
}

/// Whatever is stored as a manifest: refused, or read as one that is written as the same again.
pub fn manifest(input: &[u8]) {
    // Hardly any bytes have the hash they say, so they are also tried with the right one.
    let hash = hex::encode(Sha256::digest(input));
    let sealed = [input, format!("\n  \"sha256\": \"{hash}\"\n}}\n").as_bytes()].concat();
    for text in [input, &sealed] {
        if let Ok(manifest) = Manifest::decode(MANIFEST, text) {
            let text = manifest.encode().unwrap().to_vec().unwrap();
            assert_eq!(Manifest::decode(MANIFEST, &text).unwrap(), manifest);
        }
    }
}

/// Whatever a vault answers to a listing: it ends, and no request goes anywhere but to the vault.
pub fn next_link(input: &[u8]) {
    let first = (StatusCode::Ok, Headers::new(), Bytes::copy_from_slice(input));
    let vault = Server::new([first], (StatusCode::Ok, Bytes::from_static(br#"{"value":[]}"#)));
    let transport = Transport::new(vault.clone());
    let door = Vault::new(
        "contoso-prod".parse().unwrap(),
        Cloud::Public,
        Arc::new(Credential),
        &transport,
        Pacing::new(100_000.0),
    );
    let door = door.unwrap();
    runtime(async {
        for kind in Kind::ALL {
            let rows = door.list(kind);
            futures::pin_mut!(rows);
            while rows.next().await.is_some() {}
        }
    });
    vault.was_only_asked_at(HOME);
}

/// Whatever the deployed app answers to the command line, or something else at its address: refused in words that do not
/// give the key away, or read as something that is shown as JSON, which the app could answer and would be read as the same.
/// Nothing is asked of another host, and it ends.
///
/// The answers, one for each request, are parted by lines of `---`; the first line of each is a status and, for some, a
/// header: `429 retry-after: 7`.
pub fn app_answer(input: &[u8]) {
    let vault: &VaultName = &"contoso-prod".parse().unwrap();
    let backup = &"20261121T020000Z-1f2e3d4c".parse().unwrap();
    let restore: &RestoreRequest = &serde_json::from_str(RESTORE).unwrap();
    let (again, drill, id) = (&BackupRequest::default(), &DrillRequest::default(), Uuid::from_u128(1));
    let all = |rows: Vec<Value>| json!({ "value": rows });
    let whole = |body: json::Body| serde_json::to_value(body).unwrap();
    let started = |started: &Started| whole(json::operation(&started.operation));

    let coverages = |rows: &Vec<Coverage>| all(rows.iter().map(json::coverage).collect());
    is_read_as_shown(input, async |app| app.vaults(&[]).await, coverages);
    is_read_as_shown(input, async |app| app.backups(vault).await, listing);
    let header = |(it, damaged): &(Header, bool)| whole(json::backup(it, &Items::of(&[]).unwrap(), *damaged));
    is_read_as_shown(input, async |app| app.header(vault, "latest").await, header);
    let manifest = |(it, damaged): &(Manifest, bool)| whole(json::backup(&it.header, &it.items, *damaged));
    is_read_as_shown(input, async |app| app.backup(vault, "latest").await, manifest);
    let comparison = |it: &Comparison| whole(json::comparison(it));
    is_read_as_shown(input, async |app| app.compare(vault, backup, None, vault).await, comparison);
    let plan = |plan: &Plan| whole(json::plan(plan, &[]).unwrap());
    is_read_as_shown(input, async |app| app.plan_restore(restore).await, plan);
    is_read_as_shown(input, async |app| app.plan_prune(vault).await, Value::clone);
    is_read_as_shown(input, async |app| app.acknowledge_guard(vault, backup, "me", None).await, json::acknowledgement);

    let every = |rows: &Vec<Started>| all(rows.iter().map(started).collect());
    is_read_as_shown(input, async |app| app.back_up(&[], None, again).await, every);
    is_read_as_shown(input, async |app| app.restore(id, restore).await, started);
    is_read_as_shown(input, async |app| app.drill(vault, drill).await, started);
    let summaries = |rows: &Vec<Operation>| all(rows.iter().map(json::operation_summary).collect());
    is_read_as_shown(input, async |app| app.operations(20).await, summaries);
    let found = |(of, found): &(Operation, Option<Findings>)| json::verification(of, found.as_ref());
    is_read_as_shown(input, async |app| app.operation(id).await, found);
    let to_the_end = async |app: &App| app.follow(app.verify(vault).await?, &Progress::default()).await;
    drop(asked(answers(input), to_the_end));
}

/// What a restore is asked for with.
const RESTORE: &str = r#"{ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" }"#;

/// What is read from these answers is shown as something that is read as the same.
fn is_read_as_shown<T>(input: &[u8], ask: impl AsyncFn(&App) -> Result<T>, show: impl Fn(&T) -> Value) {
    let Ok(read) = asked(answers(input), &ask) else { return };
    let shown = show(&read);
    // Some ask for the first row, and then for all.
    let answer = (StatusCode::Ok, Headers::new(), Bytes::from(shown.to_string()));
    let read = asked(vec![answer; 2], &ask).expect("the app answers like this");
    assert_eq!(show(&read), shown);
}

/// What comes of asking an app that answers like this.
fn asked<T>(answers: Vec<(StatusCode, Headers, Bytes)>, ask: impl AsyncFn(&App) -> Result<T>) -> Result<T> {
    let server = Server::new(answers, (StatusCode::NotFound, Bytes::new()));
    let access = AppAccess {
        api: format!("https://{APP}/api/").parse().unwrap(),
        key: Some(Secret::new(KEY)),
        scope: None,
        cloud: Cloud::Public,
    };
    let app = App::over(server.clone(), access);
    let result = runtime(ask(&app));
    server.was_only_asked_at(APP);
    if let Err(error) = &result {
        let text = error.chain();
        assert!(!text.is_empty() && !text.contains(KEY), "{text}");
    }
    result
}

fn answers(input: &[u8]) -> Vec<(StatusCode, Headers, Bytes)> {
    const PARTING: &[u8] = b"\n---\n";
    let (mut answers, mut rest) = (Vec::new(), Some(input));
    while let Some(text) = rest {
        let end = text.windows(PARTING.len()).position(|window| window == PARTING);
        rest = end.map(|end| &text[end + PARTING.len()..]);
        let text = &text[..end.unwrap_or(text.len())];
        let (head, body) = text.split_at(text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len()));
        let head = String::from_utf8_lossy(head);
        let (status, header) = head.split_once(' ').unwrap_or((&head, ""));
        let mut headers = Headers::new();
        // The SDK is given names in small letters only.
        let is_name = |name: &str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if let Some((name, value)) = header.split_once(": ").filter(|(name, _)| is_name(name)) {
            headers.insert(name.to_owned(), value.to_owned());
        }
        // A client is not given any other.
        let status: u16 = status.parse().unwrap_or(200);
        answers.push((status.clamp(200, 599).into(), headers, Bytes::copy_from_slice(body)));
    }
    answers
}

fn listing(backups: &Backups) -> Value {
    let row = |(backup, header): &Row| json::backup_row(backup, header, backups.damaged.contains(&backup.id));
    let guard = match &backups.guard {
        Ok(guard) => guard.as_ref().map_or(Value::Null, json::guard),
        Err(error) => json::error(std::slice::from_ref(error)),
    };
    json!({ "value": backups.rows.iter().map(row).collect::<Vec<_>>(), "guard": guard })
}

/// One invocation of the handler. Its storage cannot be reached, so that nothing is done beside reading.
fn invoke(function: &str, payload: Vec<u8>) -> (u16, Value) {
    let settings = Settings {
        backup_vaults: Some("contoso-prod".into()),
        restore_target_vaults: Some("contoso-dr".into()),
        backup_store_url: Some("file:///dev/null/backups".into()),
        ..Default::default()
    };
    let connections = Connections::new(Config::read(&settings).unwrap());
    let response = runtime(functions::invoke(Arc::new(Ok(connections)), function.into(), payload.into()));
    let answer: Value = serde_json::from_slice(response.body()).expect("the host hangs on an answer that is not JSON");
    let text = answer.to_string();
    assert!(!text.contains("mistake of this program"), "{text}");
    (response.status().as_u16(), answer)
}

fn runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(work)
}

/// Answers with these one after the other, and with the last one from then on.
#[derive(Debug)]
struct Server {
    answers: Mutex<VecDeque<(StatusCode, Headers, Bytes)>>,
    from_then_on: (StatusCode, Bytes),
    asked: Mutex<Vec<String>>,
}

impl Server {
    fn new(
        answers: impl IntoIterator<Item = (StatusCode, Headers, Bytes)>,
        from_then_on: (StatusCode, Bytes),
    ) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { answers, from_then_on, asked: Mutex::default() })
    }

    fn was_only_asked_at(&self, home: &str) {
        for host in self.asked.lock().unwrap().iter() {
            assert_eq!(host, home);
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Server {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.asked.lock().unwrap().push(request.url().host_str().unwrap_or_default().to_owned());
        let next = self.answers.lock().unwrap().pop_front();
        let (status, headers, body) = next.unwrap_or_else(|| {
            let (status, body) = self.from_then_on.clone();
            (status, Headers::new(), body)
        });
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

#[derive(Debug)]
struct Credential;

#[async_trait::async_trait]
impl TokenCredential for Credential {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let until = SystemTime::now() + Duration::from_secs(3600);
        Ok(AccessToken::new("token".to_owned(), until.into()))
    }
}
