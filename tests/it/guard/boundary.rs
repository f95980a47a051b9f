//! The guard as people and programs meet it: the real binary on the command line and behind the Functions host.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::key_vault::Kind;

use crate::local_azure::{App, LocalAzure, files};

/// A vault of thirty secrets, of which ten vanished between its two backups.
async fn tripped() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    for number in 0..30 {
        azure.vaults.set_secret("contoso-prod", &format!("secret-{number}"), "x");
    }
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    delete(&azure, 0..10);
    azure
}

fn delete(azure: &LocalAzure, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| {
        azure.vaults.delete_now("contoso-prod", Kind::Secret, &format!("secret-{number}"));
    });
}

/// The events of that name in the log.
fn events(app: &App, name: &str) -> Vec<Value> {
    let lines = app.host.logs().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line.message).ok());
    lines.filter(|line| line["event"] == name).collect()
}

#[tokio::test]
async fn a_restore_of_what_was_left_names_the_backup_that_holds_what_is_gone() {
    let azure = tripped().await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let guard = azure.run(&["guard", "--output", "json"]).await.json();
    let before = guard["value"][0]["guard"]["comparedWith"].as_str().unwrap().to_owned();
    for dry_run in [&["--dry-run"][..], &[]] {
        let restore = [&["restore", "contoso-prod", "--to", "contoso-dr"], dry_run].concat();
        let latest = azure.run(&restore).await;
        if dry_run.is_empty() {
            assert_eq!(latest.code, 1, "{latest:?}");
            assert!(latest.stderr.contains(&format!("was there before, give --backup {before};")), "{latest:?}");
            assert_eq!(azure.vaults.snapshot("contoso-dr").items.len(), 0, "nothing was restored");
        } else {
            assert_eq!(latest.code, 0, "{latest:?}");
            assert!(latest.stderr.contains(&format!("restore backup {before}.")), "{latest:?}");
        }
        let named = azure.run(&[&restore[..], &["--backup", &before]].concat()).await;
        assert_eq!((named.code, named.stderr.as_str()), (0, ""), "{named:?}");
    }
    // By its id it is what somebody wants.
    let newest = guard["value"][0]["guard"]["trippedBy"].as_str().unwrap();
    let newest = azure.run(&["restore", "contoso-prod", "--to", "contoso-dr", "--backup", newest]).await;
    assert_eq!(newest.code, 0, "{newest:?}");
    // Who has looked needs no telling.
    assert_eq!(azure.run(&["guard", "acknowledge", "--yes", "contoso-prod"]).await.code, 0);
    let latest = azure.run(&["restore", "contoso-prod", "--to", "contoso-dr"]).await;
    assert_eq!((latest.code, latest.stderr.as_str()), (0, ""), "{latest:?}");
}

#[tokio::test]
async fn programs_are_told_of_it_too_before_they_restore() {
    let azure = tripped().await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let guard = azure.run(&["guard", "--output", "json"]).await.json();
    let before = guard["value"][0]["guard"]["comparedWith"].as_str().unwrap().to_owned();
    let app = azure.app().await;
    let asked = |backup: &str, dry_run: bool| {
        json!({
            "vault": "contoso-prod", "backup": backup, "targetVault": "contoso-dr", "dryRun": dry_run
        })
    };
    let newest = guard["value"][0]["guard"]["trippedBy"].as_str().unwrap();
    let refused = app.post("api/restore", &asked("latest", false)).await;
    assert_eq!((refused.status, &refused.body["error"]["target"]), (409, &json!("backup")), "{refused:?}");
    for (backup, dry_run, status) in [("latest", true, 200), (newest, false, 202)] {
        let latest = app.post("api/restore", &asked(backup, dry_run)).await;
        let [warning] = &latest.body["warnings"].as_array().unwrap()[..] else { panic!("{latest:?}") };
        assert!(latest.status == status && warning.as_str().unwrap().contains(&format!("restore backup {before}.")));
        let named = app.post("api/restore", &asked(&before, dry_run)).await;
        assert_eq!((named.status, &named.body["warnings"]), (status, &Value::Null), "{named:?}");
    }
    app.settle().await;
    let dry_run = ["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run", "--output", "json"];
    assert_eq!(azure.run(&dry_run).await.json()["warnings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_command_line_shows_it_and_takes_it_down() {
    let azure = tripped().await;
    let down = azure.run(&["guard"]).await;
    assert_eq!((down.code, down.stderr.as_str()), (0, ""), "{down:?}");
    let backup = azure.run(&["backup"]).await;
    assert_eq!(backup.code, 0, "the backup itself is good: {backup:?}");
    assert!(backup.stderr.contains("of 30 items compared with backup"), "{backup:?}");
    assert!(backup.stderr.contains("10 are gone and 0 were disabled"), "{backup:?}");

    for arguments in [&["guard"][..], &["guard", "contoso-prod"]] {
        let up = azure.run(arguments).await;
        assert_eq!((up.code, up.stderr.as_str()), (3, ""), "{up:?}");
        assert!(up.stdout.contains("up") && up.stdout.contains("30"), "{up:?}");
    }
    let up = azure.run(&["guard", "--output", "json"]).await.json();
    let guard = &up["value"][0]["guard"];
    assert_eq!((&guard["items"], &guard["deleted"], &guard["disabled"]), (&json!(30), &json!(10), &json!(0)), "{up}");

    let shown = azure.run(&["show", "contoso-prod"]).await;
    assert!(shown.stdout.contains("The guard was up since backup"), "{shown:?}");

    let wrong =
        azure.run(&["guard", "acknowledge", "--yes", "contoso-prod", "--backup", "20010101T000000Z-00000000"]).await;
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("Look at it again"), "{wrong:?}");
    let said = azure.run(&[
        "guard",
        "acknowledge",
        "--yes",
        "contoso-prod",
        "--reason",
        "moved\nto contoso-new",
        "--by",
        "ada",
    ]);
    let said = said.await;
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    assert!(said.stdout.starts_with("The guard of vault contoso-prod is down: ada acknowledged at "), "{said:?}");
    let kept = files(&azure.state().join("guard-acknowledgements"));
    assert_eq!(kept.len(), 1);
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&kept[0]).unwrap()).unwrap();
    assert_eq!((&kept["acknowledgedBy"], &kept["reason"]), (&json!("ada"), &json!("moved to contoso-new")), "{kept}");
    assert_eq!(kept["guard"], *guard);

    assert_eq!(azure.run(&["guard", "contoso-prod"]).await.code, 0);
    let nothing = azure.run(&["guard", "acknowledge", "--yes", "contoso-prod"]).await;
    assert_eq!(nothing.code, 4, "{nothing:?}");
    assert_eq!(azure.run(&["backup"]).await.stderr, "");
    azure.assert_all_known();
}

#[tokio::test]
async fn it_trips_with_one_event_and_the_api_takes_only_the_word_of_who_has_seen_it() {
    let azure = tripped().await;
    let app = azure.app().await;
    assert_eq!(app.get("api/backups/contoso-prod").await.body["guard"], Value::Null);
    let operation = app.run("api/backups", &json!({})).await;
    assert_eq!((&operation["status"], &operation["counts"]["guardDeleted"]), (&json!("Succeeded"), &json!(10)));
    assert!(operation["message"].as_str().unwrap().contains("The guard is up"), "{operation}");
    // The next one has nothing new to say.
    app.run("api/backups", &json!({})).await;
    let told = events(&app, "guard.tripped");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["level"], &told[0]["deleted"], &told[0]["items"]), (&json!("ERROR"), &json!(10), &json!(30)));

    let guard = app.get("api/backups/contoso-prod").await.body["guard"].clone();
    assert_eq!((&guard["trippedBy"], &guard["deleted"]), (&operation["backup"], &json!(10)), "{guard}");
    let path = "api/backups/contoso-prod/guard";
    for (body, target) in [
        (json!({}), "backup"),
        (json!({ "backup": "latest" }), "backup"),
        (json!({ "backup": 7 }), "backup"),
        (json!({ "backup": guard["trippedBy"], "reason": 7 }), "reason"),
        (json!({ "backup": guard["trippedBy"], "force": true }), "force"),
    ] {
        app.post(path, &body).await.error(400, "InvalidInput", Some(target));
    }
    let empty = app.send(Method::POST, path, &[], "").await;
    empty.error(400, "InvalidInput", Some("body"));
    let other = app.post(path, &json!({ "backup": guard["comparedWith"] })).await;
    assert!(other.error(409, "Conflict", Some("backup")).contains("Look at it again"), "{other:?}");
    assert_eq!(app.get("api/backups/contoso-prod").await.body["guard"], guard);

    let word = json!({ "backup": guard["trippedBy"], "reason": "meant" });
    let said = app.post(path, &word).await;
    assert_eq!((said.status, &said.body["guard"], &said.body["reason"]), (200, &guard, &json!("meant")), "{said:?}");
    assert_eq!(said.body["acknowledgedBy"], "a client of the HTTP API");
    assert_eq!(app.get("api/backups/contoso-prod").await.body["guard"], Value::Null);
    assert_eq!(app.post(path, &word).await.body, said.body, "a repeated request is answered as the first");
    let told = events(&app, "guard.acknowledged");
    assert_eq!(
        (told.len(), &told[0]["level"], &told[0]["backup"]),
        (1, &json!("INFO"), &guard["trippedBy"]),
        "{told:?}"
    );
    let gone = app.post(path, &json!({ "backup": guard["comparedWith"] })).await;
    gone.error(404, "NotFound", Some("backup"));

    let next = app.run("api/backups", &json!({})).await;
    assert_eq!((&next["status"], &next["counts"]["guardDeleted"]), (&json!("Succeeded"), &Value::Null), "{next}");
    azure.assert_all_known();
}

#[tokio::test]
async fn the_app_records_who_was_signed_in() {
    let azure = tripped().await;
    let app = azure.app().await;
    let operation = app.run("api/backups", &json!({})).await;
    let headers = [("x-ms-client-principal-name", "ada@contoso.com")];
    let word = json!({ "backup": operation["backup"] }).to_string();
    let said = app.send(Method::POST, "api/backups/contoso-prod/guard", &headers, &word).await;
    assert_eq!((said.status, &said.body["acknowledgedBy"]), (200, &json!("ada@contoso.com")), "{said:?}");
}

#[tokio::test]
async fn the_settings_say_when_it_trips() {
    let azure = tripped().await;
    let lenient = azure.run_with(&[("GUARD_DELETED_PERCENT", "34")], &["backup"]).await;
    assert_eq!((lenient.code, lenient.stderr.as_str()), (0, ""), "{lenient:?}");
    delete(&azure, 10..16);
    let strict = azure.run(&["backup", "--guard-deleted-percent", "29"]).await;
    assert!(strict.code == 0 && strict.stderr.contains("6 are gone"), "{strict:?}");
}
