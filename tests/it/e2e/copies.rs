//! Copies of backups from container to container, to a disk and back, by the command itself.

use std::process::Stdio;

use serde_json::{Value, json};
use simulator::functions_host::Settings;
use tokio::process::Command;

use super::{
    BILLING, PRODUCTION, RECOVERY,
    app::binary,
    cloud::{CANARY, Cloud, within},
};
use crate::azurite::Container;

/// What a command said.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

async fn run(settings: &Settings, store: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--output", "json"]).env_clear().envs(settings).env("BACKUP_STORE_URL", store);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within("the end of the command", output).await.unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Said { code: output.status.code().unwrap(), stdout, stderr }
}

/// What there is of a repository: the ids of its backups, by vault.
async fn listed(settings: &Settings, store: &str) -> Vec<(String, Vec<String>)> {
    let mut listed = Vec::new();
    for vault in [BILLING, PRODUCTION] {
        let said = run(settings, store, &["list", vault]).await;
        assert_eq!(said.code, 0, "{}", said.stderr);
        let rows = said.json()["value"].as_array().unwrap().clone();
        listed.push((vault.to_owned(), rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()));
    }
    listed
}

/// From the container of the app into another, from there to a disk, from the disk into a third container; what comes out
/// at the end is restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_copies_from_container_to_container_and_to_a_disk_and_back() {
    let cloud = Cloud::with(&[PRODUCTION, BILLING], &[RECOVERY]).await;
    cloud.vaults.seed_numbers(PRODUCTION, 0..30);
    cloud.vaults.seed_numbers(BILLING, 30..40);
    cloud.vaults.set_secret(PRODUCTION, "secret-00000", CANARY);
    let mut settings = cloud.settings();
    settings.remove("STATE_STORE_URL");
    let source = cloud.backups.url().to_string();
    for label in ["first", "second"] {
        let said = run(&settings, &source, &["backup", PRODUCTION, BILLING, "--label", label]).await;
        assert_eq!(said.code, 0, "{}", said.stderr);
        cloud.vaults.set_secret(PRODUCTION, "secret-00001", "another value");
    }
    let wanted = listed(&settings, &source).await;
    assert!(wanted.iter().all(|(_, backups)| backups.len() == 2), "{wanted:?}");

    let folder = tempfile::tempdir().unwrap();
    let (near, far) = (Container::create().await, Container::create().await);
    for container in [&near, &far] {
        container.create_beside("-state").await;
    }
    let disk = format!("file://{}", folder.path().join("copy").display());
    let stops = [near.url().to_string(), disk, far.url().to_string()];
    let mut from = source.clone();
    for to in stops {
        let arguments = ["copy", "--from", &from, "--to", &to];
        let dry = run(&settings, &source, &[&arguments[..], &["--dry-run"]].concat()).await;
        assert_eq!((dry.code, results(&dry)), (0, vec!["missing".to_owned(); 4]), "{from} to {to}: {}", dry.stderr);
        let copied = run(&settings, &source, &arguments).await;
        assert_eq!(
            (copied.code, results(&copied)),
            (0, vec!["copied".to_owned(); 4]),
            "{from} to {to}: {}",
            copied.stderr
        );
        let again = run(&settings, &source, &arguments).await;
        assert_eq!(
            (again.code, results(&again)),
            (0, vec!["present".to_owned(); 4]),
            "{from} to {to}: {}",
            again.stderr
        );
        assert!(
            again.json()["value"].as_array().unwrap().iter().all(|row| row["bytes"] == json!(0)),
            "{}",
            again.stdout
        );

        let verified = run(&settings, &to, &["verify"]).await;
        assert_eq!(verified.code, 0, "{to}: {} {}", verified.stdout, verified.stderr);
        assert_eq!(listed(&settings, &to).await, wanted, "{to}");
        for said in [dry, copied, again, verified] {
            assert!(!said.stdout.contains(CANARY) && !said.stderr.contains(CANARY));
        }
        from = to;
    }
    for vault in [PRODUCTION, BILLING] {
        let restored = run(&settings, &from, &["restore", vault, "--backup", "second", "--to", RECOVERY]).await;
        assert_eq!(restored.code, 0, "{} {}", restored.stdout, restored.stderr);
    }
    // The container of the settings was not touched, and has what it had.
    assert_eq!(listed(&settings, &source).await, wanted);
    assert_eq!(cloud.vaults.unknown_requests(), Vec::<String>::new());
    assert_eq!(cloud.doors.refused(), Vec::<String>::new());
}

/// What became of each backup.
fn results(said: &Said) -> Vec<String> {
    let body = said.json();
    let vaults = body["value"].as_array().unwrap().iter();
    let backups = vaults.flat_map(|row| row["backups"].as_array().unwrap().clone());
    backups.map(|backup| backup["result"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_not_there_is_named_and_nothing_is_copied() {
    let cloud = Cloud::with(&[PRODUCTION], &[RECOVERY]).await;
    cloud.vaults.seed_numbers(PRODUCTION, 0..3);
    let (settings, source) = (cloud.settings(), cloud.backups.url().to_string());
    assert_eq!(run(&settings, &source, &["backup"]).await.code, 0);
    let missing = Container::missing().url().to_string();
    let said = run(&settings, &source, &["copy", "--to", &missing]).await;
    let name = missing.rsplit('/').next().unwrap();
    assert_eq!(said.code, 4, "{} {}", said.stdout, said.stderr);
    assert!(format!("{}{}", said.stdout, said.stderr).contains(name), "{} {}", said.stdout, said.stderr);
}
