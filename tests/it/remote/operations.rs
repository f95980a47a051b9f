//! What the app is asked to do, and followed to its end.

use std::{process::Stdio, time::Duration};

use super::{OTHER, TARGET, VAULT, by_app, environment, with_backups};
use crate::{
    format_docs::{assert_valid, close},
    local_azure::{BINARY, LIMIT, LocalAzure, Ran},
};
use serde_json::{Value, json};

/// The names of the fields of a JSON document, all of them.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(values) => values.first().map(shape).into_iter().collect(),
        _ => json!("…"),
    }
}

/// The header of the table and the sentence below, without what differs from run to run.
fn outline(ran: &Ran) -> Vec<String> {
    ran.stdout
        .lines()
        .filter(|line| line.starts_with("│ ") && (line.contains("Vault") || line.contains("Item")))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[tokio::test]
async fn a_backup_is_made_by_the_app_and_told_as_if_made_here() {
    let azure = LocalAzure::with(&[VAULT, OTHER, TARGET]).await;
    azure.vaults.seed(VAULT, 12);
    azure.vaults.seed(OTHER, 3);
    let app = azure.app_with(&[("BACKUP_VAULTS", &format!("{VAULT},{OTHER}"))]).await;
    // All in the scope of the app, which this machine does not know.
    let all = by_app(&app, &["backup"]).await;
    assert_eq!((all.code, all.stderr.as_str()), (0, ""), "{all:?}");
    assert!(all.stdout.contains(VAULT) && all.stdout.contains(OTHER), "{all:?}");
    assert_eq!((azure.manifests(VAULT).len(), azure.manifests(OTHER).len()), (1, 1));

    let arguments = ["backup", VAULT, "--label", "before-upgrade", "--full", "--output", "json"];
    let remote = by_app(&app, &arguments).await;
    assert_eq!((remote.code, remote.stderr.as_str()), (0, ""), "{remote:?}");
    let row = &remote.json()["value"][0];
    assert_eq!((&row["status"], &row["label"]), (&json!("Succeeded"), &json!("before-upgrade")));
    assert_eq!(row["counts"]["read"], 12, "--full was passed on: {row}");
    let direct = azure.run(&arguments).await;
    assert_eq!(shape(&remote.json()), shape(&direct.json()));
    assert_eq!(outline(&all), outline(&azure.run(&["backup"]).await));
    azure.assert_all_known();
}

#[tokio::test]
async fn a_restore_is_done_by_the_app_and_found_again_by_its_id() {
    let (azure, app) = with_backups().await;
    let arguments = ["restore", VAULT, "--to", TARGET, "--backup", "before-upgrade", "--items", "keys/*"];
    let id = "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c09";
    let remote = by_app(&app, &[&arguments[..], &["--resume", id]].concat()).await;
    assert_eq!((remote.code, remote.stderr.as_str()), (0, ""), "{remote:?}");
    assert!(remote.stdout.contains("restored") && remote.stdout.contains("Succeeded: Backup "), "{remote:?}");
    let operation = by_app(&app, &["operations", id, "--output", "json"]).await;
    assert_eq!((operation.code, &operation.json()["status"]), (0, &json!("Succeeded")), "{operation:?}");
    let changes = azure.changes_asked_for();
    // Repeated with its id it has been done, and another restore cannot take the id.
    let again = by_app(&app, &[&arguments[..], &["--resume", id]].concat()).await;
    assert_eq!((again.code, again.stdout.as_str()), (0, remote.stdout.as_str()));
    assert_eq!(azure.changes_asked_for(), changes);
    let other = by_app(&app, &["restore", VAULT, "--to", TARGET, "--backup", "before-upgrade", "--resume", id]).await;
    assert!(other.code == 1 && other.stderr.contains("asks for something else"), "{other:?}");

    let direct = azure.run(&[&arguments[..], &["--output", "json"]].concat()).await;
    let remote = by_app(&app, &[&arguments[..], &["--output", "json"]].concat()).await;
    assert_eq!(shape(&remote.json()), shape(&direct.json()));
    assert_eq!(remote.json()["items"], direct.json()["items"]);

    // The newest backup is of what was left: whoever asks for it has to say that it is the one they mean.
    let arguments = ["restore", VAULT, "--to", TARGET, "--items", "certificates/*"];
    let changes = azure.changes_asked_for();
    for latest in [by_app(&app, &arguments).await, azure.run(&arguments).await] {
        assert_eq!(latest.code, 1, "{latest:?}");
        assert!(latest.stderr.contains("To bring back what was there before, give --backup 2"), "{latest:?}");
    }
    assert_eq!(azure.changes_asked_for(), changes);
    let guard = azure.run(&["guard", VAULT, "--output", "json"]).await.json();
    let newest = guard["value"][0]["guard"]["trippedBy"].as_str().unwrap();
    let named = [&arguments[..], &["--backup", newest]].concat();
    for named in [by_app(&app, &named).await, azure.run(&named).await] {
        assert_eq!(named.code, 0, "{named:?}");
        assert!(named.stderr.contains("To bring back what was there before, restore backup 2"), "{named:?}");
    }
}

#[tokio::test]
async fn the_guard_is_taken_down_on_the_word_of_who_says_so() {
    let (azure, app) = with_backups().await;
    let said =
        by_app(&app, &["guard", "acknowledge", VAULT, "--yes", "--by", "ada", "--reason", "meant", "--output", "json"])
            .await;
    assert_eq!(said.code, 0, "{said:?}");
    let said = said.json();
    assert_eq!(
        (&said["acknowledgedBy"], &said["reason"], &said["guard"]["deleted"]),
        (&json!("ada"), &json!("meant"), &json!(10))
    );
    assert_eq!(azure.run(&["guard", VAULT]).await.code, 0);
    let again = by_app(&app, &["guard", "acknowledge", VAULT, "--yes"]).await;
    assert!(again.code == 4 && again.stderr.contains("there is nothing to acknowledge"), "{again:?}");
    let trip = said["guard"]["trippedBy"].as_str().unwrap();
    let again = by_app(&app, &["guard", "acknowledge", VAULT, "--yes", "--backup", trip]).await;
    assert!(again.code == 0 && again.stdout.contains("ada acknowledged at"), "{again:?}");
}

#[tokio::test]
async fn a_verification_by_the_app_tells_what_it_found() {
    let (azure, app) = with_backups().await;
    let sound = by_app(&app, &["verify", OTHER, "--output", "json"]).await;
    assert_eq!(sound.code, 0, "{sound:?}");
    let direct = azure.run(&["verify", OTHER, "--output", "json"]).await;
    assert_eq!(shape(&sound.json()), shape(&direct.json()));

    let blob = azure.items(VAULT).into_iter().find(|path| path.to_string_lossy().contains("key-0")).unwrap();
    let text = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, &text[..text.len() - 1]).unwrap();
    let remote = by_app(&app, &["verify"]).await;
    let direct = azure.run(&["verify"]).await;
    assert_eq!((remote.code, &remote.stdout, &remote.stderr), (7, &direct.stdout, &direct.stderr));
    let nothing = by_app(&app, &["verify", TARGET]).await;
    assert!(nothing.code == 4 && nothing.stderr.contains("No backup of vault contoso-dr"), "{nothing:?}");
}

#[tokio::test]
async fn a_drill_by_the_app_goes_into_its_own_drill_vault_and_nowhere_else() {
    let (azure, _) = with_backups().await;
    let app = azure.app_with(&[("DRILL_VAULT", TARGET), ("RESTORE_TARGET_VAULTS", OTHER)]).await;
    let before = azure.vaults.snapshot(TARGET);
    let elsewhere = by_app(&app, &["drill", VAULT, "--into", OTHER]).await;
    assert!(elsewhere.code == 2 && elsewhere.stderr.contains("in its own DRILL_VAULT"), "{elsewhere:?}");
    assert_eq!(azure.changes_asked_for().iter().filter(|change| change.contains("Restore")).count(), 0);
    let arguments = ["drill", VAULT, "--yes", "--backup", "before-upgrade", "--sample", "4", "--output", "json"];
    let remote = by_app(&app, &arguments).await;
    assert_eq!(remote.code, 0, "{remote:?}");
    let body = remote.json();
    assert_eq!(
        (&body["status"], &body["targetVault"], &body["drill"]["items"]),
        (&json!("Succeeded"), &json!(TARGET), &json!(4))
    );
    let direct = azure.run_with(&[("DRILL_VAULT", TARGET), ("RESTORE_TARGET_VAULTS", "")], &arguments).await;
    assert_eq!(shape(&body), shape(&direct.json()));
    assert_eq!(before.differences(&azure.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test]
async fn backups_are_not_removed_on_request() {
    let (azure, app) = with_backups().await;
    let before = azure.manifests(VAULT);
    for arguments in [
        &["prune"][..],
        &["prune", VAULT],
        &["prune", VAULT, "--remove", "before-upgrade"],
        &["prune", VAULT, "--remove", "before-upgrade", "--dry-run"],
    ] {
        let refused = by_app(&app, arguments).await;
        assert!(refused.code == 2 && refused.stderr.contains("a function key must not be enough"), "{refused:?}");
    }
    assert_eq!(app.host.invocations().len(), 0, "nobody was asked");
    for body in [json!({}), json!({ "dryRun": false }), json!({ "dryRun": true, "remove": ["before-upgrade"] })] {
        let path = format!("api/backups/{VAULT}/prune");
        app.post(&path, &body).await.error(400, "InvalidInput", None);
    }
    assert_eq!(azure.manifests(VAULT), before);
}

#[tokio::test]
async fn a_check_can_be_asked_for_again_with_its_id() {
    let (azure, _) = with_backups().await;
    let app = azure.app_with(&[("DRILL_VAULT", TARGET), ("RESTORE_TARGET_VAULTS", "")]).await;
    let mut schema = crate::openapi_docs::document();
    close(&mut schema);
    schema["$ref"] = json!("#/components/schemas/Operation");
    for (what, body, id) in [
        ("verify", json!({}), "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c10"),
        ("drill", json!({ "backup": "before-upgrade", "sample": 2 }), "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c11"),
    ] {
        let path = format!("api/backups/{VAULT}/{what}");
        let accepted = app.post_as(id, &path, &body).await;
        assert_eq!((accepted.status, &accepted.body["id"], &accepted.body["kind"]), (202, &json!(id), &json!(what)));
        app.settle().await;
        let again = app.post_as(id, &path, &body).await;
        assert_eq!((again.status, &again.body["status"]), (202, &json!("Succeeded")), "{again:?}");
        assert_valid(&schema, &app.get(accepted.header("Operation-Location")).await.body);
        let other = format!("api/backups/{OTHER}/{what}");
        app.post_as(id, &other, &json!({})).await.error(409, "Conflict", Some("Operation-Id"));
    }
    let invocations = app.host.invocations().into_iter().filter(|one| one.function == "BackupWorker").count();
    assert_eq!(invocations, 2, "a repeated request starts nothing");
    let path = format!("api/backups/{VAULT}/drill");
    for (body, target) in [
        (json!({ "sample": 0 }), "sample"),
        (json!({ "sample": "four" }), "sample"),
        (json!({ "backup": "Not-A-Name" }), "backup"),
        (json!({ "targetVault": OTHER }), "targetVault"),
    ] {
        app.post(&path, &body).await.error(400, "InvalidInput", Some(target));
    }
    app.post(&path, &json!({ "backup": "no-such-label" })).await.error(404, "NotFound", None);
    app.post(&format!("api/backups/{TARGET}/verify"), &json!({})).await.error(404, "NotFound", None);
}

#[tokio::test]
async fn ctrl_c_ends_the_waiting_and_not_the_backup() {
    let azure = LocalAzure::with(&[VAULT]).await;
    azure.vaults.seed(VAULT, 20);
    // So slow that it cannot be at its end when the waiting ends.
    let app = azure.app_with(&[("BACKUP_REQUESTS_PER_SECOND", "10")]).await;
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["backup", VAULT]).env_clear().envs(environment(&app)).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let started = async {
        while azure.vaults.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, started).await.expect("the app begins");
    let process = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("Stopped.") && said.contains("The app at 127.0.0.1"), "{said}");
    let id = said.trim().rsplit(' ').next().unwrap();
    let followed = by_app(&app, &["operations", id, "--follow"]).await;
    assert_eq!(followed.code, 0, "{followed:?}");
    assert!(followed.stdout.starts_with("Succeeded: backup of contoso-prod"), "{followed:?}");
    assert_eq!(azure.manifests(VAULT).len(), 1);
    let direct = azure.run(&["operations", id, "--follow"]).await;
    assert_eq!(direct.stdout, followed.stdout);
}
