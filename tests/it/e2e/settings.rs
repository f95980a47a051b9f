//! Settings that cannot be right.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::functions_host::{Settings, read_settings};

use super::{
    app::App,
    cloud::{LIMIT, app_root},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wrong_settings_every_function_says_what_is_wrong_and_the_handler_stays_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings: Settings = read_settings(&app_root().join("local.settings.json.example")).unwrap();
    settings.insert("BACKUP_VAULTS".into(), "contoso-production, contoso_billing".into());
    settings.insert("BACKUP_STORE_URL".into(), format!("file://{}", folder.path().join("backups").display()));
    let mut options = App::options(settings);
    options.timings.visibility_timeout = Some(Duration::ZERO);
    options.timings.timer_retry_delay = Some(Duration::ZERO);
    let app = App::start(options).await;
    let invalid = app.events("configuration.invalid");
    assert_eq!(invalid.len(), 1, "{invalid:?}");
    let sentence = invalid[0]["message"].as_str().unwrap().to_owned();
    assert!(sentence.contains("BACKUP_VAULTS") && sentence.contains("contoso_billing"), "{sentence}");

    let order = json!({ "vault": "contoso-production", "backup": "latest", "targetVault": "contoso-recovery" });
    for answer in [
        app.get("api/backups").await,
        app.post("api/backups", &json!({})).await,
        app.post("api/restore", &order).await,
        app.get("api/operations").await,
    ] {
        assert_eq!(answer.status, 500);
        assert_eq!(
            (&answer.body["error"]["target"], &answer.body["error"]["message"]),
            (&json!("BACKUP_VAULTS"), &Value::from(sentence.as_str()))
        );
    }

    let fired = app.host.fire("BackupTimer").await.unwrap();
    assert!(!fired.succeeded() && fired.retry_count == 3, "{fired:?}");
    for (queue, function) in [("keyvault-backup-jobs", "BackupWorker"), ("keyvault-restore-jobs", "RestoreWorker")] {
        app.host.enqueue(queue, "{}").await.unwrap();
        app.host.wait_idle(LIMIT).await.unwrap();
        assert_eq!(app.deliveries(function).len(), 5);
    }
    for function in ["BackupTimer", "BackupWorker", "RestoreWorker"] {
        let told = app.host.logs().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line.message).ok());
        let mut told = told.filter(|line| line["spans"][0]["function"] == function && line["level"] == "ERROR");
        assert!(told.any(|line| line["message"].as_str().unwrap().contains(&sentence)), "{function}");
    }
    // Started once and never again.
    assert_eq!(app.events("configuration.invalid").len(), 1);
    assert_eq!(app.host.stopped(), None);
    app.check_logs(&[]);
}
