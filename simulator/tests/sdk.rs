//! Independent judges: the official Python and JavaScript clients, unmodified, against the doors on sockets.
//!
//! `scripts/tools.sh` installs them; without it these tests fail.

use std::{path::Path, process::Stdio, time::Duration};

use simulator::{
    azurite,
    clock::Clock,
    identity::Directory,
    key_vault::{ALL_DATA_ACTIONS, Delays, KeyVaults, PerKind, VaultOptions},
    proxy::{Doors, Protocols, Services},
};
use tempfile::TempDir;
use tokio::process::Command;

/// Far above what a run takes, so that only a client that hangs is cut off.
const PATIENCE: Duration = Duration::from_secs(180);

/// Fewer tests than this means that the clients' test runner did not find them.
const STORIES: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_python_clients_find_what_they_find_in_azure() {
    let python = azurite::tools().join("python/bin/python");
    let script = scripts().join("key_vault_test.py");
    judge(Command::new(&python).arg(script), &python, "Ran ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_javascript_clients_find_what_they_find_in_azure() {
    let packages = azurite::tools().join("node_modules");
    let script = scripts().join("key_vault.test.cjs");
    let mut node = Command::new("node");
    judge(node.env("NODE_PATH", &packages).args(["--test", "--test-reporter=tap"]).arg(script), &packages, "# pass ")
        .await;
}

/// Runs the tests of a client; `counts` is the text before the number of tests that passed.
async fn judge(command: &mut Command, needs: &Path, counts: &str) {
    assert!(needs.exists(), "{} is missing. Run scripts/test.sh, which installs it.", needs.display());
    let clock = Clock::system();
    let directory = Directory::new(clock.clone());
    let vaults = KeyVaults::new(clock, directory.clone());
    let identity = directory.identity("judge");
    directory.set_system_assigned(Some(&identity));
    for (name, geography, purge_protection) in [
        ("contoso-production", "Europe", false),
        ("contoso-recovery", "Europe", false),
        ("contoso-overseas", "Asia", false),
        ("contoso-guarded", "Europe", true),
    ] {
        let delays = short();
        vaults.add_vault(VaultOptions {
            name: name.into(),
            geography: geography.into(),
            purge_protection,
            delays,
            ..VaultOptions::default()
        });
        vaults.assign(&identity, name, ALL_DATA_ACTIONS);
    }
    let folder = TempDir::new().expect("a folder");
    let doors =
        Doors::open(Services::of(vaults.clone(), directory), Protocols::Both, folder.path()).await.expect("open doors");

    let run = command.envs(doors.environment()).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("the clients come to an end").expect("a process");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let unknown = vaults.unknown_requests();
    assert!(output.status.success(), "unknown to the simulator: {unknown:?}\n{said}");
    assert_eq!(unknown, Vec::<String>::new(), "the clients asked for what the simulator cannot do");
    assert_eq!(doors.refused(), Vec::<String>::new());
    let told = said.split_once(counts).and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<usize>().ok());
    assert!(told.is_some_and(|told| told >= STORIES), "hardly any test ran:\n{said}");
}

/// Long enough that a client meets the states in between, short enough for a test.
fn short() -> Delays {
    let time = Duration::from_millis(200);
    let all = PerKind { secret: time, key: time, certificate: time };
    Delays { delete: all, recover: all, purge: all, certificate_creation: time }
}

fn scripts() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk-tests")
}
