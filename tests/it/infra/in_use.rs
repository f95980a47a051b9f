//! The queries of the alerts and the workbook, run: on what the program logs, and on rows as Azure writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use simulator::key_vault::{Fault, Kind, Operation, Verb};

use super::alerts::{TABLES, feed, rules};
use crate::{format_docs::read, local_azure::LocalAzure};

const APP: &str = "11111111-2222-4333-8444-555555555555";
const STRANGER: &str = "99999999-2222-4333-8444-555555555555";

/// One backup of contoso-prod completed and one partial, one of contoso-closed failed, one restore, one message that is
/// no message: all lines that the host has seen.
async fn lines() -> Vec<String> {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-closed", "contoso-dr"]).await;
    azure.vaults.unassign(&azure.identity, "contoso-closed");
    azure.vaults.set_secret("contoso-prod", "good", "x");
    let app = azure.app_with(&[("BACKUP_VAULTS", "contoso-prod,contoso-closed")]).await;
    let back_up = |vault: &str| json!({ "vaults": [vault] });
    assert_eq!(app.run("api/backups", &back_up("contoso-prod")).await["status"], "Succeeded");
    let order = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    assert_eq!(app.run("api/restore", &order).await["status"], "Succeeded");
    azure.vaults.set_secret("contoso-prod", "bad", "x");
    let fault = Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)).named("bad");
    azure.vaults.add_fault(fault);
    assert_eq!(app.run("api/backups", &back_up("contoso-prod")).await["status"], "PartiallySucceeded");
    assert_eq!(app.run("api/backups", &back_up("contoso-closed")).await["status"], "Failed");
    app.host.enqueue("backup-jobs", "nonsense").await.unwrap();
    app.settle().await;
    app.host.logs().into_iter().map(|line| line.message).collect()
}

#[tokio::test]
async fn alerts_fire_for_what_the_app_logs_and_for_what_it_does_not() {
    let lines = lines().await;
    let logged = |hours: f64| json!({ "AppTraces": rows(&lines, hours) });
    let missed = query("no-good-backup", &[("hours", "26"), ("vaults", "'contoso-closed', 'contoso-prod'")]);
    let mut cases = BTreeMap::from([
        ("nothing is logged".to_owned(), (missed.clone(), json!({}))),
        ("an hour later".to_owned(), (missed.clone(), logged(1.0))),
        ("a day later".to_owned(), (missed, logged(27.0))),
    ]);
    for rule in rules("eventRules") {
        let events: Vec<String> =
            rule["events"].as_array().unwrap().iter().map(|it| format!("'{}'", it.as_str().unwrap())).collect();
        let name = rule["name"].as_str().unwrap();
        cases.insert(name.to_owned(), (query("event", &[("events", &events.join(", "))]), logged(0.1)));
    }
    let answers = ask(cases);
    let vaults = |case: &str| column(&answers[case], &["vault"]);
    assert_eq!(vaults("nothing is logged"), set(["contoso-closed", "contoso-prod"]));
    assert_eq!(vaults("an hour later"), set(["contoso-closed"]));
    assert_eq!(vaults("a day later"), set(["contoso-closed", "contoso-prod"]));

    let fired: BTreeMap<&str, BTreeSet<String>> = answers
        .iter()
        .filter(|(name, rows)| !name.contains(' ') && !rows.is_empty())
        .map(|(name, rows)| (name.as_str(), column(rows, &["vault", "event"])))
        .collect();
    let expected = BTreeMap::from([
        ("backup-failed", set(["contoso-closed backup.failed", "contoso-prod backup.partial"])),
        ("message-refused", set(["- message.refused"])),
        ("restore-performed", set(["contoso-prod restore.completed"])),
    ]);
    assert_eq!(fired, expected, "{lines:#?}");
    let reasons = column(&answers["backup-failed"], &["message", "problem"]);
    assert!(reasons.iter().all(|reason| reason.len() > 20), "who is called is told what is the matter: {reasons:?}");
}

#[test]
fn alerts_over_audit_logs_tell_the_app_from_strangers() {
    let vault = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/CONTOSO-PROD";
    let call = |operation: &str, status: u16, caller: &str| {
        let claim = json!({ "http://schemas.microsoft.com/identity/claims/objectidentifier": caller, "appid": "a" });
        json!([0, operation, status, json!({ "claim": claim }).to_string(), vault])
    };
    let calls = json!({ "AZKVAuditLogs": [
        call("SecretBackup", 200, APP), call("KeyBackup", 200, STRANGER), call("CertificateRestore", 403, STRANGER),
        call("SecretList", 403, APP), call("SecretGet", 403, STRANGER), call("Authentication", 401, APP),
    ] });
    let blob = |operation: &str, status: &str, path: &str, caller: &str| {
        json!([0, operation, status, format!("https://a.blob.core.windows.net:443/{path}?timeout=30"), caller])
    };
    let blobs = json!({ "StorageBlobLogs": [
        blob("PutBlob", "201", "keyvault-backups/vaults/a", APP), blob("PutBlob", "201", "keyvault-backups/vaults/b", STRANGER),
        blob("DeleteBlob", "202", "keyvault-backups/vaults/c", STRANGER), blob("DeleteBlob", "409", "keyvault-backups/vaults/d", STRANGER),
        blob("PutBlob", "201", "keyvault-backups-state/e", STRANGER), blob("GetBlob", "200", "keyvault-backups/vaults/f", STRANGER),
        blob("SetBlobTier", "200", "keyvault-backups/vaults/g", ""),
    ] });
    let queue = |name: &str| json!([0, "PutMessage", format!("https://a.queue.core.windows.net:443/{name}/messages")]);
    let given_up = "Message has reached MaxDequeueCount of 5. Moving message to queue 'restores-poison'.";
    let messages =
        json!({ "StorageQueueLogs": [queue("backups"), queue("backups-poison")], "AppTraces": [[0, given_up]] });

    let (app, container) = (format!("'{APP}'"), ("container", "keyvault-backups"));
    let cases = [
        ("unknown-caller", query("unknown-caller", &[("known", &app)]), calls.clone()),
        ("denied-calls", query("denied-calls", &[("own", &app)]), calls),
        ("backups-changed", query("backups-changed", &[("known", &app), container]), blobs),
        ("poison-messages", query("poison-messages", &[]), messages),
    ];
    let answers = ask(cases.into_iter().map(|(name, query, rows)| (name.to_owned(), (query, rows))).collect());
    let by_operation = |name: &str| column(&answers[name], &["vault", "operation"]);
    assert_eq!(by_operation("unknown-caller"), set(["CONTOSO-PROD KeyBackup"]));
    assert_eq!(by_operation("denied-calls"), set(["CONTOSO-PROD CertificateRestore", "CONTOSO-PROD SecretList"]));
    let changed = column(&answers["backups-changed"], &["operation", "path"]);
    assert_eq!(changed, set(["PutBlob /keyvault-backups/vaults/b", "DeleteBlob /keyvault-backups/vaults/c"]));
    assert_eq!(column(&answers["poison-messages"], &["queue"]), set(["backups-poison", "restores-poison"]));
}

#[tokio::test]
async fn the_workbook_shows_the_vaults_that_have_no_backup_first() {
    let mut rows = json!({ "AppRequests": [[1, "BackupWorker", 4000.0], [1, "Other", 9.0]] });
    rows["AppTraces"] = self::rows(&lines().await, 1.0).into();
    let workbook: Value = serde_json::from_str(&read("infra/workbook.json")).unwrap();
    let mut cases = BTreeMap::new();
    for item in workbook["items"].as_array().unwrap() {
        if let Some(query) = item["content"]["query"].as_str() {
            let query = query.replace("$vaults$", "'contoso-closed', 'contoso-prod', 'contoso-new'");
            cases.insert(item["name"].as_str().unwrap().to_owned(), (query, rows.clone()));
        }
    }
    let answers = ask(cases);
    let of = |words: &str| answers.iter().find(|(name, _)| name.starts_with(words)).unwrap().1;
    let coverage: Vec<String> =
        of("Coverage").iter().map(|row| format!("{} {}", text(row, "Vault"), text(row, "Outcome"))).collect();
    assert_eq!(coverage.len(), 3);
    assert_eq!(coverage[2], "contoso-prod backup.partial");
    assert_eq!(
        coverage[..2].iter().cloned().collect::<BTreeSet<_>>(),
        set(["contoso-closed backup.failed", "contoso-new None"])
    );
    assert_eq!(column(of("Restores"), &["Vault", "Target"]), set(["contoso-prod contoso-dr"]));
    assert_eq!(column(of("Duration"), &["Name", "median"]), set(["BackupWorker 4.0"]));
}

/// A query of the alerts with its gaps filled.
fn query(name: &str, gaps: &[(&str, &str)]) -> String {
    let text = read(&format!("infra/queries/{name}.kql"));
    let text = gaps.iter().fold(text, |text, (gap, value)| text.replace(&format!("${gap}$"), value));
    assert!(!text.contains('$'), "{text}");
    text
}

/// Lines in the order they were logged, from so many hours ago.
fn rows(lines: &[String], hours: f64) -> Vec<Value> {
    lines.iter().enumerate().map(|(index, line)| json!([hours - index as f64 / 36_000.0, line])).collect()
}

/// Runs each query on its rows by table.
fn ask(cases: BTreeMap<String, (String, Value)>) -> BTreeMap<String, Vec<Value>> {
    let cases: BTreeMap<String, Value> =
        cases.into_iter().map(|(name, (query, rows))| (name, json!({ "query": query, "rows": rows }))).collect();
    let asked = json!({ "tables": BTreeMap::from(TABLES), "cases": cases });
    serde_json::from_value(feed(&super::tool("infra/bin/python"), &["tests/it/infra/ask.py"], &asked)).unwrap()
}

fn column(rows: &[Value], names: &[&str]) -> BTreeSet<String> {
    rows.iter().map(|row| names.iter().map(|name| text(row, name)).collect::<Vec<_>>().join(" ")).collect()
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("no {name} in {row}"))
}

fn set<const N: usize>(words: [&str; N]) -> BTreeSet<String> {
    words.map(str::to_owned).into()
}
