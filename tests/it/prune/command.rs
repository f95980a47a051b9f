//! The command, and retention after each backup, as people and scripts meet them.

use std::{fs, time::SystemTime};

use keyvault_backup::{
    repository::{Lock, Repository},
    store::local::LocalStore,
};
use uuid::Uuid;

use crate::local_azure::{LocalAzure, files};

const KEEP_ONE: [(&str, &str); 1] = [("BACKUP_KEEP", "last=1")];

/// A vault with so many backups, all of them days old.
async fn backed_up(times: usize) -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    for time in 0..times {
        azure.vaults.set_secret("contoso-prod", "apple", &format!("value {time}"));
        assert_eq!(azure.run(&["backup", "--full"]).await.code, 0);
    }
    age(&azure);
    azure
}

/// Makes all blobs two days old.
fn age(azure: &LocalAzure) {
    let then = SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
    for file in files(&azure.backups()) {
        fs::File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
    }
}

#[tokio::test]
async fn a_prune_shows_its_reasons_and_removes_what_it_showed() {
    let azure = backed_up(3).await;
    let dry = azure.run_with(&KEEP_ONE, &["prune", "--dry-run"]).await;
    assert_eq!((dry.code, dry.stderr.as_str()), (0, ""), "{dry:?}");
    assert_eq!(actions(&dry.stdout), ["keep", "remove", "remove"], "{}", dry.stdout);
    assert!(dry.stdout.contains("newest, newest complete, last"), "{}", dry.stdout);
    assert!(dry.stdout.contains("This would remove 2 backups and 2 item blobs"), "{}", dry.stdout);
    assert_eq!((azure.manifests("contoso-prod").len(), azure.items("contoso-prod").len()), (3, 3));

    let pruned = azure.run_with(&KEEP_ONE, &["prune", "--yes", "contoso-prod"]).await;
    assert_eq!((pruned.code, pruned.stderr.as_str()), (0, ""), "{pruned:?}");
    assert_eq!(actions(&pruned.stdout), ["kept", "removed", "removed"], "{}", pruned.stdout);
    assert!(pruned.stdout.contains("Retention removed 2 backups and 2 item blobs ("), "{}", pruned.stdout);
    assert_eq!((azure.manifests("contoso-prod").len(), azure.items("contoso-prod").len()), (1, 1));
    assert_eq!(azure.run(&["restore", "contoso-prod", "--to", "contoso-dr"]).await.code, 0);
    azure.assert_all_known();
}

/// What stands in the column of that name.
fn actions(table: &str) -> Vec<&str> {
    let rows = table.lines().filter(|line| line.starts_with("│ 2"));
    rows.filter_map(|line| line.split('┆').nth(3)).map(str::trim).collect()
}

#[tokio::test]
async fn programs_get_the_plan_and_what_came_of_it() {
    let azure = backed_up(3).await;
    let dry = azure.run_with(&KEEP_ONE, &["prune", "--dry-run", "--output", "json"]).await.json();
    let plan = &dry["value"][0];
    assert_eq!((&plan["vault"], &plan["dryRun"]), (&"contoso-prod".into(), &true.into()));
    let actions: Vec<&str> =
        plan["backups"].as_array().unwrap().iter().map(|backup| backup["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["keep", "remove", "remove"]);
    assert_eq!(plan["backups"][0]["reasons"], serde_json::json!(["newest", "newest complete", "last"]));
    assert_eq!(plan["unnamedBlobs"]["remove"], 2);
    let done = azure.run_with(&KEEP_ONE, &["prune", "--yes", "--output", "json"]).await.json();
    assert_eq!(
        (&done["value"][0]["removed"]["backups"], &done["value"][0]["removed"]["blobs"]),
        (&2.into(), &2.into())
    );
}

#[tokio::test]
async fn without_a_policy_nothing_is_removed_and_the_sentence_says_what_to_set() {
    let azure = backed_up(2).await;
    for arguments in [&["prune", "--yes"][..], &["prune", "--dry-run"]] {
        let refused = azure.run(arguments).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains("BACKUP_KEEP is not set, so every backup is kept"), "{refused:?}");
    }
    assert_eq!(azure.manifests("contoso-prod").len(), 2);
}

#[tokio::test]
async fn a_backup_is_removed_by_its_label_or_id_and_the_newest_never() {
    let azure = backed_up(1).await;
    assert_eq!(azure.run(&["backup", "--label", "before-upgrade"]).await.code, 0);
    assert_eq!(azure.run(&["backup", "--full"]).await.code, 0);
    let id_of = |index: usize| {
        let manifests = azure.manifests("contoso-prod");
        manifests[index].file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned()
    };
    let (first, newest) = (id_of(0), id_of(2));

    let removed = azure.run(&["prune", "--yes", "contoso-prod", "--remove", "before-upgrade"]).await;
    assert_eq!((removed.code, removed.stderr.as_str()), (0, ""), "{removed:?}");
    let removed = azure.run(&["prune", "--yes", "contoso-prod", "--remove", &first, "--remove", &newest]).await;
    assert_eq!(removed.code, 3, "{removed:?}");
    assert!(removed.stderr.contains(&format!("Backup {newest} of vault contoso-prod stays: newest")), "{removed:?}");
    assert_eq!(azure.manifests("contoso-prod").len(), 1);

    for (arguments, code, says) in [
        (&["prune", "--yes", "contoso-prod", "--remove", "before-upgrade"][..], 4, "No backup before-upgrade of vault"),
        (&["prune", "--yes", "contoso-prod", "--remove", "latest"], 2, "latest is no name of one backup"),
        (&["prune", "--yes", "--remove", "before-upgrade"], 2, "name the vault before --remove"),
        (&["prune", "--yes", "contoso-prod", "--remove", "???"], 2, "does not name a backup"),
    ] {
        let refused = azure.run(arguments).await;
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
}

#[tokio::test]
async fn beside_another_run_the_command_says_so() {
    let azure = backed_up(2).await;
    let store = |folder| std::sync::Arc::new(LocalStore::open(folder).unwrap());
    let repository = Repository::new(store(azure.backups()), store(azure.state()));
    let vault = "contoso-prod".parse().unwrap();
    let Lock::Taken(lease) = repository.lock(&vault, Uuid::new_v4()).await.unwrap() else { unreachable!() };
    let busy = azure.run_with(&KEEP_ONE, &["prune", "--yes"]).await;
    assert_eq!(busy.code, 5, "{busy:?}");
    assert!(busy.stderr.contains("A backup or another prune is at work on vault contoso-prod"), "{busy:?}");
    assert_eq!(azure.manifests("contoso-prod").len(), 2);
    lease.release().await;
}

#[tokio::test]
async fn after_each_backup_the_policy_is_applied_and_the_record_says_so() {
    let azure = backed_up(2).await;
    let backup = azure.run_with(&KEEP_ONE, &["backup", "--output", "json"]).await;
    assert_eq!(backup.code, 0, "{backup:?}");
    let message = backup.json()["value"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Retention removed 2 backups and 2 item blobs "), "{message}");
    assert_eq!(azure.manifests("contoso-prod").len(), 1);

    let app = azure.app_with(&KEEP_ONE).await;
    let ended = app.run("api/backups", &serde_json::json!({ "full": true })).await;
    assert_eq!(ended["status"], "Succeeded");
    assert!(ended["message"].as_str().unwrap().contains("Retention removed 1 backup and 0 item blobs"), "{ended}");
    assert_eq!(azure.manifests("contoso-prod").len(), 1);
    assert!(app.log().contains("prune.completed"), "{}", app.log());
}
