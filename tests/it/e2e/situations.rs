//! Every situation of a name in the target, through the command line of the release binary. `restore/replace.rs` goes
//! through all choices and kinds in process; this shows that the binary does the same.

use std::time::Duration;

use serde_json::Value;
use simulator::key_vault::Kind;
use tokio::process::Command;

use super::app::binary;
use crate::local_azure::LocalAzure;

const SOURCE: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";

/// Name, extra arguments, expected action and outcome, exit code.
type Row = (&'static str, &'static [&'static str], &'static str, &'static str, i32);

const ROWS: [Row; 10] = [
    ("absent", &[], "restore", "restored", 0),
    ("same", &[], "alreadyPresent", "alreadyPresent", 0),
    ("other", &[], "skip", "skipped", 1),
    ("other", &["--on-conflict", "fail"], "blocked", "", 1),
    ("other", &["--on-conflict", "replace"], "replace", "replaced", 0),
    ("deleted-same", &[], "recover", "recovered", 0),
    ("deleted-other", &[], "skip", "skipped", 1),
    ("deleted-other", &["--on-deleted", "purge"], "replace", "replaced", 0),
    ("purged", &[], "restore", "restored", 0),
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
        "same" | "deleted-same" | "purged" => {
            let item = format!("secrets/{name}");
            let (code, done) = run(azure, &["restore", SOURCE, "--to", TARGET, "--items", &item]).await;
            assert_eq!(code, 0, "{done}");
        }
        "other" | "deleted-other" if !held => drop(vaults.set_secret(TARGET, name, "another")),
        "certificate" => drop(vaults.create_certificate(TARGET, name)),
        _ => (),
    }
    match name {
        "deleted-same" => vaults.delete_now(TARGET, Kind::Secret, name),
        "deleted-other" if !held => vaults.delete_now(TARGET, Kind::Secret, name),
        "purged" => {
            vaults.delete_now(TARGET, Kind::Secret, name);
            vaults.purge_now(TARGET, Kind::Secret, name);
        }
        _ => (),
    }
}

async fn run(azure: &LocalAzure, arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--output", "json"]).env_clear().envs(azure.settings()).kill_on_drop(true);
    let output =
        tokio::time::timeout(Duration::from_secs(120), command.output()).await.expect("the command ends").unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().expect("an exit code"), json)
}
