//! What comes from outside and is read byte by byte, each as a function of any bytes that must never panic and keeps
//! the promise in its name. `cargo fuzz run NAME` looks for bytes that break it; `tests/it/fuzz.rs` replays the corpus.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{AsyncRawResponse, HttpClient, Request, StatusCode, Transport, headers::Headers},
};
use bytes::Bytes;
use futures::StreamExt as _;
use keyvault_backup::{
    config::{Config, Settings, connect::Connections},
    functions,
    model::{Cloud, Kind},
    repository::manifest::Manifest,
    vault::{Vault, pacing::Pacing},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "vaults/contoso-prod/backups/20261121T020000Z-1f2e3d4c.before-upgrade.json";

const HOME: &str = "contoso-prod.vault.azure.net";

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
    let vault = Pages { first: Mutex::new(Some(Bytes::copy_from_slice(input))), asked: Mutex::default() };
    let vault = Arc::new(vault);
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
    for host in vault.asked.lock().unwrap().iter() {
        assert_eq!(host, HOME);
    }
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

/// A vault that answers the first listing with these bytes and every other with an empty page.
#[derive(Debug)]
struct Pages {
    first: Mutex<Option<Bytes>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl HttpClient for Pages {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.asked.lock().unwrap().push(request.url().host_str().unwrap_or_default().to_owned());
        let page = self.first.lock().unwrap().take().unwrap_or_else(|| Bytes::from_static(br#"{"value":[]}"#));
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), page))
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
