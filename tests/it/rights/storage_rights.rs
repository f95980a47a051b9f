//! The rights on the containers that docs/roles.md gives the identities: enough for everything, and each missing one is named.

use std::sync::Arc;

use serde_json::json;
use simulator::{
    identity::Identity,
    key_vault::{Delays, VaultOptions},
};

use super::storage::{ADD, DELETE, READ, Storage, WRITE, documented};
use crate::{
    local_azure::{LocalAzure, Ran},
    roles_docs,
};

/// Two vaults, a storage account, and three identities that may do what docs/roles.md says. Only the newest backup is kept.
struct Account {
    azure: LocalAzure,
    storage: Arc<Storage>,
    backup: Identity,
    restore: Identity,
    prune: Identity,
    settings: Vec<(&'static str, String)>,
}

impl Account {
    async fn open() -> Self {
        let storage = Storage::create().await;
        let azure = LocalAzure::altered(&["contoso-prod", "contoso-dr"], |services| storage.behind(services)).await;
        let directory = azure.vaults.directory();
        directory.set_system_assigned(None);
        let admit = |name: &str, vault: Option<&str>| {
            let identity = directory.identity(name);
            directory.attach(&identity);
            if let Some(vault) = vault {
                let rights = roles_docs::documented(&format!("{name} identity"));
                azure.vaults.assign(&identity, vault, &rights.iter().map(String::as_str).collect::<Vec<_>>());
            }
            for (words, container) in [("backup container", storage.backups()), ("state container", storage.state())] {
                storage.grant(&identity, &container, &documented(&format!("{name} identity"), words));
            }
            identity
        };
        let (backup, restore) = (admit("backup", Some("contoso-prod")), admit("restore", Some("contoso-dr")));
        let prune = admit("prune", None);
        let settings = vec![
            ("BACKUP_STORE_URL", storage.url()),
            ("BACKUP_IDENTITY_CLIENT_ID", backup.client_id.to_string()),
            ("RESTORE_IDENTITY_CLIENT_ID", restore.client_id.to_string()),
            ("PRUNE_IDENTITY_CLIENT_ID", prune.client_id.to_string()),
            ("BACKUP_KEEP", "last=1".to_owned()),
        ];
        azure.vaults.seed("contoso-prod", 40);
        Self { azure, storage, backup, restore, prune, settings }
    }

    fn changes(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        self.azure.run_with(&self.changes(), arguments).await
    }

    /// What an identity has used on a container.
    fn used(&self, identity: &Identity, container: &str) -> Vec<&'static str> {
        let log = self.storage.log();
        let of_it = log.iter().filter(|asked| {
            asked.object_id == identity.object_id.to_string() && asked.container == container && !asked.refused
        });
        let mut used: Vec<&'static str> = of_it.map(|asked| asked.needed[0]).collect();
        used.sort_unstable();
        used.dedup();
        used
    }
}

#[test]
fn the_backup_container_is_written_by_adding_only() {
    assert_eq!(documented("backup identity", "backup container"), [READ, ADD]);
    assert_eq!(documented("restore identity", "backup container"), [READ]);
    assert_eq!(documented("prune identity", "backup container"), [READ, DELETE]);
}

#[tokio::test]
async fn everything_the_app_and_the_command_line_do_needs_no_more_than_the_documented_rights() {
    let account = Account::open().await;
    let app = account.azure.app_with(&account.changes()).await;
    let restore = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    for body in [json!({}), json!({ "full": true, "label": "before-release" }), json!({})] {
        let ended = app.run("api/backups", &body).await;
        assert_eq!(ended["status"], "Succeeded", "{ended}");
    }
    let mut dry_run = restore.clone();
    dry_run["dryRun"] = true.into();
    assert_eq!(app.post("api/restore", &dry_run).await.status, 200);
    let ended = app.run("api/restore", &restore).await;
    assert_eq!(ended["status"], "Succeeded", "{ended}");
    for path in [
        "api/backups",
        "api/backups/contoso-prod",
        "api/backups/contoso-prod/latest",
        "api/backups/contoso-prod/latest?compare=live",
        "api/operations",
    ] {
        assert_eq!(app.get(path).await.status, 200, "{path}");
    }
    account.azure.vaults.lose_everything("contoso-dr");
    for arguments in [
        &["backup"][..],
        &["backup", "--full"],
        &["list"],
        &["list", "contoso-prod"],
        &["show", "contoso-prod"],
        &["diff", "contoso-prod"],
        &["diff", "contoso-prod", "--live"],
        &["verify"],
        &["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"],
        &["restore", "contoso-prod", "--to", "contoso-dr"],
        &["prune", "--dry-run"],
        &["prune", "--yes"],
        &["prune", "contoso-prod", "--remove", "before-release", "--yes"],
    ] {
        let ran = account.run(arguments).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    }
    let (source, target) = (account.azure.vaults.snapshot("contoso-prod"), account.azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    assert_eq!(account.storage.refused(), []);
    let (backups, state) = (account.storage.backups(), account.storage.state());
    assert_eq!(account.used(&account.backup, &backups), [ADD, READ]);
    assert_eq!(account.used(&account.restore, &backups), [READ]);
    // The marks of operations that have ended.
    assert!(account.used(&account.backup, &state).contains(&DELETE));
    assert!(account.used(&account.restore, &state).contains(&DELETE));
    assert_eq!(account.used(&account.prune, &backups), [DELETE, READ]);
    assert!(!account.used(&account.prune, &state).contains(&DELETE));
    account.azure.assert_all_known();
}

#[tokio::test]
async fn without_one_right_on_a_container_the_sentence_names_it() {
    let account = Account::open().await;
    assert_eq!(account.run(&["backup"]).await.code, 0);
    let (backups, state) = (account.storage.backups(), account.storage.state());
    let backup = ["backup", "--full"].as_slice();
    let verify = ["verify", "contoso-prod"].as_slice();
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr"].as_slice();
    let prune = ["prune", "--yes"].as_slice();
    let keep_all = [("BACKUP_KEEP", "last=9")];
    let keep_all: Vec<_> = account.changes().into_iter().chain(keep_all).collect();
    assert_eq!(account.azure.run_with(&keep_all, &["backup"]).await.code, 0);
    let before = account.azure.vaults.snapshot("contoso-dr");
    for (identity, container, granted, missing, command) in [
        (&account.prune, &backups, &[READ][..], "blobs/delete", prune),
        (&account.prune, &backups, &[DELETE], "blobs/read", prune),
        (&account.prune, &backups, &[], "blobs/", prune),
        (&account.prune, &state, &[READ, ADD], "blobs/write", prune),
        (&account.prune, &state, &[], "blobs/", prune),
        (&account.backup, &backups, &[READ][..], "blobs/add/action", backup),
        (&account.backup, &backups, &[ADD], "blobs/read", backup),
        (&account.backup, &backups, &[], "blobs/", backup),
        (&account.backup, &state, &[READ, ADD], "blobs/write", backup),
        (&account.backup, &state, &[READ], "blobs/", backup),
        (&account.backup, &state, &[], "blobs/", backup),
        (&account.backup, &backups, &[ADD], "blobs/read", verify),
        (&account.backup, &state, &[READ, ADD], "blobs/write", verify),
        (&account.restore, &backups, &[], "blobs/read", restore),
        (&account.restore, &state, &[READ, ADD], "blobs/write", restore),
        (&account.restore, &state, &[READ], "blobs/", restore),
        (&account.restore, &state, &[], "blobs/", restore),
    ] {
        let case = format!("{} with {granted:?} on {container}", identity.name);
        account.storage.grant(identity, container, granted);
        let ran = account.run(command).await;
        assert_eq!(ran.code, 6, "{case}: {ran:?}");
        let says = |words: &str| ran.stderr.contains(words);
        assert!(says("The identity lacks the role ") && says(missing) && says(container), "{case}: {ran:?}");
        assert!(says("A new role takes up to ten minutes to work"), "{case}: {ran:?}");
        let role = if *container == backups { "backup container" } else { "state container" };
        account.storage.grant(identity, container, &documented(&format!("{} identity", identity.name), role));
    }
    assert_eq!(before.differences(&account.azure.vaults.snapshot("contoso-dr")), Vec::<String>::new());
    assert_eq!(account.run(backup).await.code, 0);
    assert_eq!(account.run(restore).await.code, 0);
    assert_eq!(account.run(prune).await.code, 0);
}

/// To list, to look and to plan takes the right to read backups, and nothing on the state.
#[tokio::test]
async fn a_reader_of_the_backups_can_list_show_and_plan() {
    let account = Account::open().await;
    assert_eq!(account.run(&["backup"]).await.code, 0);
    account.storage.grant(&account.restore, &account.storage.state(), &[]);
    for arguments in [
        &["list"][..],
        &["list", "contoso-prod"],
        &["show", "contoso-prod"],
        &["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"],
    ] {
        let ran = account.run(arguments).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    }
    // What the last verification found would be told too.
    let refused = account.storage.refused();
    assert!(refused.iter().all(|asked| asked.request.ends_with("findings%2Fcontoso-prod.json")), "{refused:?}");
}

/// From the backup container only the identity that prunes removes anything, and no vault knows that identity. From the
/// state container only the marks of operations that have ended are removed, and those may stay.
#[tokio::test]
async fn only_prune_deletes_backups() {
    let account = Account::open().await;
    for identity in [&account.backup, &account.restore, &account.prune] {
        account.storage.grant(identity, &account.storage.state(), &[READ, ADD, WRITE]);
    }
    for _ in 0..2 {
        assert_eq!(account.run(&["backup", "--full"]).await.code, 0);
    }
    assert_eq!(account.run(&["restore", "contoso-prod", "--to", "contoso-dr"]).await.code, 0);
    let refused = account.storage.refused();
    assert_eq!(refused.len(), 3, "one for each operation: {refused:?}");
    assert!(refused.iter().all(|asked| asked.needed == [DELETE] && asked.container == account.storage.state()));
    let backups = account.storage.backups();
    let mut deleted = account.storage.log();
    deleted.retain(|asked| asked.needed == [DELETE] && asked.container == backups);
    let [manifest] = &deleted[..] else { panic!("one backup is pruned, and its blobs are too young: {deleted:#?}") };
    assert_eq!(manifest.object_id, account.prune.object_id.to_string());
    assert!(manifest.request.contains("contoso-prod%2Fbackups%2F"), "{manifest:?}");
    let list = account.run(&["list", "contoso-prod", "--output", "json"]).await.json();
    assert_eq!(list["value"].as_array().unwrap().len(), 1);
}

/// A backup that was made is a good backup, whatever becomes of retention; but somebody has to hear of it.
#[tokio::test]
async fn a_prune_that_fails_is_told_and_turns_no_good_backup_into_a_failed_one() {
    let account = Account::open().await;
    account.storage.grant(&account.prune, &account.storage.backups(), &[READ]);
    let app = account.azure.app_with(&account.changes()).await;
    for said in ["Retention removed 0 backups", "Retention failed, and the next backup tries again: Could not delete"] {
        let ended = app.run("api/backups", &json!({ "full": true })).await;
        assert_eq!(ended["status"], "Succeeded", "{ended}");
        assert!(ended["message"].as_str().unwrap().contains(said), "{ended}");
    }
    let log = app.log();
    let failed = log.lines().find(|line| line.contains("prune.failed")).unwrap_or_else(|| panic!("{log}"));
    assert!(failed.contains("ERROR") && failed.contains("blobs/delete"), "{failed}");
}

/// A write whose answer was lost is repeated, and then refused: adding to what is there would be changing it. The blob
/// is found to be the program's own.
#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_by_an_identity_that_may_only_add() {
    let account = Account::open().await;
    account.storage.lose_first_answers();
    let ran = account.run(&["backup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let refused = account.storage.refused();
    assert!(refused.len() > 10, "every item and the manifest were written twice: {refused:?}");
    assert!(refused.iter().all(|asked| asked.container == account.storage.backups() && asked.needed == [WRITE]));
    assert_eq!(account.run(&["restore", "contoso-prod", "--to", "contoso-dr"]).await.code, 0);
    let (source, target) = (account.azure.vaults.snapshot("contoso-prod"), account.azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
}

/// To replace an item, its safety copy is added to the backups first; docs/roles.md names the rights which that takes.
#[tokio::test]
async fn replacing_needs_the_right_to_add_the_safety_copy_and_touches_nothing_without() {
    let account = Account::open().await;
    assert_eq!(account.run(&["backup"]).await.code, 0);
    let vaults = &account.azure.vaults;
    vaults.add_vault(VaultOptions { name: "contoso-dr".into(), delays: Delays::none(), ..Default::default() });
    let kinds = ["secrets", "keys", "certificates"].into_iter();
    let more =
        kinds.flat_map(|kind| ["backup/action", "delete", "purge/action"].map(|right| format!("{kind}/{right}")));
    let more = more.map(|right| format!("Microsoft.KeyVault/vaults/{right}"));
    let rights: Vec<String> = roles_docs::documented("restore identity").into_iter().chain(more).collect();
    vaults.assign(&account.restore, "contoso-dr", &rights.iter().map(String::as_str).collect::<Vec<_>>());
    vaults.set_secret("contoso-dr", "secret-00000", "in the way");
    let before = vaults.snapshot("contoso-dr");
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr", "--items", "secrets/secret-00000", "--on-conflict"];
    let restore = [&restore[..], &["replace", "--yes"]].concat();

    let refused = account.run(&restore).await;
    assert!(refused.code != 0 && refused.stderr.contains("blobs/add/action"), "{refused:?}");
    assert_eq!(before.differences(&vaults.snapshot("contoso-dr")), Vec::<String>::new());

    let only_adds = account.storage.log().len();
    account.storage.grant(&account.restore, &account.storage.backups(), &[READ, ADD]);
    let ran = account.run(&restore).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(account.storage.log()[only_adds..].iter().all(|asked| !asked.refused));
    assert_eq!(account.used(&account.restore, &account.storage.backups()), [ADD, READ]);
    assert!(!before.differences(&vaults.snapshot("contoso-dr")).is_empty(), "it was replaced");
}
