//! `GET` and `POST api/backups`.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::key_vault::{Fault, Kind, Operation, Verb};

use crate::local_azure::{App, LocalAzure};

#[tokio::test]
async fn one_vault_is_backed_up_and_the_operation_tells_how_it_went() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.seed("contoso-prod", 10);
    let app = azure.app().await;
    let accepted = app.post("api/backups", &json!({ "vaults": ["contoso-prod"], "label": "before-upgrade" })).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.header("Content-Type"), "application/json");
    assert_eq!(accepted.header("Retry-After"), "5");
    assert_eq!(accepted.body["status"], "NotStarted");
    assert_eq!(accepted.body["vault"], "contoso-prod");
    app.settle().await;

    let operation = app.get(accepted.header("Operation-Location")).await.body;
    assert_eq!(operation["status"], "Succeeded", "{operation}");
    assert_eq!(operation["id"], accepted.body["id"]);
    let counts = &operation["counts"];
    assert_eq!((&counts["secrets"], &counts["keys"], &counts["certificates"]), (&json!(4), &json!(3), &json!(3)));

    let id = operation["backup"].as_str().unwrap();
    let finished = operation["finishedDateTime"].as_str().unwrap();
    // Once more, so that the label is not the only one.
    let second = app.run("api/backups", &json!({ "full": true })).await;
    assert_eq!((&second["counts"]["read"], &second["counts"]["carriedOver"]), (&json!(10), &json!(0)));
    for name in [id, "before-upgrade"] {
        let shown = app.get(&format!("api/backups/contoso-prod/{name}")).await;
        assert_eq!(shown.status, 200, "{name}: {shown:?}");
        assert_eq!(shown.body["id"], id, "{name}");
        assert_eq!(shown.body["label"], "before-upgrade");
        assert_eq!(shown.body["items"].as_array().unwrap().len(), 10);
    }
    let latest = app.get("api/backups/contoso-prod/latest").await.body;
    assert_eq!(latest["id"], second["backup"]);
    let at = app.get(&format!("api/backups/contoso-prod/{finished}")).await;
    assert_eq!((at.status, &at.body["finishedDateTime"]), (200, &json!(finished)));
    azure.assert_all_known();
}

#[tokio::test]
async fn several_vaults_are_backed_up_by_one_request_with_an_operation_each() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-test"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    azure.vaults.set_secret("contoso-test", "b", "x");
    let app = azure.app_with(&[("BACKUP_VAULTS", "contoso-prod,contoso-test")]).await;
    for body in
        [json!({}), json!({ "vaults": ["contoso-test", "https://contoso-prod.vault.azure.net", "contoso-test"] })]
    {
        let accepted = app.post("api/backups", &body).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        assert!(accepted.header("Operation-Location").ends_with("/api/operations"));
        let operations = accepted.body["value"].as_array().unwrap();
        assert_eq!(operations.len(), 2, "{accepted:?}");
        app.settle().await;
        for operation in operations {
            let operation = app.get(operation["operationLocation"].as_str().unwrap()).await.body;
            assert_eq!(operation["status"], "Succeeded", "{operation}");
        }
    }
}

#[tokio::test]
async fn a_request_without_a_body_backs_up_everything_in_scope() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    let accepted = app.send(Method::POST, "api/backups", &[], "").await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    app.settle().await;
    assert_eq!(azure.manifests("contoso-prod").len(), 1);
}

#[tokio::test]
async fn a_wrong_request_names_its_mistakes_and_starts_nothing() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let app = azure.app().await;
    let cases = [
        (json!({ "vault": "contoso-prod" }), "vault", "is no field of this request; it has vaults, label, full"),
        (json!({ "vaults": "contoso-prod" }), "vaults", "must be a list of strings"),
        (json!({ "full": "yes" }), "full", "must be true or false"),
        (json!(["contoso-prod"]), "body", "not a JSON object"),
        (json!({ "label": "Before Upgrade" }), "label", "lower-case letters"),
        (json!({ "label": "latest" }), "label", "is not \"latest\""),
        (json!({ "vaults": ["contoso-other"] }), "vaults", "add it to BACKUP_VAULTS"),
        (json!({ "vaults": [] }), "vaults", "vaults is empty"),
        (json!({ "vaults": ["x"] }), "vaults", "is not a vault name"),
        (json!({ "vaults": ["https://contoso-prod.vault.azure.cn"] }), "vaults", "does not end with .vault.azure.net"),
    ];
    for (body, target, says) in cases {
        let refused = app.post("api/backups", &body).await;
        let message = refused.error(400, "InvalidInput", Some(target));
        assert!(message.contains(says), "{body}: {message}");
    }
    let several = app.post("api/backups", &json!({ "vaults": ["contoso-other", "x"], "label": "X" })).await;
    several.error(400, "InvalidInput", None);
    assert_eq!(several.targets(), ["vaults", "vaults", "label"]);
    let not_json = app.send(Method::POST, "api/backups", &[], "{").await;
    not_json.error(400, "InvalidInput", Some("body"));
    let bad_id = app.post_as("7", "api/backups", &json!({})).await;
    bad_id.error(400, "InvalidInput", Some("Operation-Id"));
    // The vault in the path would be passed over in silence, and everything in scope backed up.
    let in_path = app.post("api/backups/contoso-prod", &json!({})).await;
    assert!(in_path.error(400, "InvalidInput", Some("vault")).contains("in the body"));
    assert_eq!(app.get("api/operations").await.body["value"], json!([]));
    assert_eq!(azure.vaults.requests(), []);
}

#[tokio::test]
async fn a_repeated_request_is_the_same_operation_and_another_one_is_refused() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-test"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    azure.vaults.set_secret("contoso-test", "a", "x");
    let app = azure.app_with(&[("BACKUP_VAULTS", "contoso-prod,contoso-test")]).await;
    let id = "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01";
    let body = json!({ "vaults": ["contoso-prod"], "label": "nightly" });
    let first = app.post_as(id, "api/backups", &body).await;
    app.settle().await;
    let again = app.post_as(id, "api/backups", &body).await;
    app.settle().await;
    assert_eq!((first.status, again.status), (202, 202), "{again:?}");
    assert_eq!((&first.body["id"], &again.body["id"]), (&json!(id), &json!(id)));
    assert_eq!(again.body["status"], "Succeeded", "the answer tells how the operation stands by now");
    assert_eq!(azure.manifests("contoso-prod").len(), 1);
    for other in [
        json!({ "vaults": ["contoso-test"], "label": "nightly" }),
        json!({ "vaults": ["contoso-prod"], "label": "weekly" }),
        json!({ "vaults": ["contoso-prod"], "label": "nightly", "full": true }),
        json!({ "vaults": ["contoso-prod", "contoso-test"], "label": "nightly" }),
    ] {
        let refused = app.post_as(id, "api/backups", &other).await;
        let message = refused.error(409, "Conflict", Some("Operation-Id"));
        assert!(message.contains("Use a new Operation-Id"), "{message}");
    }
    let (both, id) = (json!({ "vaults": ["contoso-prod", "contoso-test"] }), "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c02");
    let first = app.post_as(id, "api/backups", &both).await;
    app.settle().await;
    let again = app.post_as(id, "api/backups", &both).await;
    let ids =
        |answer: &Value| answer["value"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first.body), ids(&again.body));
    assert_eq!(app.post_as(id, "api/backups", &json!({ "vaults": ["contoso-prod"] })).await.status, 409);
    app.settle().await;
    assert_eq!((azure.manifests("contoso-prod").len(), azure.manifests("contoso-test").len()), (2, 1));
}

#[tokio::test]
async fn pages_of_backups_and_of_items_make_up_the_whole() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.seed("contoso-prod", 23);
    let app = azure.app().await;
    for _ in 0..3 {
        app.run("api/backups", &json!({})).await;
    }
    let whole = app.get("api/backups/contoso-prod").await.body;
    let whole = whole["value"].as_array().unwrap().clone();
    assert_eq!(whole.len(), 3);
    assert!(whole.is_sorted_by(|a, b| a["id"].as_str() > b["id"].as_str()), "newest first");
    assert_eq!(walk(&app, "api/backups/contoso-prod?top=1", "value").await, whole);
    assert_eq!(walk(&app, "api/backups/contoso-prod?top=2", "value").await, whole);

    let shown = app.get("api/backups/contoso-prod/latest?top=1000").await.body;
    assert_eq!(shown["nextLink"], Value::Null);
    let items = shown["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 23);
    assert_eq!(walk(&app, "api/backups/contoso-prod/latest?top=5", "items").await, items);

    for wrong in ["top=0", "top=1001", "top=many"] {
        let refused = app.get(&format!("api/backups/contoso-prod?{wrong}")).await;
        refused.error(400, "InvalidInput", Some("top"));
    }
    let refused = app.get("api/backups/contoso-prod/latest?after=x").await;
    refused.error(400, "InvalidInput", Some("after"));
}

/// Follows the links to the end.
async fn walk(app: &App, path: &str, field: &str) -> Vec<Value> {
    let (mut rows, mut next) = (Vec::new(), path.to_owned());
    loop {
        let page = app.get(&next).await;
        assert_eq!(page.status, 200, "{page:?}");
        let more = page.body[field].as_array().unwrap();
        assert!(!more.is_empty(), "{page:?}");
        rows.extend(more.iter().cloned());
        match page.body["nextLink"].as_str() {
            Some(link) => next = link.to_owned(),
            None => return rows,
        }
    }
}

#[tokio::test]
async fn vaults_are_listed_whether_in_scope_or_only_backed_up() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-new"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    azure.app().await.run("api/backups", &json!({})).await;
    let app = azure.app_with(&[("BACKUP_VAULTS", "contoso-new")]).await;
    let rows = walk(&app, "api/backups?top=1", "value").await;
    assert_eq!(rows.len(), 2);
    assert_eq!(
        rows[0],
        json!({
            "vault": "contoso-new", "inScope": true, "backups": 0, "newest": null, "newestGood": null, "ageSeconds": null,
            "failures": [], "moreFailures": 0, "guard": null, "lastBackup": null, "lastVerify": null, "lastDrill": null,
            "attention": [{
                "cause": "neverBackedUp",
                "message": "Vault contoso-new has no backup. Make one with: keyvault-backup backup contoso-new"
            }]
        })
    );
    assert_eq!(
        (&rows[1]["vault"], &rows[1]["inScope"], &rows[1]["backups"]),
        (&json!("contoso-prod"), &json!(false), &json!(1))
    );
    assert_eq!(rows[1]["newest"]["status"], "Succeeded");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_makes_no_sense_is_refused() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    let unknown = app.get("api/backups/contoso-prod/latest").await;
    assert!(unknown.error(404, "NotFound", Some("backup")).contains("there is no backup of that vault"));
    app.run("api/backups", &json!({})).await;
    let unknown = app.get("api/backups/contoso-prod/no-such-label").await;
    assert!(unknown.error(404, "NotFound", Some("backup")).contains("the newest are"));
    app.get("api/backups/contoso-prod/2001-01-01T00:00:00Z").await.error(404, "NotFound", Some("backup"));
    app.get("api/backups/contoso-prod/What%3F").await.error(400, "InvalidInput", Some("id"));
    app.get("api/backups/-x/latest").await.error(400, "InvalidInput", Some("vault"));
    app.get("api/backups/contoso-prod/latest?compare=X").await.error(400, "InvalidInput", Some("compare"));
    let never = app.get("api/backups/contoso-other").await;
    assert_eq!((never.status, &never.body["value"]), (200, &json!([])));
    // The host has no such routes.
    assert_eq!(app.send(Method::DELETE, "api/backups/contoso-prod/latest", &[], "").await.status, 404);
    assert_eq!(app.get("api/restore").await.status, 404);
    assert_eq!(app.get("api/elsewhere").await.status, 404);
}

#[tokio::test]
async fn a_damaged_or_newer_backup_is_named_and_hides_no_other() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    for label in ["sound", "damaged", "newer"] {
        app.run("api/backups", &json!({ "label": label })).await;
    }
    for manifest in azure.manifests("contoso-prod") {
        let name = manifest.display().to_string();
        if name.contains("newer") {
            azure.make_newer(&manifest);
        } else if name.contains("damaged") {
            fs::write(&manifest, fs::read_to_string(&manifest).unwrap().replace("contoso-prod", "contoso-evil"))
                .unwrap();
        }
    }
    let damaged = app.get("api/backups/contoso-prod/damaged").await;
    assert!(damaged.error(500, "Corrupt", None).contains("is damaged"), "{damaged:?}");
    let newer = app.get("api/backups/contoso-prod/newer").await;
    let message = newer.error(500, "NewerFormat", None);
    assert!(message.contains("format version 2") && message.contains("up to version 1"), "{message}");
    assert_eq!(app.get("api/backups/contoso-prod/sound").await.status, 200);

    let rows = app.get("api/backups/contoso-prod").await;
    assert_eq!(rows.status, 200, "{rows:?}");
    let rows = rows.body["value"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 3);
    let newer = rows.iter().find(|row| row["label"] == "newer").unwrap();
    assert_eq!(newer["error"]["code"], "NewerFormat", "{newer}");
    assert!(newer["id"].is_string());
    let vaults = app.get("api/backups").await;
    assert_eq!(vaults.status, 200, "{vaults:?}");
    assert_eq!(vaults.body["value"][0]["backups"], 3);
}

#[tokio::test]
async fn the_latest_of_backups_in_quick_succession_is_the_last() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(app.run("api/backups", &json!({})).await["backup"].as_str().unwrap().to_owned());
        let latest = app.get("api/backups/contoso-prod/latest").await.body;
        assert_eq!(latest["id"].as_str(), made.last().map(String::as_str), "{made:?}");
        let finished = latest["finishedDateTime"].as_str().unwrap();
        let at = app.get(&format!("api/backups/contoso-prod/{finished}")).await.body;
        assert_eq!(at["id"], latest["id"], "complete at {finished}");
    }
    assert!(made.is_sorted(), "{made:?}");
}

#[tokio::test]
async fn a_partial_backup_fails_its_invocation_once_and_is_then_known_to_have_ended() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    for name in ["good", "bad"] {
        azure.vaults.set_secret("contoso-prod", name, "x");
    }
    let fault = Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)).named("bad");
    azure.vaults.add_fault(fault);
    let app = azure.app().await;
    let operation = app.run("api/backups", &json!({})).await;
    assert_eq!(operation["status"], "PartiallySucceeded", "{operation}");
    assert_eq!((&operation["counts"]["missing"], &operation["counts"]["secrets"]), (&json!(1), &json!(1)));
    let item = &operation["items"][0];
    assert_eq!(
        (&item["name"], &item["outcome"], &item["error"]["code"]),
        (&json!("bad"), &json!("failed"), &json!("Forbidden"))
    );
    let worker: Vec<(Option<u32>, bool)> = app
        .host
        .invocations()
        .iter()
        .filter(|invocation| invocation.function == "BackupWorker")
        .map(|invocation| (invocation.dequeue_count, invocation.succeeded()))
        .collect();
    assert_eq!(worker, [(Some(1), false), (Some(2), true)]);
    assert_eq!(azure.manifests("contoso-prod").len(), 1, "the second delivery makes no second backup");
    assert_eq!(app.host.queue_messages("backup-jobs-poison").await.unwrap(), Vec::<String>::new());
    let log = app.log();
    assert_eq!(log.matches("backup.partial").count(), 1, "{log}");
    assert!(log.contains("ended PartiallySucceeded"), "{log}");
}

#[tokio::test]
async fn a_vault_that_refuses_everything_ends_as_a_failed_operation_with_the_reason() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    azure.vaults.unassign(&azure.identity, "contoso-prod");
    let app = azure.app().await;
    let operation = app.run("api/backups", &json!({})).await;
    assert_eq!(operation["status"], "Failed", "{operation}");
    assert_eq!(operation["error"]["code"], "Forbidden");
    let message = operation["error"]["message"].as_str().unwrap();
    assert!(message.contains("the identity lacks Microsoft.KeyVault/vaults/"), "{message}");
    assert_eq!(azure.manifests("contoso-prod").len(), 0);
}

#[tokio::test]
async fn a_message_that_nobody_understands_goes_to_the_poison_queue_with_a_sentence() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let app = azure.app().await;
    app.host.enqueue("backup-jobs", "{\"hello\":1}").await.unwrap();
    app.settle().await;
    assert_eq!(app.host.queue_messages("backup-jobs-poison").await.unwrap().len(), 1);
    let log = app.log();
    assert!(log.contains("message.refused") && log.contains("look at the poison queue"), "{log}");
    assert_eq!(azure.vaults.requests(), []);
}
