//! The command `drill`.

use std::{fs, process::Stdio, time::Duration};

use serde_json::json;

use super::{SOURCE, TARGET, azure_with};
use crate::{
    format_docs::{assert_valid, close, strict},
    local_azure::{BINARY, LIMIT, LocalAzure, files},
};

/// A vault with a backup, and a drill vault.
async fn backed_up() -> LocalAzure {
    let azure = azure_with(&[SOURCE]).await;
    azure.vaults.seed(SOURCE, 10);
    assert_eq!(azure.run(&["backup", "--label", "first"]).await.code, 0);
    azure.vaults.reset_log();
    azure
}

#[tokio::test]
async fn a_drill_prints_what_it_took_and_leaves_nothing_but_its_record() {
    let azure = backed_up().await;
    let before = azure.vaults.snapshot(TARGET);
    let ran = azure.run(&["drill", SOURCE, "--into", TARGET, "--yes"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    for part in ["Restore", "Clean up", "Succeeded: Backup 2", "all 10 items came back as they were backed up"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert_eq!(before.differences(&azure.vaults.snapshot(TARGET)), Vec::<String>::new());

    let ran = azure
        .run_with(
            &[("DRILL_VAULT", TARGET)],
            &["drill", SOURCE, "--backup", "first", "--sample", "4", "--yes", "--output", "json"],
        )
        .await;
    let body = ran.json();
    assert_eq!((ran.code, &body["status"], &body["targetVault"]), (0, &json!("Succeeded"), &json!(TARGET)), "{body:#}");
    assert_eq!((&body["drill"]["items"], &body["drill"]["itemsInBackup"]), (&json!(4), &json!(10)));
    assert_eq!((&body["counts"], &body["items"]), (&json!({ "restored": 4 }), &json!([])));

    let mut schema = crate::openapi_docs::document();
    close(&mut schema);
    schema["$ref"] = json!("#/components/schemas/Operation");
    assert_valid(&schema, &body);
    let schema = strict("docs/schema/operation.schema.json");
    for record in files(&azure.state().join("operations")) {
        assert_valid(&schema, &serde_json::from_slice(&fs::read(record).unwrap()).unwrap());
    }
    let operations = azure.app().await.get("api/operations").await.body;
    let drills = operations["value"].as_array().unwrap().iter().filter(|row| row["kind"] == "drill");
    assert!(
        drills.clone().count() == 2 && drills.clone().all(|row| row["drill"]["recoverySeconds"].as_u64() > Some(0))
    );
    azure.assert_all_known();
}

#[tokio::test]
async fn a_drill_that_brings_back_only_a_part_ends_with_3_and_says_what() {
    let azure = backed_up().await;
    let blob = azure.items(SOURCE).into_iter().find(|path| path.display().to_string().contains("/secrets/")).unwrap();
    fs::remove_file(blob).unwrap();
    let ran = azure.run(&["drill", SOURCE, "--into", TARGET, "--yes"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("10 items were tried, and 1 did not come back"), "{ran:?}");
    assert!(ran.stderr.contains("The stored backup of secrets/"), "{ran:?}");
    assert_eq!(azure.vaults.snapshot(TARGET).items.len(), 0);
}

#[tokio::test]
async fn a_vault_that_is_not_fit_is_refused_whoever_names_it() {
    let azure = backed_up().await;
    let both = format!("{SOURCE},{TARGET}");
    let refused = async |changes: &[(&str, &str)], arguments: &[&str], code: i32, part: &str| {
        let ran = azure.run_with(changes, &[&["drill", "--yes"], arguments].concat()).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(part), "{arguments:?}: {ran:?}");
    };
    refused(&[], &[SOURCE], 2, "Set DRILL_VAULT to an empty vault").await;
    refused(&[], &[SOURCE, "--into", SOURCE], 2, "BACKUP_VAULTS names it").await;
    refused(&[("BACKUP_VAULTS", &both)], &[SOURCE, "--into", TARGET], 2, "BACKUP_VAULTS names it").await;
    refused(&[("BACKUP_VAULTS", &both), ("DRILL_VAULT", TARGET)], &[SOURCE], 2, "which BACKUP_VAULTS names too").await;
    refused(&[], &[SOURCE, "--into", "https://contoso.vault.evil.example"], 2, "evil").await;
    refused(&[], &[SOURCE, "--into", TARGET, "--sample", "0"], 2, "--sample").await;
    refused(&[], &[SOURCE, "--into", TARGET, "--backup", "second"], 4, "No backup second of vault").await;
    refused(&[], &["contoso-other", "--into", TARGET], 4, "No backup of vault contoso-other").await;
    assert_eq!(azure.changes_asked_for(), Vec::<String>::new());

    azure.vaults.set_secret(TARGET, "theirs", "value");
    let ran = azure.run(&["drill", SOURCE, "--into", TARGET, "--yes"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.starts_with("Failed: ") && ran.stderr.contains("is not empty"), "{ran:?}");
    assert_eq!(azure.changes_asked_for(), Vec::<String>::new());
}

#[tokio::test]
async fn a_vault_with_no_backup_scope_is_not_drilled_in_itself() {
    let azure = backed_up().await;
    let ran = azure.run_with(&[("BACKUP_VAULTS", "")], &["drill", SOURCE, "--into", SOURCE, "--yes"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("cannot be drilled in itself"), "{ran:?}");
    assert_eq!(azure.changes_asked_for(), Vec::<String>::new());
}

#[tokio::test]
async fn a_drill_that_is_stopped_says_what_happens_to_what_it_restored() {
    let azure = backed_up().await;
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["drill", SOURCE, "--into", TARGET, "--yes"]).env_clear().envs(azure.settings()).kill_on_drop(true);
    // So slow that it cannot be at its end when it is stopped.
    command.env("BACKUP_REQUESTS_PER_SECOND", "5").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let note = azure.state().join("drills").join(format!("{TARGET}.json"));
    let begun = async {
        while !note.is_file() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, begun).await.expect("the drill begins");
    let process = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("Stopped.") && said.contains("the next drill into it removes that first"), "{said}");
}
