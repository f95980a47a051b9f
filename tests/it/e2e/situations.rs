//! Every situation of a name in the target, through the command line of the release binary. `restore/replace.rs` goes
//! through all choices and kinds in process; this shows that the binary does the same.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use simulator::key_vault::{ALL_DATA_ACTIONS, Delays, Effect, Fault, Kind, RESOURCE, VaultOptions};
use simulator::mishap::Mishap;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::app::binary;
use crate::local_azure::LocalAzure;

const SOURCE: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";
const PROTECTED: &str = "contoso-safe";

/// Name, extra arguments, expected action and outcome, exit code.
type Row = (&'static str, &'static [&'static str], &'static str, &'static str, i32);

const ROWS: [Row; 13] = [
    ("absent", &[], "restore", "restored", 0),
    ("same", &[], "alreadyPresent", "alreadyPresent", 0),
    ("older", &[], "skip", "skipped", 1),
    ("newer", &[], "skip", "skipped", 1),
    ("other", &[], "skip", "skipped", 1),
    ("other", &["--on-conflict", "fail"], "blocked", "", 1),
    ("other", &["--on-conflict", "replace", "--yes"], "replace", "replaced", 0),
    ("deleted-same", &[], "recover", "recovered", 0),
    ("deleted-other", &[], "skip", "skipped", 1),
    ("deleted-other", &["--on-deleted", "purge", "--yes"], "replace", "replaced", 0),
    ("being-deleted", &[], "restore", "recovered", 0),
    ("being-purged", &[], "restore", "restored", 0),
    ("certificate", &[], "blocked", "blocked", 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_release_binary_plans_and_does_the_same_in_every_situation() {
    let azure = LocalAzure::with(&[SOURCE, TARGET]).await;
    let mut names: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
    names.dedup();
    for name in &names {
        azure.vaults.set_secret(SOURCE, name, "value");
    }
    let (code, backup) = run(&azure, &["backup", SOURCE, "--label", "before"]).await;
    assert_eq!(code, 0, "{backup}");
    azure.vaults.clock().advance(Duration::from_secs(10));
    azure.vaults.set_secret(SOURCE, "older", "new value");
    let (code, backup) = run(&azure, &["backup", SOURCE]).await;
    assert_eq!(code, 0, "{backup}");

    for (name, choice, action, outcome, exit) in ROWS {
        arrange(&azure, name).await;
        let item = format!("secrets/{name}");
        let restore = ["restore", SOURCE, "--to", TARGET, "--items", &item];
        let arguments: Vec<&str> = restore.iter().chain(choice).copied().collect();
        let before = azure.vaults.snapshot(TARGET);
        let planning: Vec<&str> = arguments.iter().copied().chain(["--dry-run"]).collect();
        let (_, plan) = run(&azure, &planning).await;
        assert_eq!(plan["items"][0]["action"], action, "{name} {choice:?}: {plan}");
        assert_eq!(before.differences(&azure.vaults.snapshot(TARGET)), Vec::<String>::new(), "{name} {choice:?}");

        let (code, done) = run(&azure, &arguments).await;
        assert_eq!(code, exit, "{name} {choice:?}: {done}");
        assert_eq!(done["items"][0]["outcome"].as_str().unwrap_or_default(), outcome, "{name} {choice:?}: {done}");
        let current =
            |vault: &str| azure.vaults.snapshot(vault).items[&(Kind::Secret, name.to_owned())].current.clone();
        if exit == 0 {
            assert_eq!(current(TARGET), current(SOURCE), "{name} {choice:?}");
        } else {
            let after = azure.vaults.snapshot(TARGET);
            assert_eq!(before.differences(&after), Vec::<String>::new(), "{name} {choice:?}");
        }
    }
    assert_eq!(azure.vaults.unknown_requests(), Vec::<String>::new());
}

/// Brings the target into the situation that the name tells. A row that comes second finds what the first has left.
async fn arrange(azure: &LocalAzure, name: &str) {
    let vaults = &azure.vaults;
    let held = vaults.snapshot(TARGET).items.contains_key(&(Kind::Secret, name.to_owned()));
    match name {
        "same" | "older" | "newer" | "deleted-same" | "being-deleted" | "being-purged" => {
            let item = format!("secrets/{name}");
            let restore = ["restore", SOURCE, "--to", TARGET, "--items", &item, "--backup", "before"];
            let (code, done) = run(azure, &restore).await;
            assert_eq!(code, 0, "{done}");
        }
        "other" | "deleted-other" if !held => drop(vaults.set_secret(TARGET, name, "another")),
        "certificate" => drop(vaults.create_certificate(TARGET, name)),
        _ => (),
    }
    match name {
        "deleted-same" => vaults.delete_now(TARGET, Kind::Secret, name),
        "deleted-other" if !held => vaults.delete_now(TARGET, Kind::Secret, name),
        "newer" => {
            vaults.clock().advance(Duration::from_secs(10));
            vaults.set_secret(TARGET, name, "one version more");
        }
        "being-deleted" => ask(azure, "DELETE", &format!("secrets/{name}")).await,
        "being-purged" => {
            vaults.delete_now(TARGET, Kind::Secret, name);
            ask(azure, "DELETE", &format!("deletedsecrets/{name}")).await;
        }
        _ => (),
    }
}

/// What a person asks of the target meanwhile.
async fn ask(azure: &LocalAzure, method: &str, path: &str) {
    let token = azure.vaults.directory().mint(&azure.identity, RESOURCE);
    let request = warp::http::Request::builder()
        .method(method)
        .uri(format!("https://{TARGET}.vault.azure.net/{path}?api-version=7.6"))
        .header("authorization", format!("Bearer {token}"))
        .body(Bytes::new());
    let answer = azure.vaults.handle(request.unwrap()).await;
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
}

fn start(azure: &LocalAzure, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--output", "json"]).env_clear().envs(azure.settings());
    command.env("RESTORE_TARGET_VAULTS", format!("{TARGET},{PROTECTED}")).kill_on_drop(true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap()
}

async fn run(azure: &LocalAzure, arguments: &[&str]) -> (i32, Value) {
    let ended = start(azure, arguments).wait_with_output();
    let output = tokio::time::timeout(Duration::from_secs(120), ended).await.expect("the command ends").unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().expect("an exit code"), json)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_release_binary_touches_nothing_that_purge_protection_keeps() {
    let azure = LocalAzure::with(&[SOURCE]).await;
    azure.vaults.add_vault(VaultOptions { name: PROTECTED.into(), purge_protection: true, ..Default::default() });
    azure.vaults.assign(&azure.identity, PROTECTED, ALL_DATA_ACTIONS);
    azure.vaults.set_secret(SOURCE, "apple", "value");
    azure.vaults.set_secret(PROTECTED, "apple", "another");
    assert_eq!(run(&azure, &["backup", SOURCE]).await.0, 0);
    let before = azure.vaults.snapshot(PROTECTED);
    let (code, done) = run(&azure, &["restore", SOURCE, "--to", PROTECTED, "--on-conflict", "replace", "--yes"]).await;
    assert_eq!((code, done["items"][0]["outcome"].as_str()), (1, Some("blocked")), "{done}");
    assert!(done["items"][0]["error"]["message"].as_str().unwrap().contains("purge protection"), "{done}");
    assert_eq!(before.differences(&azure.vaults.snapshot(PROTECTED)), Vec::<String>::new());
}

/// The process is killed by SIGKILL when the target has carried out its n-th request and not answered it, for all n; the
/// same operation is then taken up again. The item always ends present in the version of the backup, and the safety copy
/// exists; in between, the old version is in the vault or in the safety copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_whose_process_is_killed_after_any_of_its_requests_loses_nothing() {
    let azure = LocalAzure::with(&[SOURCE]).await;
    azure.vaults.add_vault(VaultOptions { name: TARGET.into(), delays: Delays::none(), ..Default::default() });
    azure.vaults.assign(&azure.identity, TARGET, ALL_DATA_ACTIONS);
    azure.vaults.set_secret(SOURCE, "apple", "value");
    assert_eq!(run(&azure, &["backup", SOURCE]).await.0, 0);
    let current = |vault: &str| {
        let snapshot = azure.vaults.snapshot(vault);
        snapshot
            .items
            .get(&(Kind::Secret, "apple".to_owned()))
            .filter(|item| item.active)
            .map(|item| item.current.clone())
    };
    let wanted = current(SOURCE);
    for n in 0.. {
        azure.vaults.lose_everything(TARGET);
        azure.vaults.set_secret(TARGET, "apple", "another");
        let old = current(TARGET);
        azure.vaults.reset_log();
        azure.vaults.add_fault(Fault::new(Effect::After(Mishap::Hang)).in_vault(TARGET).skip(n).times(1));
        let operation = Uuid::new_v4().to_string();
        let restore = ["restore", SOURCE, "--to", TARGET, "--on-conflict", "replace", "--yes", "--resume", &operation];
        let mut child = start(&azure, &restore);
        // Requests are answered in turn, so the one after n is the one that hangs. Challenges are not counted.
        let hangs = || azure.vaults.requests().iter().filter(|request| request.status != 401).count() > n as usize;
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if hangs() {
                break None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        child.kill().await.unwrap();
        azure.vaults.clear_faults();
        let listed = run(&azure, &["list", TARGET]).await.1;
        let safe = listed["value"].as_array().is_some_and(|backups| !backups.is_empty());
        assert!(safe || current(TARGET) == old, "request {n}: the old version is nowhere");

        let (code, done) = run(&azure, &restore).await;
        assert_eq!((code, done["items"][0]["outcome"].as_str()), (0, Some("replaced")), "request {n}: {done}");
        assert_eq!(current(TARGET), wanted, "request {n}");
        std::fs::remove_dir_all(azure.backups().join("vaults").join(TARGET)).unwrap();
        if ended.is_some() {
            assert!(n > 12, "only {n} requests");
            break;
        }
    }
}
