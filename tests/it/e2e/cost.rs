//! What a small fixed job costs: instructions counted by Valgrind, and requests counted where they arrive. Neither
//! depends on how busy the machine is, so a change that makes the program dearer is seen here, and nothing by chance.
//!
//! `COST_ACCEPT=1 cargo test --test it what_a_small_job_costs` records new figures in `tests/it/fixtures/cost.json`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{
    PRODUCTION, RECOVERY,
    app::binary,
    cloud::{Cloud, app_root, until},
};
use crate::azurite::azurite;

/// The job is done with so many items and with so many: what is dearer at both is dearer at all, what is dearer at the
/// second alone is dearer for each item.
const SIZES: [u64; 2] = [40, 120];

/// By how much a count of instructions may exceed the recorded one, in percent. On a busy machine, counts of the same
/// program differ by up to three: what meets in threads does not always meet in the same order.
const TOLERANCE: u64 = 8;

/// Valgrind takes some fifty times as long, and other tests run at the same time.
const LIMIT: Duration = Duration::from_secs(900);

/// What the commands of the job cost.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Costs {
    /// Which made the program: another one may make it cheaper or dearer.
    compiler: String,
    /// By command, and by number of items.
    commands: BTreeMap<String, BTreeMap<u64, Cost>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cost {
    instructions: u64,
    requests: Requests,
}

/// Requests by their sort.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Requests {
    /// To vaults. Questions which token is wanted do not count: their number depends on what runs at once.
    vaults: BTreeMap<String, u64>,
    /// To the container of backups. What leases and records ask of the other one depends on how long a run takes.
    backups: BTreeMap<String, u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_small_job_costs_is_what_was_recorded() {
    let measured = Costs { compiler: compiler().await, commands: measure().await };
    let file = app_root().join("tests/it/fixtures/cost.json");
    if env::var_os("COST_ACCEPT").is_some() {
        fs::write(&file, serde_json::to_string_pretty(&measured).unwrap() + "\n").unwrap();
    }
    let recorded: Costs = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let complaints = compare(&recorded, &measured);
    assert!(
        complaints.is_empty(),
        "{}\n\nRecorded with {}, measured with {}. If the job is meant to cost this, record it: \
         COST_ACCEPT=1 cargo test --test it what_a_small_job_costs",
        complaints.join("\n"),
        recorded.compiler,
        measured.compiler
    );
}

#[test]
fn one_request_more_and_instructions_beyond_the_tolerance_are_complained_about() {
    let costs = |instructions, gets| {
        let vaults = BTreeMap::from([("SecretGet".to_owned(), gets)]);
        let cost = Cost { instructions, requests: Requests { vaults, backups: BTreeMap::new() } };
        let command = BTreeMap::from([(40, cost)]);
        Costs { compiler: "rustc".to_owned(), commands: BTreeMap::from([("backup".to_owned(), command)]) }
    };
    let recorded = costs(1000, 40);
    assert_eq!(compare(&recorded, &costs(1000 + 10 * TOLERANCE, 40)), Vec::<String>::new());
    assert_eq!(
        compare(&recorded, &costs(1001 + 10 * TOLERANCE, 41)),
        [
            "backup of 40 items: 1081 instructions instead of 1000, which is more than 8 % above it.",
            "backup of 40 items: requests to vaults {\"SecretGet\": 41} instead of {\"SecretGet\": 40}.",
        ]
    );
    // Figures that are far too high hide the next regression.
    assert_eq!(compare(&recorded, &costs(700, 40)).len(), 1);
    let none = Costs { compiler: "rustc".to_owned(), commands: BTreeMap::new() };
    assert_eq!(compare(&recorded, &none), ["backup of 40 items was not measured."]);
}

/// What is not as it was recorded, a sentence each.
fn compare(recorded: &Costs, measured: &Costs) -> Vec<String> {
    let mut complaints = Vec::new();
    for (command, sizes) in &recorded.commands {
        for (items, was) in sizes {
            let job = format!("{command} of {items} items");
            let Some(is) = measured.commands.get(command).and_then(|sizes| sizes.get(items)) else {
                complaints.push(format!("{job} was not measured."));
                continue;
            };
            let (now, then) = (is.instructions, was.instructions);
            if now * 100 > then * (100 + TOLERANCE) {
                complaints.push(format!(
                    "{job}: {now} instructions instead of {then}, which is more than {TOLERANCE} % above it."
                ));
            } else if now * (100 + 2 * TOLERANCE) < then * 100 {
                complaints.push(format!("{job}: only {now} instructions instead of {then}. Record that."));
            }
            for (of, was, is) in [
                ("vaults", &was.requests.vaults, &is.requests.vaults),
                ("the container of backups", &was.requests.backups, &is.requests.backups),
            ] {
                if was != is {
                    complaints.push(format!("{job}: requests to {of} {is:?} instead of {was:?}."));
                }
            }
        }
    }
    complaints
}

/// By command and by number of items.
async fn measure() -> BTreeMap<String, BTreeMap<u64, Cost>> {
    let mut commands = BTreeMap::<String, BTreeMap<u64, Cost>>::new();
    for items in SIZES {
        for (command, cost) in job(items).await {
            commands.entry(command.to_owned()).or_default().insert(items, cost);
        }
    }
    commands
}

/// Does the job with so many items. What each command cost: instructions, and requests.
async fn job(items: u64) -> Vec<(&'static str, Cost)> {
    let cloud = Cloud::with(&[PRODUCTION], &[RECOVERY]).await;
    cloud.vaults.seed(PRODUCTION, usize::try_from(items).unwrap());
    let mut costs = Vec::new();
    let restore = ["restore", PRODUCTION, "--to", RECOVERY];
    for (name, arguments) in [
        ("backup", &["backup", PRODUCTION][..]),
        ("backup, nothing changed", &["backup", PRODUCTION]),
        ("restore", &restore),
    ] {
        cloud.vaults.reset_log();
        let before = stored(&cloud).await;
        let instructions = instructions(&cloud, arguments).await;
        let requests = Requests { vaults: asked(&cloud), backups: beyond(&before, &stored(&cloud).await) };
        costs.push((name, Cost { instructions, requests }));
    }
    costs
}

/// Runs a command, and counts its instructions.
async fn instructions(cloud: &Cloud, arguments: &[&str]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let counted = folder.path().join("callgrind");
    let mut settings = cloud.settings();
    // Waiting for turns costs nothing.
    settings.insert("BACKUP_REQUESTS_PER_SECOND".into(), "10000".into());
    let mut command = Command::new(valgrind());
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counted.display())).arg(binary());
    command.args(arguments).env_clear().envs(settings).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("the command ends").unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    total(&counted)
}

/// Of all parts of the program.
fn total(counted: &Path) -> u64 {
    let text = fs::read_to_string(counted).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no total in {}", counted.display()))
}

fn valgrind() -> PathBuf {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join("valgrind")).find(|program| program.is_file());
    found.expect("valgrind is not on the path. Run scripts/test.sh, which installs it.")
}

/// What the vaults have been asked since the log began anew.
fn asked(cloud: &Cloud) -> BTreeMap<String, u64> {
    let mut asked = BTreeMap::new();
    for ((operation, status), count) in cloud.vaults.counts() {
        if let (Some(operation), true) = (operation, status != 401) {
            *asked.entry(operation.to_string()).or_default() += count;
        }
    }
    asked
}

/// What the container of backups has been asked so far.
async fn stored(cloud: &Cloud) -> BTreeMap<String, u64> {
    let container = cloud.backups.url().path_segments().and_then(Iterator::last).unwrap().to_owned();
    let log = &azurite().requests;
    // Azurite tells of requests in the order in which it has answered, a moment later.
    let deletes = || log.of(&container).get("DELETE").copied().unwrap_or_default();
    let before = deletes();
    let _ = keyvault_backup::store::Store::delete(&cloud.backups.store(), "marker").await;
    until("the end of the log", || deletes() > before).await;
    let mut requests = log.of(&container);
    requests.remove("DELETE");
    requests
}

fn beyond(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let new = after.iter().map(|(what, count)| (what.clone(), count - before.get(what).unwrap_or(&0)));
    new.filter(|(_, count)| *count > 0).collect()
}

async fn compiler() -> String {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output().await;
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}
