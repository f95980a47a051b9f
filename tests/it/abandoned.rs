//! Operations that nobody will finish: they end as `Failed` with the reason, once, whatever became of their message.

use std::{fs, os::unix::fs::symlink, time::Duration};

use keyvault_backup::{
    functions::work::MOST_DELIVERIES,
    operation::{Attempts, Done, SIGN_OF_LIFE, abandoned::MESSAGE_LIFE, attempt},
    report::{Progress, Status},
    repository::operation::{Operation, OperationKind},
};
use serde_json::{Value, json};
use simulator::{
    key_vault::{Effect, Fault, Kind, Operation as Asked, Verb},
    mishap::Mishap,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::{
    local_azure::{App, LIMIT, LocalAzure, files},
    world::World,
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_backup_whose_worker_is_killed_in_every_delivery_ends_failed_with_the_reason() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let hangs = Asked::new(Kind::Secret, Verb::Backup);
    azure.vaults.add_fault(Fault::new(Effect::Before(Mishap::Hang)).on(hangs));
    let app = azure.app().await;
    let accepted = app.post("api/backups", &json!({})).await;
    let location = accepted.header("Operation-Location").to_owned();
    for delivery in 1..=u64::from(MOST_DELIVERIES) {
        until(|| azure.vaults.count(hangs) == delivery).await;
        // SIGKILL, as when memory runs out.
        app.host.restart_handler().await.unwrap();
    }
    app.settle().await;
    let poison = app.host.queue_messages("backup-jobs-poison").await.unwrap();
    assert_eq!(poison.len(), 1, "nobody is given the message any more");
    let running = app.get(&location).await.body;
    assert_eq!((&running["status"], &running["attempts"]), (&json!("Running"), &json!(MOST_DELIVERIES)), "{running}");

    // An hour later nobody has heard of it.
    let record = record(&azure, &accepted.body);
    age(&record, HOUR);
    let stored = fs::read_to_string(&record).unwrap();
    let shown = app.get(&location).await.body;
    assert_is_given_up(&shown, "Attempt 5 at this backup, the last one, was heard of at ");
    let listed = app.get("api/operations").await.body["value"][0].clone();
    assert_eq!((&listed["status"], &listed["error"]), (&shown["status"], &shown["error"]));
    assert_eq!(fs::read_to_string(&record).unwrap(), stored, "looking changes nothing");

    azure.vaults.clear_faults();
    for _ in 0..2 {
        assert!(app.host.fire("BackupTimer").await.unwrap().succeeded());
        app.settle().await;
    }
    assert_eq!(app.get(&location).await.body, shown, "what is stored is what was shown");
    assert_ne!(fs::read_to_string(&record).unwrap(), stored);
    let log = app.log();
    assert_eq!(log.matches("operation.abandoned").count(), 1, "{log}");
    assert!(log.contains("\"level\":\"ERROR\"") && log.contains("\"kind\":\"backup\""), "{log}");
    assert_eq!(files(&azure.state().join("unfinished")), Vec::<std::path::PathBuf>::new());
    let last = fs::read_to_string(azure.state().join("last-operations/contoso-prod/backup.json")).unwrap();
    assert!(last.contains("Succeeded"), "the backups since then count, not the one that was given up: {last}");

    // A person puts the message back.
    let backups = azure.manifests("contoso-prod");
    app.host.enqueue("backup-jobs", &poison[0]).await.unwrap();
    app.settle().await;
    assert!(app.host.invocations().last().unwrap().succeeded());
    assert_eq!(app.get(&location).await.body, shown, "what has ended stays ended");
    assert_eq!(azure.manifests("contoso-prod"), backups);
}

#[tokio::test]
async fn a_backup_that_fails_in_every_delivery_ends_failed_with_the_last_reason() {
    let (azure, app) = unreadable().await;
    let operation = app.run("api/backups", &json!({})).await;
    assert_eq!((&operation["status"], &operation["attempts"]), (&json!("Failed"), &json!(MOST_DELIVERIES)));
    assert_eq!(operation["error"]["code"], "Unavailable", "{operation}");
    assert!(operation["message"].as_str().unwrap().contains("Check the disk, then run this again."), "{operation}");
    assert_eq!(app.host.queue_messages("backup-jobs-poison").await.unwrap().len(), 1);
    assert_eq!(app.log().matches("backup.failed").count(), 1);
    assert_eq!(files(&azure.state().join("unfinished")), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn an_operation_whose_message_was_lost_ends_failed_when_no_message_can_be_left() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    app.run("api/backups", &json!({})).await;
    let id = "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c09";
    let order = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    let lost = app.post_as(id, "api/restore", &order).await.body;
    app.settle().await;
    let record = record(&azure, &lost);
    // As if no worker had ever seen it.
    let mut operation: Value = serde_json::from_str(&fs::read_to_string(&record).unwrap()).unwrap();
    let fields = operation.as_object_mut().unwrap();
    fields.insert("status".into(), "NotStarted".into());
    fields.retain(|name, _| !["startedAt", "finishedAt", "message", "counts", "items"].contains(&name.as_str()));
    fs::write(&record, operation.to_string()).unwrap();
    fs::create_dir_all(azure.state().join("unfinished")).unwrap();
    fs::write(azure.state().join("unfinished").join(id), "").unwrap();

    let location = &format!("api/operations/{id}");
    age(&record, MESSAGE_LIFE - HOUR);
    assert!(app.host.fire("BackupTimer").await.unwrap().succeeded());
    assert_eq!(app.get(location).await.body["status"], "NotStarted", "the app may have been stopped all the time");
    age(&record, 2 * HOUR);
    assert!(app.host.fire("BackupTimer").await.unwrap().succeeded());
    assert_is_given_up(
        &app.get(location).await.body,
        "No worker has begun with this restore since it was asked for at ",
    );
    assert_eq!(app.log().matches("operation.abandoned").count(), 1);
}

#[tokio::test]
async fn a_restore_by_command_that_was_killed_is_given_up_and_can_still_be_taken_up_again() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 10);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let hangs = Asked::new(Kind::Secret, Verb::Restore);
    azure.vaults.add_fault(Fault::new(Effect::Before(Mishap::Hang)).on(hangs));
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr"];
    tokio::select! {
        ran = azure.run(&restore) => panic!("{ran:?}"),
        // Dropping the command kills it.
        () = until(|| azure.vaults.count(hangs) > 0) => (),
    }
    azure.vaults.clear_faults();
    let left = files(&azure.state().join("unfinished"));
    assert_eq!(left.len(), 1, "the backup has ended, the restore has not: {left:?}");
    let id = left[0].file_name().unwrap().to_str().unwrap().to_owned();
    age(&record(&azure, &json!({ "id": id })), HOUR);

    let app = azure.app().await;
    assert!(app.host.fire("BackupTimer").await.unwrap().succeeded());
    app.settle().await;
    let location = format!("api/operations/{id}");
    assert_is_given_up(&app.get(&location).await.body, "Attempt 1 at this restore, the last one, was heard of at ");
    let resumed = azure.run(&[&restore[..], &["--resume", &id]].concat()).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let ended = app.get(&location).await.body;
    assert_eq!((&ended["status"], &ended["attempts"], ended.get("error")), (&json!("Succeeded"), &json!(2), None));
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    assert_eq!(files(&azure.state().join("unfinished")), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_gets_nowhere_still_gives_signs_of_life() {
    let world = World::with(&["contoso-prod"]);
    let repository = world.repository();
    let id = Uuid::from_u128(7);
    let began = world.now();
    let operation =
        Operation::new(id, OperationKind::Backup, "contoso-prod".parse().unwrap(), json!({ "full": false }), began);
    let work = async {
        let mut heard = Vec::new();
        for _ in 0..4 {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            let record = repository.operation(id).await.unwrap();
            assert!(record.last_attempt && record.status == Status::Running);
            heard.push(record.updated_at.seconds_since(began));
        }
        assert!(heard.is_sorted() && heard[3] >= 3 * SIGN_OF_LIFE.as_secs() as i64, "{heard:?}");
        assert_eq!(repository.unfinished().await.unwrap().len(), 1);
        let (message, items, problems) = ("A sentence.".to_owned(), Default::default(), Vec::new());
        Ok(Done {
            status: Status::Succeeded,
            backup_id: None,
            counts: Default::default(),
            message,
            problems,
            items,
            drill: None,
        })
    };
    repository.create_operation(&operation).await.unwrap();
    attempt(&repository, operation, Attempts::Last, &Progress::default(), began, work).await.unwrap();
    assert_eq!(repository.unfinished().await.unwrap(), []);
}

#[tokio::test]
async fn a_mark_without_a_record_is_removed_when_no_record_can_be_under_way() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let app = azure.app().await;
    let folder = azure.state().join("unfinished");
    fs::create_dir_all(&folder).unwrap();
    let [new, old] = [7, 8].map(|number| folder.join(Uuid::from_u128(number).to_string()));
    for (mark, age) in [(&new, Duration::ZERO), (&old, HOUR)] {
        fs::File::create(mark).unwrap().set_modified(std::time::SystemTime::now() - age).unwrap();
    }
    assert!(app.host.fire("BackupTimer").await.unwrap().succeeded());
    app.settle().await;
    assert_eq!(files(&folder), [new]);
    assert!(!app.log().contains("operation.abandoned"));
}

#[tokio::test]
async fn a_restore_in_the_queue_of_backups_is_refused_and_leaves_no_operation_that_never_ends() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let app = azure.app().await;
    let id = Uuid::from_u128(7);
    let astray =
        json!({ "operationId": id, "kind": "restore", "vault": "contoso-prod", "createdAt": "2026-11-21T02:00:00Z" });
    app.host.enqueue("backup-jobs", &astray.to_string()).await.unwrap();
    app.settle().await;
    assert_eq!(app.host.queue_messages("backup-jobs-poison").await.unwrap().len(), 1);
    assert!(app.log().contains("message.refused") && app.log().contains("which RESTORE_QUEUE is for"), "{}", app.log());
    assert_eq!(app.get("api/operations").await.body["value"], json!([]));
}

#[tokio::test]
async fn a_storage_out_of_reach_is_answered_with_503_and_when_to_ask_again() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    let operation = app.run("api/backups", &json!({})).await;
    // What cannot be read just now: a name that leads to itself.
    let record = record(&azure, &operation);
    fs::remove_file(&record).unwrap();
    symlink(&record, &record).unwrap();
    let one = format!("api/operations/{}", operation["id"].as_str().unwrap());
    for path in [&one, "api/operations"] {
        let answer = app.get(path).await;
        let message = answer.error(503, "Unavailable", None);
        assert!(message.contains("Check the disk, then run this again."), "{message}");
        assert_eq!((answer.header("Retry-After"), answer.header("Content-Type")), ("5", "application/json"));
    }
}

/// An app whose backups cannot be written just now: the name of their folder leads to itself.
async fn unreadable() -> (LocalAzure, App) {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    app.run("api/backups", &json!({})).await;
    let folder = azure.backups().join("vaults/contoso-prod/backups");
    fs::rename(&folder, folder.with_file_name("elsewhere")).unwrap();
    symlink(&folder, &folder).unwrap();
    (azure, app)
}

fn assert_is_given_up(operation: &Value, begins: &str) {
    assert_eq!(
        (&operation["status"], &operation["error"]["code"]),
        (&json!("Failed"), &json!("Abandoned")),
        "{operation}"
    );
    let message = operation["message"].as_str().unwrap();
    assert!(message.starts_with(begins) && message.contains(" again"), "{message}");
    assert_eq!(operation["error"]["message"], message);
    assert!(operation["finishedDateTime"].is_string(), "{operation}");
}

fn record(azure: &LocalAzure, operation: &Value) -> std::path::PathBuf {
    azure.state().join(format!("operations/{}.json", operation["id"].as_str().unwrap()))
}

/// Lets so much time pass for a record.
fn age(record: &std::path::Path, time: Duration) {
    let mut text: Value = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
    for field in ["createdAt", "startedAt", "updatedAt"] {
        if let Some(moment) = text[field].as_str() {
            let earlier = OffsetDateTime::parse(moment, &Rfc3339).unwrap() - time;
            text[field] = earlier.format(&Rfc3339).unwrap().into();
        }
    }
    fs::write(record, text.to_string()).unwrap();
}

/// Waits for a condition.
async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("it comes about");
}
