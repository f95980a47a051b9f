//! Queues deliver at least once: twice, or never what they should.

use std::time::Duration;

use serde_json::json;
use simulator::{functions_host::Twice, key_vault::Verb};

use super::{
    PRODUCTION, RECOVERY,
    cloud::{Cloud, LIMIT},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_delivered_twice_makes_one_backup_and_restores_every_item_once() {
    let cloud = Cloud::with(&[PRODUCTION], &[RECOVERY]).await;
    cloud.vaults.seed(PRODUCTION, 100);
    let app = cloud
        .start_with(cloud.settings(), |options| options.timings.visibility_timeout = Some(Duration::from_secs(2)))
        .await;

    let backup = json!({ "vaults": [PRODUCTION] });
    app.host.deliver_twice(cloud.queue("BACKUP_QUEUE"), Twice::AtOnce);
    let first = app.accept("api/backups", &backup).await;
    app.host.wait_idle(LIMIT).await.unwrap();
    let first = app.ended(&first).await;
    assert_eq!((&first["status"], &first["counts"]["read"]), (&json!("Succeeded"), &json!(100)), "{first:#}");
    assert_eq!(cloud.manifests(PRODUCTION).await.len(), 1);
    // The one that comes second waits for its turn and finds everything done, so that both end well and may say so.
    assert!((1..=2).contains(&app.events("backup.completed").len()));
    assert_eq!(app.deliveries("BackupWorker").len(), 2);
    assert!(app.deliveries("BackupWorker").iter().all(|(_, succeeded)| *succeeded));
    assert!(cloud.answers(Verb::Backup).values().all(|answers| answers == &[200]), "every item is read once");

    let before = app.deliveries("BackupWorker").len();
    app.host.deliver_twice(cloud.queue("BACKUP_QUEUE"), Twice::InTurn);
    let second = app.accept("api/backups", &backup).await;
    app.host.wait_idle(LIMIT).await.unwrap();
    let second = app.ended(&second).await;
    assert_eq!(second["status"], "Succeeded", "{second:#}");
    assert_eq!(second["attempts"], 1, "the message that comes after the end begins nothing");
    assert_eq!(cloud.manifests(PRODUCTION).await.len(), 2);
    assert_eq!(app.deliveries("BackupWorker")[before..], [(1, true), (2, true)]);

    for (how, items) in [(Twice::AtOnce, json!(["secrets/*"])), (Twice::InTurn, json!(["keys/*", "certificates/*"]))] {
        app.host.deliver_twice(cloud.queue("RESTORE_QUEUE"), how);
        let order = json!({ "vault": PRODUCTION, "backup": "latest", "targetVault": RECOVERY, "items": items });
        let operation = app.accept("api/restore", &order).await;
        app.host.wait_idle(LIMIT).await.unwrap();
        let operation = app.ended(&operation).await;
        assert_eq!(operation["status"], "Succeeded", "{how:?} {operation:#}");
        let wanted = if how == Twice::AtOnce { 40 } else { 60 };
        assert_eq!(operation["counts"], json!({ "restored": wanted }), "{how:?}");
    }
    assert_eq!(app.deliveries("RestoreWorker").len(), 4);
    assert!(app.deliveries("RestoreWorker").iter().all(|(_, succeeded)| *succeeded), "all four end well");
    let restores = cloud.answers(Verb::Restore);
    assert_eq!(restores.len(), 100);
    let restored_once = |answers: &Vec<u16>| answers.iter().filter(|status| **status == 200).count() == 1;
    assert!(restores.values().all(restored_once), "{restores:?}");
    let (source, target) = (cloud.vaults.snapshot(PRODUCTION), cloud.vaults.snapshot(RECOVERY));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    cloud.check(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_nobody_understands_ends_in_the_poison_queue_and_the_app_goes_on() {
    let cloud = Cloud::with(&[PRODUCTION], &[]).await;
    cloud.vaults.seed(PRODUCTION, 10);
    let app =
        cloud.start_with(cloud.settings(), |options| options.timings.visibility_timeout = Some(Duration::ZERO)).await;

    let garbage = "canary-garbage {\"vault\":";
    for (queue, function) in [("BACKUP_QUEUE", "BackupWorker"), ("RESTORE_QUEUE", "RestoreWorker")] {
        let events = app.events("message.refused").len();
        app.host.enqueue(cloud.queue(queue), garbage).await.unwrap();
        app.host.wait_idle(LIMIT).await.unwrap();
        let failures: Vec<_> = (1..=5).map(|delivery| (delivery, false)).collect();
        assert_eq!(app.deliveries(function), failures);
        let poison = format!("{}-poison", cloud.queue(queue));
        assert_eq!(app.host.queue_messages(&poison).await.unwrap(), [garbage]);
        let refused = &app.events("message.refused")[events..];
        assert_eq!(refused.len(), 5, "one line for each delivery");
        assert!(refused.iter().all(|line| line["level"] == "ERROR" && line["queue"] == queue), "{refused:?}");
    }
    assert!(!app.host.logs().iter().any(|line| line.message.contains("canary-garbage")), "messages are not repeated");

    let operation = app.run("api/backups", &json!({})).await;
    assert_eq!((&operation["status"], &operation["counts"]["read"]), (&json!("Succeeded"), &json!(10)));
    cloud.check(&app).await;
}
