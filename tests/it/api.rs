//! The HTTP API as its clients see it: the real handler behind the Functions host, vaults behind the proxy.

mod backups;
mod operations;
mod restores;

use reqwest::Method;
use serde_json::json;

use crate::local_azure::{FUNCTION_KEY, LocalAzure, answer};

#[tokio::test]
async fn nobody_gets_in_without_the_function_key() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let app = azure.app().await;
    let routes = [
        (Method::GET, "api/backups"),
        (Method::GET, "api/backups/contoso-prod"),
        (Method::GET, "api/backups/contoso-prod/latest"),
        (Method::POST, "api/backups"),
        (Method::POST, "api/backups/contoso-prod/guard"),
        (Method::POST, "api/restore"),
        (Method::GET, "api/operations"),
        (Method::GET, "api/operations/00000000-0000-4000-8000-000000000000"),
    ];
    for (method, path) in routes {
        let without = answer(app.request(method.clone(), path)).await;
        assert_eq!(without.status, 401, "{method} {path}");
        let wrong = answer(app.request(method.clone(), path).header("x-functions-key", "guess")).await;
        assert_eq!(wrong.status, 401, "{method} {path}");
    }
    assert_eq!(app.host.invocations().len(), 0, "such requests do not reach the handler");
}

#[tokio::test]
async fn links_in_answers_do_not_repeat_the_function_key() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    let with_key = |path: &str| format!("{path}{}code={FUNCTION_KEY}", if path.contains('?') { '&' } else { '?' });
    for _ in 0..2 {
        let accepted = answer(app.request(Method::POST, &with_key("api/backups")).body("{}")).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let location = accepted.header("Operation-Location").to_owned();
        assert!(location.ends_with(&format!("api/operations/{}", accepted.body["id"].as_str().unwrap())), "{location}");
        app.settle().await;
    }
    for path in ["api/backups/contoso-prod?top=1", "api/operations?top=1"] {
        let page = answer(app.request(Method::GET, &with_key(path))).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body["nextLink"].is_string(), "{page:?}");
        assert!(!page.text.contains(FUNCTION_KEY), "{page:?}");
    }
    assert!(!app.log().contains(FUNCTION_KEY));
}

#[tokio::test]
async fn wrong_settings_fail_every_function_with_all_mistakes_and_the_handler_stays_up() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let app = azure.app_with(&[("BACKUP_STORE_URL", ""), ("BACKUP_CONCURRENCY", "many"), ("LOG_LEVEL", "loud")]).await;
    for (method, path) in [
        (Method::GET, "api/backups"),
        (Method::POST, "api/backups"),
        (Method::POST, "api/restore"),
        (Method::GET, "api/operations"),
    ] {
        let refused = app.send(method.clone(), path, &[], "").await;
        assert_eq!(refused.status, 500, "{method} {path}: {refused:?}");
        assert_eq!(refused.targets(), ["LOG_LEVEL", "BACKUP_STORE_URL", "BACKUP_CONCURRENCY"]);
    }
    let timer = app.host.fire("BackupTimer").await.unwrap();
    assert!(!timer.succeeded());
    assert_eq!(app.host.stopped(), None);
    let log = app.log();
    for setting in ["LOG_LEVEL", "BACKUP_STORE_URL", "BACKUP_CONCURRENCY"] {
        assert!(log.contains(&format!("{setting} is")), "{log}");
    }
}

#[tokio::test]
async fn the_timer_without_vaults_fails_with_a_sentence() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let app = azure.app_with(&[("BACKUP_VAULTS", "")]).await;
    let timer = app.host.fire("BackupTimer").await.unwrap();
    assert!(!timer.succeeded());
    assert!(app.log().contains("BACKUP_VAULTS is empty, so nothing is backed up."), "{}", app.log());
}

#[tokio::test]
async fn the_timer_backs_up_every_vault_in_scope_once() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-test"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    azure.vaults.set_secret("contoso-test", "b", "x");
    // Names twice over, as they stand in settings that grew.
    let scope = "contoso-prod, https://contoso-test.vault.azure.net/, CONTOSO-PROD";
    let app = azure.app_with(&[("BACKUP_VAULTS", scope)]).await;
    let timer = app.host.fire("BackupTimer").await.unwrap();
    assert!(timer.succeeded(), "{timer:?}");
    app.settle().await;
    for vault in ["contoso-prod", "contoso-test"] {
        assert_eq!(azure.manifests(vault).len(), 1, "{vault}");
    }
    let vaults = app.get("api/backups").await;
    assert_eq!(vaults.status, 200);
    let names: Vec<_> = vaults.body["value"].as_array().unwrap().iter().map(|row| row["vault"].clone()).collect();
    assert_eq!(names, [json!("contoso-prod"), json!("contoso-test")]);
    azure.assert_all_known();
}
