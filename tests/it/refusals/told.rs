//! What a person hears of a refusal: on the terminal with its exit code, over HTTP, and in the record of an operation.

use serde_json::json;
use simulator::key_vault::{Kind, Verb};

use super::table::{Row, rows};
use crate::local_azure::{LocalAzure, Ran};

const RESTORE: [&str; 6] = ["restore", "contoso-prod", "--to", "contoso-dr", "--items", "secrets/*"];

/// Two secrets and a backup of them, and nothing in contoso-dr.
async fn azure() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    for name in ["apple", "pear"] {
        azure.vaults.set_secret("contoso-prod", name, "1");
    }
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    azure
}

/// Runs the command that meets the row's answer, whole or on one item.
async fn run(azure: &LocalAzure, row: &Row, times: u64) -> Ran {
    azure.vaults.clear_faults();
    azure.vaults.lose_everything("contoso-dr");
    azure.vaults.reset_log();
    match row.verb {
        Verb::List => {
            for kind in Kind::ALL {
                azure.vaults.add_fault(row.fault.clone().on(row.operation(kind)).times(times));
            }
            azure.run(&["backup", "--full"]).await
        }
        Verb::Backup => {
            azure.vaults.add_fault(row.fault.clone().on(row.operation(Kind::Secret)).named("apple").times(times));
            azure.run(&["backup", "--full"]).await
        }
        _ => {
            azure.vaults.add_fault(row.fault.clone().on(row.operation(Kind::Secret)).times(times));
            azure.run(&RESTORE).await
        }
    }
}

#[tokio::test]
async fn the_terminal_shows_the_sentence_and_the_exit_code() {
    let azure = azure().await;
    // A restore onto a name in use looks at the name, and waits while a purge may linger: virtual time is for that.
    for row in rows().iter().filter(|row| !row.again && !row.name.starts_with("409")) {
        let ran = run(&azure, row, u64::MAX).await;
        let exit = if row.verb == Verb::Backup { 3 } else { row.exit };
        assert_eq!(ran.code, exit, "{}: {ran:?}", row.name);
        for words in row.says {
            assert!(ran.stderr.contains(words), "{} does not say {words:?}: {}", row.name, ran.stderr);
        }
        let operation = row.operation(Kind::Secret);
        let expected = if row.verb == Verb::List { 1 } else { 2 };
        let asked = azure.vaults.count(operation);
        assert_eq!(asked, expected, "{}: {operation} was asked more than once of an item", row.name);
    }
    azure.assert_all_known();
}

#[tokio::test]
async fn the_terminal_shows_nothing_of_what_passes() {
    let azure = azure().await;
    for row in rows().iter().filter(|row| row.again) {
        let ran = run(&azure, row, 2).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}: {ran:?}", row.name);
    }
}

#[tokio::test]
async fn a_plan_over_http_fails_with_the_status_of_the_kind_and_the_same_sentence() {
    let azure = azure().await;
    let app = azure.app().await;
    let body = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr", "dryRun": true });
    for row in rows().iter().filter(|row| row.verb == Verb::List && !row.again) {
        azure.vaults.clear_faults();
        azure.vaults.add_fault(row.fault.clone().on(row.operation(Kind::Secret)));
        let answer = app.post("api/restore", &body).await;
        let status = match row.exit {
            6 if row.kind.code() == "Forbidden" => 403,
            6 => 500,
            _ => 409,
        };
        let message = answer.error(status, row.kind.code(), None);
        for words in row.says {
            assert!(message.contains(words), "{} does not say {words:?}: {message}", row.name);
        }
    }
}

#[tokio::test]
async fn the_record_of_an_operation_names_the_item_the_code_and_the_sentence() {
    let azure = azure().await;
    let app = azure.app().await;
    let body = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    for row in rows().iter().filter(|row| row.verb == Verb::Restore && !row.again && !row.name.starts_with("409")) {
        azure.vaults.clear_faults();
        azure.vaults.lose_everything("contoso-dr");
        azure.vaults.add_fault(row.fault.clone().on(row.operation(Kind::Secret)).named("apple"));
        let ended = app.run("api/restore", &body).await;
        assert_eq!(ended["status"], "PartiallySucceeded", "{}: {ended}", row.name);
        let text = ended.to_string();
        assert!(text.contains("apple") && text.contains(row.kind.code()), "{}: {text}", row.name);
        for words in row.says {
            assert!(text.contains(words), "{} does not say {words:?}: {text}", row.name);
        }
    }
}
