//! No secret leaves by a side door: everything that comes out of the program at its most talkative is searched for
//! values, tokens, keys of the host and pieces of backups.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use azure_core::base64::{encode, encode_url_safe};
use bytes::Bytes;
use futures::{FutureExt as _, future};
use reqwest::Method;
use serde_json::json;
use simulator::{
    key_vault::{ALL_DATA_ACTIONS, Delays, Effect, Fault, Kind, Operation, VaultOptions, Verb},
    mishap::Mishap,
    proxy::Services,
};
use warp::http::Response;

use crate::local_azure::{Answer, App, FUNCTION_KEY, LocalAzure, answer, files};

/// The value of every secret of these tests.
const VALUE: &str = "canary-value-of-a-secret";

/// How tokens and the headers of a JWE begin: `{"typ`, `{"alg` and `{"kid` in base64url. Less than that is met by chance
/// in hashes.
pub(crate) const TOKENS: [&str; 3] = ["eyJ0eXAi", "eyJhbGci", "eyJraWQi"];

/// Long enough not to be there by chance, short enough to be found in a line that was cut.
const PIECE: usize = 24;

/// Everything that came out, with where it came from.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn add(&mut self, from: impl Into<String>, text: impl Into<String>) {
        self.0.push((from.into(), text.into()));
    }

    fn answer(&mut self, from: &str, answer: &Answer) {
        self.add(from, format!("{:?} {}", answer.headers, answer.text));
    }

    fn assert_without(&self, forbidden: &str) {
        for (from, text) in &self.0 {
            if let Some(at) = text.find(forbidden) {
                let start = text[..at].rfind('\n').map_or(0, |line| line + 1);
                let line: String = text[start..].lines().next().unwrap_or_default().chars().take(600).collect();
                panic!("{from} shows {forbidden:?}: {line}");
            }
        }
    }
}

/// Secrets, keys and certificates whose values are canaries.
async fn furnished() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    for name in ["one", "two", "three"] {
        azure.vaults.set_secret("contoso-prod", name, VALUE);
    }
    azure.vaults.add_vault(VaultOptions { name: "contoso-drill".into(), delays: Delays::none(), ..Default::default() });
    azure.vaults.assign(&azure.identity, "contoso-drill", ALL_DATA_ACTIONS);
    azure.vaults.create_key("contoso-prod", "signing", "RSA");
    azure.vaults.create_certificate("contoso-prod", "web");
    azure
}

/// What goes wrong: refusals with texts of the service's, answers that break off, answers that are none.
fn make_trouble(azure: &LocalAzure) {
    let on = |verb| Operation::new(Kind::Secret, verb);
    azure.vaults.add_fault(Fault::answer(403, "Forbidden").on(on(Verb::Backup)).named("one"));
    azure.vaults.add_fault(Fault::answer(400, "BadParameter").on(on(Verb::Backup)).named("two"));
    azure.vaults.add_fault(Fault::new(Effect::After(Mishap::Truncate(60))).on(on(Verb::Backup)).times(1));
    azure.vaults.add_fault(Fault::new(Effect::After(Mishap::Truncate(60))).on(on(Verb::List)).times(1));
    azure.vaults.add_fault(Fault::answer(400, "Malformed backup blob").on(on(Verb::Restore)).named("one"));
    azure.vaults.add_fault(Fault::new(Effect::After(Mishap::Reset)).on(on(Verb::Restore)).times(1));
}

/// Pieces of every blob: as they are where that is text, and in both alphabets of base64, whole and from the middle.
fn pieces(azure: &LocalAzure) -> Vec<String> {
    let mut pieces = Vec::new();
    for blob in azure.items("contoso-prod") {
        let bytes = fs::read(blob).unwrap();
        assert!(bytes.len() > 300, "these are backups");
        for at in [100, bytes.len() / 2, bytes.len() - 80] {
            let raw = &bytes[at..at + PIECE];
            if raw.iter().all(u8::is_ascii_graphic) {
                pieces.push(String::from_utf8(raw.to_vec()).unwrap());
            }
            // Base64 of the whole, from a place where three bytes make four letters.
            let aligned = &bytes[at / 3 * 3..][..PIECE];
            pieces.extend([encode(aligned), encode_url_safe(aligned)]);
            // As a list of numbers, the way Rust shows bytes.
            pieces.push(raw.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        }
    }
    pieces
}

fn assert_nothing_leaked(azure: &LocalAzure, heard: &mut Heard) {
    for file in files(&azure.state()) {
        heard.add(file.display().to_string(), String::from_utf8_lossy(&fs::read(&file).unwrap()));
    }
    for manifest in azure.manifests("contoso-prod") {
        heard.add(manifest.display().to_string(), fs::read_to_string(&manifest).unwrap());
    }
    let header = azure.settings()["IDENTITY_HEADER"].clone();
    let pieces = pieces(azure);
    assert!(!pieces.is_empty());
    let [typ, alg, kid] = TOKENS;
    let plain = [VALUE, FUNCTION_KEY, typ, alg, kid, &header, &encode(VALUE), &encode_url_safe(VALUE)];
    for forbidden in plain.into_iter().chain(pieces.iter().map(String::as_str)) {
        heard.assert_without(forbidden);
    }
    for blob in files(&azure.backups()) {
        let text = String::from_utf8_lossy(&fs::read(&blob).unwrap()).into_owned();
        assert!(!text.contains(VALUE), "{} holds a value in the clear", blob.display());
    }
}

#[tokio::test]
async fn the_command_line_shows_no_secret_at_trace_level() {
    let azure = furnished().await;
    let mut heard = Heard::default();
    let mut all_was_talkative = true;
    let copy = format!("file://{}", azure.folder().join("copy").display());
    for troubled in [false, true] {
        if troubled {
            make_trouble(&azure);
            azure.vaults.purge_now("contoso-dr", Kind::Secret, "one");
        }
        for arguments in [
            vec!["backup", "--full"],
            vec!["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"],
            vec!["restore", "contoso-prod", "--to", "contoso-dr"],
            vec!["restore", "contoso-prod", "--to", "contoso-dr", "--output", "json"],
            vec!["drill", "contoso-prod", "--into", "contoso-drill", "--yes"],
            vec!["show", "contoso-prod", "--output", "json"],
            vec!["list", "contoso-prod"],
            vec!["status", "--output", "json"],
            vec!["guard", "contoso-prod"],
            vec!["verify", "contoso-prod"],
            vec!["copy", "--to", &copy],
            vec!["prune", "--yes", "--backup-keep", "last=1", "--output", "json"],
        ] {
            let ran = azure.run_with(&[("LOG_LEVEL", "trace")], &arguments).await;
            assert_eq!(
                ran.code == 0,
                !troubled
                    || arguments.contains(&"--dry-run")
                    || ["show", "list", "guard", "verify", "copy", "prune"].contains(&arguments[0]),
                "{arguments:?}: {} {}",
                ran.code,
                ran.stdout
            );
            all_was_talkative &= arguments[0] != "backup" || ran.stderr.contains("TRACE");
            heard.add(format!("stdout of {arguments:?}"), ran.stdout);
            heard.add(format!("stderr of {arguments:?}"), ran.stderr);
        }
    }
    assert!(all_was_talkative, "a program that says nothing proves nothing");
    assert_nothing_leaked(&azure, &mut heard);
}

#[tokio::test]
async fn the_handler_shows_no_secret_at_trace_level() {
    let azure = furnished().await;
    let app = azure.app_with(&[("LOG_LEVEL", "trace")]).await;
    let mut heard = Heard::default();
    converse(&app, &mut heard).await;
    make_trouble(&azure);
    converse(&app, &mut heard).await;

    // Requests that are wrong in ways that tempt to quote them.
    let restore = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    for (path, body) in [
        (format!("api/restore?code={FUNCTION_KEY}"), "{".to_owned()),
        (format!("api/backups/contoso-prod?code={FUNCTION_KEY}&top=x"), String::new()),
        (format!("api/operations/x?code={FUNCTION_KEY}"), String::new()),
        (format!("api/restore?code={FUNCTION_KEY}&dryRun=1"), restore.to_string()),
    ] {
        let method = if path.contains("restore") { Method::POST } else { Method::GET };
        let got = answer(app.request(method, &path).body(body)).await;
        heard.answer(&path, &got);
    }
    app.host.enqueue("backup-jobs", "not json at all").await.unwrap();
    app.settle().await;
    let log = app.log();
    assert!(log.contains("\"TRACE\""), "a handler that says nothing proves nothing");
    heard.add("the host's log", log);
    for invocation in app.host.invocations() {
        heard.add("an invocation", format!("{invocation:?}"));
    }
    assert_nothing_leaked(&azure, &mut heard);
}

/// Everything a client may ask for.
async fn converse(app: &App, heard: &mut Heard) {
    for (path, body) in [
        ("api/backups", json!({ "full": true })),
        ("api/restore", json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" })),
    ] {
        let accepted = app.post(path, &body).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        app.settle().await;
        heard.answer(path, &accepted);
        let operation = app.get(accepted.header("Operation-Location")).await;
        heard.answer("an operation", &operation);
    }
    let plan = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr", "dryRun": true });
    heard.answer("a plan", &app.post("api/restore", &plan).await);
    let word = json!({ "backup": "20261121T020000Z-1f2e3d4c", "reason": "meant" });
    heard.answer("a word about the guard", &app.post("api/backups/contoso-prod/guard", &word).await);
    for path in ["api/backups", "api/backups/contoso-prod", "api/backups/contoso-prod/latest", "api/operations"] {
        heard.answer(path, &app.get(path).await);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_quoted() {
    let token = "eyJhbGciOiJub25lIn0.canary-token.x";
    let sound =
        format!(r#"{{"access_token":"{token}","expires_on":"4102444800","resource":"x","token_type":"Bearer"}}"#);
    let of_identity = [
        (200, sound.replace("\"4102444800\"", "4102444800")),
        (200, sound[..sound.len() - 9].to_owned()),
        (200, format!("\"{token}\"")),
        (400, sound.clone()),
        (500, sound.clone()),
        (404, format!("<html>{token}</html>")),
    ];
    let of_backup = [
        (200, r#"{"value":"canary-backup!*"}"#.to_owned()),
        (200, r#"{"value":["canary-backup"]}"#.to_owned()),
        (200, r#"{"value":"canary-backup"#.to_owned()),
        (200, r#""canary-backup""#.to_owned()),
        (404, "canary-backup".to_owned()),
        (418, "<html>canary-backup</html>".to_owned()),
    ];
    let with_identity = of_identity.into_iter().map(|answer| (Some(answer), None));
    let with_backup = of_backup.into_iter().map(|answer| (None, Some(answer)));
    let cases = with_identity.chain(with_backup).map(|(identity, backup)| async move {
        let shown = format!("{identity:?} {backup:?}");
        let all_fails = identity.is_some();
        let azure = LocalAzure::altered(&["contoso-prod"], |services| answering(services, identity, backup)).await;
        azure.vaults.set_secret("contoso-prod", "a", VALUE);
        let ran = azure.run_with(&[("LOG_LEVEL", "trace")], &["backup", "--output", "json"]).await;
        assert!(ran.code != 0 || !all_fails, "{shown}: {ran:?}");
        let mut heard = Heard::default();
        heard.add(format!("stdout after {shown}"), ran.stdout);
        heard.add(format!("stderr after {shown}"), ran.stderr);
        for file in files(&azure.state()) {
            heard.add(file.display().to_string(), String::from_utf8_lossy(&fs::read(&file).unwrap()));
        }
        for forbidden in TOKENS.into_iter().chain(["canary"]) {
            heard.assert_without(forbidden);
        }
    });
    future::join_all(cases).await;
}

/// All answers of the identity endpoint are this one, or the first two to requests for backups. (More of them, and the
/// program would go on trying for minutes.)
fn answering(mut services: Services, identity: Option<(u16, String)>, backup: Option<(u16, String)>) -> Services {
    fn respond((status, body): &(u16, String)) -> Response<Bytes> {
        let builder = Response::builder().status(*status).header("content-type", "application/json");
        builder.body(Bytes::from(body.clone())).unwrap()
    }
    if let Some(identity) = identity {
        services.identity = Arc::new(move |_| future::ready(respond(&identity)).boxed());
    }
    if let Some(backup) = backup {
        let sound = services.vaults.clone();
        let left = AtomicU32::new(2);
        services.vaults = Arc::new(move |request| {
            let authorized = request.headers().contains_key("authorization");
            let is_backup = authorized && request.uri().path().ends_with("/backup");
            if is_backup && left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                return future::ready(respond(&backup)).boxed();
            }
            sound(request)
        });
    }
    services
}

#[tokio::test]
async fn a_store_url_with_a_signature_is_refused_without_being_repeated() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let url = "https://contoso.blob.core.windows.net/backups?sig=canary-signature";
    let with_password = "https://me:canary-password@contoso.blob.core.windows.net/backups";
    for (name, value) in [("BACKUP_STORE_URL", url), ("STATE_STORE_URL", url), ("BACKUP_STORE_URL", with_password)] {
        for arguments in [vec!["list"], vec!["list", "--output", "json"], vec!["list", "--help"]] {
            let ran = azure.run_with(&[(name, value), ("LOG_LEVEL", "trace")], &arguments).await;
            assert!(arguments.contains(&"--help") || ran.code == 2, "{ran:?}");
            assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
        }
    }
}
