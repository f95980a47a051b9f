//! Ctrl-C half-way through a backup: a sentence that says what was done and how to go on, and no backup that is half one.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    local_azure::{BINARY, LIMIT, LocalAzure},
    rights::storage::{READ, Storage, WRITE},
};

#[tokio::test]
async fn a_backup_that_is_stopped_says_how_to_go_on_and_leaves_no_half_backup() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.seed("contoso-prod", 30);
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["backup", "contoso-prod"]).env_clear().envs(azure.settings()).kill_on_drop(true);
    // So slow that it cannot be at its end when it is stopped.
    command.env("BACKUP_REQUESTS_PER_SECOND", "5").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let started = async {
        while azure.vaults.requests().len() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, started).await.expect("the backup begins");
    let process = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("Stopped.") && said.contains("Give the same command again"), "{said}");
    assert_eq!(azure.manifests("contoso-prod").len(), 0);

    let again = azure.run(&["backup", "contoso-prod", "--output", "json"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(again.json()["value"][0]["status"], "Succeeded");
}

#[tokio::test]
async fn a_backup_that_is_stopped_gives_its_lease_back_so_that_the_next_one_need_not_wait() {
    let storage = Storage::create().await;
    let azure = LocalAzure::altered(&["contoso-prod"], |services| storage.behind(services)).await;
    for container in [storage.backups(), storage.state()] {
        storage.grant(&azure.identity, &container, &[READ, WRITE]);
    }
    azure.vaults.seed("contoso-prod", 30);
    let leases = Arc::new(Mutex::new(Vec::new()));
    let seen = leases.clone();
    storage.upset(move |head| {
        let action = head.headers.get("x-ms-lease-action").and_then(|action| action.to_str().ok());
        seen.lock().unwrap().extend(action.map(str::to_owned));
        None
    });
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["backup", "contoso-prod"]).env_clear().envs(azure.settings()).kill_on_drop(true);
    command.env("BACKUP_STORE_URL", storage.url()).env("BACKUP_REQUESTS_PER_SECOND", "5");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = async {
        while azure.vaults.requests().len() < 5 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, started).await.expect("the backup begins");
    assert!(leases.lock().unwrap().iter().all(|action| action == "acquire"), "it is at work: {leases:?}");
    let process = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(leases.lock().unwrap().last().map(String::as_str), Some("release"), "{leases:?}");
}

#[tokio::test]
async fn a_disk_that_never_answers_does_not_keep_a_command_that_is_stopped() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 6);
    assert_eq!(azure.run(&["backup", "contoso-prod"]).await.code, 0);
    // Nobody ever writes into this, so that opening it does not end.
    let blob =
        azure.items("contoso-prod").into_iter().find(|blob| blob.display().to_string().contains("secret")).unwrap();
    std::fs::remove_file(&blob).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&blob).status().unwrap().success());
    let mut command = tokio::process::Command::new(BINARY);
    command
        .args(["restore", "contoso-prod", "--to", "contoso-dr"])
        .env_clear()
        .envs(azure.settings())
        .kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    azure.vaults.reset_log();
    let child = command.spawn().unwrap();
    let restored = || azure.vaults.requests().iter().filter(|request| request.method == "POST").count();
    let rest = azure.items("contoso-prod").len() - 1;
    let all_but_one = async {
        while restored() < rest {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, all_but_one).await.expect("everything else is restored");
    let process = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
}
