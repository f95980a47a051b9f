//! `POST api/restore`.

use std::fs;

use reqwest::{Body, Method};
use serde_json::{Value, json};
use simulator::key_vault::Kind;

use crate::local_azure::{App, FUNCTION_KEY, LocalAzure, answer, files};

/// A vault with a backup, a second one to restore into, and the app.
async fn backed_up() -> (LocalAzure, App) {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 10);
    let app = azure.app().await;
    let backup = app.run("api/backups", &json!({ "label": "first" })).await;
    assert_eq!(backup["status"], "Succeeded", "{backup}");
    azure.vaults.reset_log();
    (azure, app)
}

/// A sound request with these fields changed.
fn request(changes: Value) -> Value {
    let mut body = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_backup_is_restored_and_every_item_reported() {
    let (azure, app) = backed_up().await;
    let accepted = app.post("api/restore", &request(json!({}))).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.header("Retry-After"), "5");
    app.settle().await;
    let operation = app.get(accepted.header("Operation-Location")).await.body;
    assert_eq!(operation["status"], "Succeeded", "{operation}");
    let items = operation["items"].as_array().unwrap();
    assert_eq!(items.len(), 10);
    assert!(items.iter().all(|item| item["outcome"] == "restored"), "{operation}");
    let (mut paged, mut next) = (Vec::new(), Some(format!("{}?top=4", accepted.header("Operation-Location"))));
    while let Some(link) = next {
        let page = app.get(&link).await.body;
        paged.push(page["items"].as_array().unwrap().clone());
        next = page["nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(paged.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(&paged.concat(), items);
    let list = app.get("api/operations").await.body;
    assert!(list["value"].as_array().unwrap().iter().all(|row| row.get("items").is_none()), "{list}");
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    azure.assert_all_known();
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let (azure, app) = backed_up().await;
    azure.vaults.set_secret("contoso-dr", "secret-00001", "another value");
    let operations = app.get("api/operations").await.body;
    let state = files(&azure.state());
    let plan = app.post("api/restore", &request(json!({ "dryRun": true }))).await;
    assert_eq!(plan.status, 200, "{plan:?}");
    let counts = json!({ "restore": 9, "alreadyPresent": 0, "recover": 0, "replace": 0, "skip": 1, "blocked": 0 });
    assert_eq!(plan.body["counts"], counts);
    let rows = plan.body["items"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == "secret-00001").unwrap();
    assert!(row["reason"].as_str().unwrap().contains("the target has version"), "{row}");
    assert_eq!(azure.changes_asked_for(), Vec::<String>::new());
    assert_eq!(azure.vaults.snapshot("contoso-dr").count(Kind::Secret), 1);
    assert_eq!(app.get("api/operations").await.body, operations, "a dry run is no operation");
    assert_eq!(files(&azure.state()), state);
}

#[tokio::test]
async fn all_that_is_missing_is_named_at_once() {
    let (azure, app) = backed_up().await;
    let empty = app.post("api/restore", &json!({})).await;
    empty.error(400, "InvalidInput", None);
    assert_eq!(empty.targets(), ["vault", "backup", "targetVault"]);
    let wrong = json!({ "vault": "-", "backup": "What?", "targetVault": "https://evil.example", "items": ["db"],
        "onConflict": "ask", "onDeleted": "ask" });
    let wrong = app.post("api/restore", &wrong).await;
    wrong.error(400, "InvalidInput", None);
    assert_eq!(wrong.targets(), ["vault", "backup", "targetVault", "items", "onConflict", "onDeleted"]);
    assert_eq!(azure.vaults.requests(), [], "a wrong request asks no vault");
}

#[tokio::test]
async fn a_wrong_field_is_refused_with_what_to_do() {
    let (azure, app) = backed_up().await;
    let cases = [
        (json!({ "vault": "x" }), "vault", "is not a vault name"),
        (json!({ "targetVault": "contoso--dr" }), "targetVault", "single hyphens"),
        (json!({ "targetVault": "https://contoso-dr.vault.evil.example" }), "targetVault", "does not end with"),
        (json!({ "targetVault": "https://contoso-dr.vault.usgovcloudapi.net" }), "targetVault", "does not end with"),
        (json!({ "targetVault": "contoso-dr.managedhsm.azure.net" }), "targetVault", "Managed HSM"),
        (json!({ "targetVault": "http://contoso-dr.vault.azure.net" }), "targetVault", "https://"),
        (json!({ "backup": "Friday" }), "backup", "does not name a backup"),
        (json!({ "items": ["passwords/*"] }), "items", "none of keys, secrets and certificates"),
        (json!({ "onConflict": "overwrite" }), "onConflict", "skip, fail or replace"),
        (json!({ "onDeleted": "delete" }), "onDeleted", "recover, fail or purge"),
        (json!({ "force": true }), "force", "is no field of this request"),
        (json!({ "dryRun": "yes" }), "dryRun", "must be true or false"),
        (json!({ "items": "secrets/*" }), "items", "must be a list of strings"),
        (json!({ "onConflict": 1 }), "onConflict", "must be a string"),
    ];
    for (change, target, says) in cases {
        let refused = app.post("api/restore", &request(change.clone())).await;
        let message = refused.error(400, "InvalidInput", Some(target));
        assert!(message.contains(says), "{change}: {message}");
    }
    assert_eq!(azure.vaults.requests(), []);
}

#[tokio::test]
async fn patterns_that_match_nothing_are_refused_by_the_restore_as_by_its_dry_run() {
    let (azure, app) = backed_up().await;
    let operations = app.get("api/operations").await.body;
    let order = |dry_run| request(json!({ "items": ["secrets/no-such-*", "keys/nor-*"], "dryRun": dry_run }));
    let [plan, restore] = [app.post("api/restore", &order(true)).await, app.post("api/restore", &order(false)).await];
    assert!(plan.error(400, "InvalidInput", Some("items")).contains("matches secrets/no-such-*, keys/nor-*"));
    assert_eq!(restore.text, plan.text);
    assert_eq!(app.get("api/operations").await.body, operations, "it is no operation that fails later");
    assert_eq!(azure.vaults.requests(), []);
}

#[tokio::test]
async fn a_target_that_is_not_allowed_is_forbidden_even_for_a_dry_run() {
    let (azure, app) = backed_up().await;
    for dry_run in [true, false] {
        let body = request(json!({ "targetVault": "contoso-prod", "dryRun": dry_run }));
        let refused = app.post("api/restore", &body).await;
        let message = refused.error(403, "Forbidden", Some("targetVault"));
        assert!(message.contains("RESTORE_TARGET_VAULTS does not name it (it allows contoso-dr)"), "{message}");
    }
    assert_eq!(azure.vaults.requests(), []);
}

#[tokio::test]
async fn an_unknown_backup_is_told_at_once() {
    let (azure, app) = backed_up().await;
    for backup in ["second", "2001-01-01T00:00:00Z", "20010101T000000Z-00000000"] {
        let unknown = app.post("api/restore", &request(json!({ "backup": backup }))).await;
        let message = unknown.error(404, "NotFound", Some("backup"));
        assert!(message.contains("(first)"), "{message}");
    }
    let never = app.post("api/restore", &request(json!({ "vault": "contoso-other" }))).await;
    never.error(404, "NotFound", Some("backup"));
    assert_eq!(azure.vaults.requests(), []);
    assert_eq!(app.get("api/operations").await.body["value"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_in_chunks_never_arrives_and_the_answer_says_so() {
    let (_azure, app) = backed_up().await;
    let text = request(json!({})).to_string();
    let chunks = futures::stream::iter([Ok::<_, std::convert::Infallible>(text)]);
    let request = app.request(Method::POST, "api/restore").header("x-functions-key", FUNCTION_KEY);
    let refused = answer(request.body(Body::wrap_stream(chunks))).await;
    let message = refused.error(400, "InvalidInput", Some("body"));
    assert!(message.contains("Send JSON with a Content-Length"), "{message}");
}

#[tokio::test]
async fn a_repeated_restore_is_the_same_operation_and_another_one_is_refused() {
    let (azure, app) = backed_up().await;
    let id = "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c03";
    let body = request(json!({ "items": ["secrets/*"] }));
    let first = app.post_as(id, "api/restore", &body).await;
    app.settle().await;
    let changes = azure.changes_asked_for();
    let again = app.post_as(id, "api/restore", &body).await;
    app.settle().await;
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!((&again.body["id"], &again.body["status"]), (&json!(id), &json!("Succeeded")));
    assert_eq!(azure.changes_asked_for(), changes, "nothing is restored a second time");
    for other in [json!({}), json!({ "items": ["keys/*"] }), json!({ "items": ["secrets/*"], "backup": "first" })] {
        app.post_as(id, "api/restore", &request(other)).await.error(409, "Conflict", Some("Operation-Id"));
    }
    app.post_as(id, "api/backups", &json!({})).await.error(409, "Conflict", Some("Operation-Id"));
}

#[tokio::test]
async fn conflicts_fail_the_whole_restore_when_they_are_to() {
    let (azure, app) = backed_up().await;
    azure.vaults.set_secret("contoso-dr", "secret-00001", "another value");
    let operation = app.run("api/restore", &request(json!({ "onConflict": "fail" }))).await;
    assert_eq!(operation["status"], "Failed", "{operation}");
    assert_eq!(operation["error"]["code"], "Conflict");
    let message = operation["error"]["message"].as_str().unwrap();
    assert!(message.contains("Nothing was restored") && message.contains("secrets/secret-00001"), "{message}");
    assert_eq!(azure.changes_asked_for(), Vec::<String>::new());

    let operation = app.run("api/restore", &request(json!({ "onConflict": "skip" }))).await;
    assert_eq!(operation["status"], "PartiallySucceeded", "{operation}");
    assert_eq!((&operation["counts"]["restored"], &operation["counts"]["skipped"]), (&json!(9), &json!(1)));
}

#[tokio::test]
async fn a_damaged_or_newer_backup_is_refused_and_nothing_changes() {
    let (azure, app) = backed_up().await;
    let manifest = azure.manifests("contoso-prod").remove(0);
    let sound = fs::read_to_string(&manifest).unwrap();
    let cases = [("NewerFormat", "format version 2", None), ("Corrupt", "is damaged", Some("secret-0000"))];
    for (code, says, touched) in cases {
        match touched {
            None => azure.make_newer(&manifest),
            Some(text) => fs::write(&manifest, sound.replace(text, "secret-1111")).unwrap(),
        }
        let plan = app.post("api/restore", &request(json!({ "dryRun": true }))).await;
        assert!(plan.error(500, code, None).contains(says), "{plan:?}");
        let operation = app.run("api/restore", &request(json!({}))).await;
        assert_eq!(
            (&operation["status"], &operation["error"]["code"]),
            (&json!("Failed"), &json!(code)),
            "{operation}"
        );
        assert!(operation["error"]["message"].as_str().unwrap().contains(says), "{operation}");
    }
    assert_eq!(azure.vaults.requests(), [], "such a backup is refused before a vault is asked");
}

#[tokio::test]
async fn a_damaged_item_fails_alone() {
    let (azure, app) = backed_up().await;
    let items = azure.items("contoso-prod");
    let blob = items.iter().find(|path| path.display().to_string().contains("secret-00002")).unwrap();
    let mut bytes = fs::read(blob).unwrap();
    bytes[100] ^= 1;
    fs::write(blob, bytes).unwrap();
    let operation = app.run("api/restore", &request(json!({}))).await;
    assert_eq!(operation["status"], "PartiallySucceeded", "{operation}");
    assert_eq!((&operation["counts"]["restored"], &operation["counts"]["failed"]), (&json!(9), &json!(1)));
    let failed = operation["items"].as_array().unwrap().iter().find(|item| item["outcome"] == "failed").unwrap();
    assert_eq!((&failed["name"], &failed["error"]["code"]), (&json!("secret-00002"), &json!("Corrupt")));
    assert_eq!(azure.vaults.snapshot("contoso-dr").items.get(&(Kind::Secret, "secret-00002".to_owned())), None);
}

#[tokio::test]
async fn a_target_that_cannot_be_looked_at_is_told_by_the_dry_run() {
    let (azure, app) = backed_up().await;
    azure.vaults.unassign(&azure.identity, "contoso-dr");
    let refused = app.post("api/restore", &request(json!({ "dryRun": true }))).await;
    let message = refused.error(403, "Forbidden", None);
    assert!(message.contains("the identity lacks Microsoft.KeyVault/vaults/"), "{message}");
}
