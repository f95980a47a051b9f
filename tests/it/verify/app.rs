//! Verification as people and timers meet it: the real binary, on the command line and behind the Functions host.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::{TARGET, VAULT};
use crate::local_azure::{LocalAzure, files};

const OTHER: &str = "contoso-test";

/// Two vaults with a backup each.
async fn backed_up() -> LocalAzure {
    let azure = LocalAzure::with(&[VAULT, OTHER]).await;
    azure.vaults.seed(VAULT, 10);
    azure.vaults.seed(OTHER, 3);
    assert_eq!(azure.run(&["backup", VAULT, OTHER]).await.code, 0);
    azure
}

/// Cuts the stored copy of one item short, and names its file.
fn cut(azure: &LocalAzure, item: &str) -> PathBuf {
    let blob = azure.items(VAULT).into_iter().find(|path| path.to_string_lossy().contains(item)).unwrap();
    let text = fs::read(&blob).unwrap();
    fs::write(&blob, &text[..text.len() - 1]).unwrap();
    blob
}

#[tokio::test]
async fn verify_shows_every_vault_and_ends_well_when_all_is_sound() {
    let azure = backed_up().await;
    let before = files(&azure.backups());
    let ran = azure.run(&["verify"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let rows: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split(['│', '┆']).map(str::trim).collect()).collect();
    for (vault, blobs) in [(VAULT, "10"), (OTHER, "3")] {
        let row = rows.iter().find(|row| row.contains(&vault)).unwrap();
        assert_eq!(row[2..6], ["Succeeded", "1", "1", blobs], "{ran:?}");
    }
    assert_eq!(files(&azure.backups()), before);
    let ran = azure.run(&["verify", OTHER, "--output", "json"]).await;
    let body = ran.json();
    assert_eq!((ran.code, body["value"].as_array().unwrap().len()), (0, 1));
    let body = &body["value"][0];
    assert_eq!(
        (&body["kind"], &body["vault"], &body["status"]),
        (&json!("verify"), &json!(OTHER), &json!("Succeeded"))
    );
    let counts = json!({ "backups": 1, "soundBackups": 1, "blobs": 3, "unnamedBlobs": 0, "damage": 0, "notes": 0 });
    assert_eq!((&body["counts"], &body["findings"], &body["moreDamage"]), (&counts, &json!([]), &json!(0)));
}

#[tokio::test]
async fn damage_ends_with_code_7_and_is_told_to_people_and_to_programs() {
    let azure = backed_up().await;
    assert_eq!(azure.run(&["backup", VAULT, "--full"]).await.code, 0);
    let blob = cut(&azure, "secret-00001");
    let name = blob.strip_prefix(azure.backups()).unwrap().to_str().unwrap().to_owned();
    let backup = azure.manifests(VAULT).into_iter().map(|path| path.file_stem().unwrap().to_owned());
    let backup = backup.map(|stem| stem.into_string().unwrap()).find(|id| name.contains(id)).unwrap();

    let people = azure.run(&["verify"]).await;
    assert_eq!(people.code, 7, "{people:?}");
    assert!(people.stdout.contains("wrong size") && people.stdout.contains("PartiallySucceeded"), "{people:?}");
    let (sentence, advice) = people.stderr.trim().split_once('\n').unwrap();
    assert!(advice.starts_with("What to do next: back the vault up again"), "{advice}");
    assert!(sentence.starts_with("The stored backup of secrets/secret-00001 is damaged: it has "), "{sentence}");
    assert!(sentence.contains(&format!("Backup {backup} needs it.")), "{sentence}");

    let programs = azure.run(&["verify", VAULT, "--output", "json"]).await;
    let body = programs.json();
    let body = &body["value"][0];
    assert_eq!(
        (programs.code, &body["status"], &body["counts"]["damage"]),
        (7, &json!("PartiallySucceeded"), &json!(1))
    );
    let finding = json!({
        "finding": "wrongSize",
        "blob": name,
        "item": { "kind": "secrets", "name": "secret-00001" },
        "backups": [backup],
        "message": sentence,
    });
    assert_eq!(body["findings"], json!([finding]));
    assert_eq!(body["error"], json!({ "code": "Corrupt", "message": sentence, "target": name }));
}

#[tokio::test]
async fn where_nothing_is_stored_there_is_nothing_to_verify() {
    let azure = LocalAzure::with(&[VAULT, TARGET]).await;
    for arguments in [&["verify"][..], &["verify", VAULT]] {
        let ran = azure.run(arguments).await;
        assert_eq!(ran.code, 4, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("there is nothing to verify"), "{ran:?}");
    }
}

#[tokio::test]
async fn the_timer_has_every_vault_in_scope_verified_and_damage_fails_the_invocation() {
    let azure = backed_up().await;
    let app = azure.app_with(&[("BACKUP_VAULTS", &format!("{VAULT},{OTHER}"))]).await;
    let timer = app.host.fire("VerifyTimer").await.unwrap();
    assert!(timer.succeeded(), "{timer:?}");
    app.settle().await;
    let operations = app.get("api/operations").await.body["value"].as_array().unwrap().clone();
    let verified = |operation: &&serde_json::Value| operation["kind"] == "verify" && operation["status"] == "Succeeded";
    assert_eq!(operations.iter().filter(verified).count(), 2, "{operations:#?}");
    assert_eq!(app.log().matches("verify.completed").count(), 2, "{}", app.log());

    cut(&azure, "key-00004");
    app.host.fire("VerifyTimer").await.unwrap();
    app.settle().await;
    let worker = |succeeded: bool| {
        let invocations = app.host.invocations().into_iter();
        invocations.filter(|one| one.function == "BackupWorker" && one.succeeded() == succeeded).count()
    };
    // The failed one is delivered once more and finds that the operation has ended.
    assert_eq!((worker(false), worker(true)), (1, 4));
    assert_eq!(app.log().matches("verify.failed").count(), 1, "{}", app.log());
    let operations = app.get("api/operations").await.body["value"].as_array().unwrap().clone();
    let failed: Vec<_> = operations.iter().filter(|operation| operation["status"] == "Failed").collect();
    let [failed] = failed[..] else { panic!("{operations:#?}") };
    let shown = app.get(&format!("api/operations/{}", failed["id"].as_str().unwrap())).await.body;
    assert_eq!(shown["error"]["code"], "Corrupt", "{shown:#}");
    let message = shown["error"]["message"].as_str().unwrap();
    assert!(message.contains("keys/key-00004") && message.contains("damaged"), "{message}");
    let [finding] = &shown["findings"].as_array().unwrap()[..] else { panic!("{shown:#}") };
    let item = json!({ "kind": "keys", "name": "key-00004" });
    assert_eq!((&finding["finding"], &finding["item"]), (&json!("wrongSize"), &item), "{shown:#}");
    assert_eq!(shown["moreDamage"], 0);
    azure.assert_all_known();
}
