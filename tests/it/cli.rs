//! The command line as people and scripts meet it: the real binary with nothing in its environment but settings.

use std::{fs, net::TcpListener};

use keyvault_backup::{
    repository::{Lock, Repository},
    store::local::LocalStore,
};
use serde_json::json;
use simulator::key_vault::{Fault, Kind, Operation, Verb};
use uuid::Uuid;

use crate::local_azure::{LocalAzure, Ran, Settings, files, run};

const RESTORE: [&str; 4] = ["restore", "contoso-prod", "--to", "contoso-dr"];

/// A vault with a backup and one to restore into.
async fn backed_up() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 10);
    assert_eq!(azure.run(&["backup", "--label", "first"]).await.code, 0);
    azure.vaults.reset_log();
    azure
}

/// Ids, times and folders differ from run to run.
fn masked(azure: &LocalAzure, text: &str) -> String {
    let mut text = text.replace(&azure.folder().display().to_string(), "FOLDER");
    let backups = azure.manifests("contoso-prod");
    for manifest in &backups {
        let id = manifest.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
        text = text.replace(id, "20261121T020000Z-00000000");
    }
    let words = text.split(' ').map(|word| {
        let digits = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_version = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time = digits.len() == 20 && digits.ends_with('Z');
        match (is_version, is_time) {
            (true, _) => word.replace(digits, &"f".repeat(32)),
            (_, true) => word.replace(digits, "2026-11-21T02:00:00Z"),
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_vault_is_backed_up_listed_shown_and_restored() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 10);

    let nothing = azure.run(&["list"]).await;
    assert_eq!((nothing.code, nothing.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("list_of_nothing", masked(&azure, &nothing.stdout));

    let backup = azure.run(&["backup", "contoso-prod", "--label", "first"]).await;
    assert_eq!((backup.code, backup.stderr.as_str()), (0, ""), "{backup:?}");
    insta::assert_snapshot!("backup", masked(&azure, &backup.stdout));

    let list = azure.run(&["list"]).await;
    assert_eq!((list.code, list.stderr.as_str()), (0, ""));
    let shown = masked(&azure, &list.stdout);
    assert!(shown.contains("contoso-prod") && shown.contains("Succeeded"), "{shown}");
    let list = azure.run(&["list", "contoso-prod"]).await;
    assert!(list.code == 0 && list.stdout.contains("first"), "{list:?}");

    let show = azure.run(&["show", "contoso-prod", "first"]).await;
    assert_eq!((show.code, show.stderr.as_str()), (0, ""));
    assert!(show.stdout.contains("secrets/secret-00001") && show.stdout.contains("3 keys, 4 secrets, 3 certificates"));

    azure.vaults.reset_log();
    let plan = azure.run(&[&RESTORE[..], &["--dry-run"]].concat()).await;
    assert_eq!((plan.code, plan.stderr.as_str()), (0, ""), "{plan:?}");
    insta::assert_snapshot!("plan", masked(&azure, &plan.stdout));
    assert_eq!(azure.changes_asked_for(), Vec::<String>::new());

    let restore = azure.run(&RESTORE).await;
    assert_eq!((restore.code, restore.stderr.as_str()), (0, ""), "{restore:?}");
    insta::assert_snapshot!("restore", masked(&azure, &restore.stdout));
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    azure.assert_all_known();
}

#[tokio::test]
async fn output_for_programs_is_one_json_document_also_when_it_fails() {
    let azure = backed_up().await;
    let json = async |arguments: &[&str]| {
        let ran = azure.run(&[arguments, &["--output", "json"]].concat()).await;
        (ran.code, ran.json())
    };
    let (code, body) = json(&["backup"]).await;
    assert_eq!((code, &body["value"][0]["status"]), (0, &json!("Succeeded")), "{body}");
    let (code, body) = json(&["list"]).await;
    assert_eq!((code, &body["value"][0]["backups"]), (0, &json!(2)), "{body}");
    let (code, body) = json(&["list", "contoso-prod"]).await;
    assert_eq!((code, body["value"].as_array().unwrap().len()), (0, 2), "{body}");
    let (code, body) = json(&["show", "contoso-prod", "first"]).await;
    assert_eq!((code, body["items"].as_array().unwrap().len()), (0, 10));
    let (code, body) = json(&[&RESTORE[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, &body["counts"]["restore"]), (0, &json!(10)));
    let (code, body) = json(&[&RESTORE[..], &["--items", "secrets/*,!secrets/secret-00001"]].concat()).await;
    assert_eq!((code, &body["counts"]), (0, &json!({ "restored": 3 })), "{body}");

    for (arguments, code, kind) in [
        (vec!["show", "contoso-prod", "second"], 4, "NotFound"),
        (vec!["show", "-x"], 2, "InvalidInput"),
        (vec!["show", "x"], 2, "InvalidInput"),
        (vec!["restore", "contoso-prod", "--to", "contoso-prod"], 6, "Forbidden"),
        (vec!["restore", "contoso-prod", "--to", "contoso-dr", "--on-conflict", "overwrite"], 2, "InvalidInput"),
        (vec!["nonsense"], 2, "InvalidInput"),
        (vec!["backup", "--label", "Not A Label"], 2, "InvalidInput"),
    ] {
        let (ended, body) = json(&arguments).await;
        assert_eq!((ended, &body["error"]["code"]), (code, &json!(kind)), "{arguments:?}: {body}");
    }
}

#[tokio::test]
async fn the_help_shows_no_value_of_the_environment() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let help = azure.run(&["backup", "--help"]).await;
    assert!(!help.stdout.contains("contoso-prod,") && !help.stdout.contains(&azure.folder().display().to_string()));
}

#[tokio::test]
async fn all_mistakes_in_the_settings_are_told_at_once() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let changes = [
        ("BACKUP_STORE_URL", "backups"),
        ("BACKUP_VAULTS", "contoso-prod,x"),
        ("BACKUP_ITEMS", "db-*"),
        ("BACKUP_FULL_EVERY_DAYS", "never"),
        ("BACKUP_REQUESTS_PER_SECOND", "0"),
        ("BACKUP_CONCURRENCY", "1.5"),
        ("RESTORE_TARGET_VAULTS", "https://evil.example"),
        ("BACKUP_IDENTITY_CLIENT_ID", "me"),
        ("RESTORE_IDENTITY_CLIENT_ID", "you"),
        ("AZURE_CLOUD", "moon"),
        ("LOG_LEVEL", "loud"),
    ];
    let wrong = azure.run_with(&changes, &["backup"]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""), "{wrong:?}");
    for (name, _) in changes {
        assert!(wrong.stderr.contains(&format!("Error: {name} is ")), "{name}: {}", wrong.stderr);
    }
    assert_eq!(wrong.stderr.lines().count(), changes.len());
    assert_eq!(azure.vaults.requests(), []);
    let absent = run(&Settings::new(), &["list"]).await;
    assert_eq!(absent.code, 2);
    assert!(absent.stderr.contains("BACKUP_STORE_URL is not set. Set it to"), "{absent:?}");
}

#[tokio::test]
async fn a_flag_stands_above_the_environment() {
    let azure = backed_up().await;
    let elsewhere = format!("file://{}/elsewhere", azure.folder().display());
    let list = azure.run(&["--backup-store-url", &elsewhere, "list"]).await;
    assert!(list.code == 0 && list.stdout.contains("There is no backup in"), "{list:?}");
    assert!(!azure.folder().join("elsewhere").exists(), "what is only looked for is not made");
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2_and_prints_no_result() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    for arguments in [
        vec!["nonsense"],
        vec![],
        vec!["restore", "contoso-prod"],
        vec!["backup", "contoso_prod"],
        vec!["backup", "https://contoso-prod.vault.azure.cn"],
        vec!["restore", "contoso-prod", "--to", "contoso-dr", "--backup", "What?"],
        vec!["show"],
        vec!["serve"],
        vec!["serve", "--port", "high"],
    ] {
        let Ran { code, stdout, stderr } = azure.run(&arguments).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
    let none = azure.run_with(&[("BACKUP_VAULTS", "")], &["backup"]).await;
    assert_eq!(none.code, 2);
    assert!(none.stderr.contains("name a vault, or set BACKUP_VAULTS"), "{none:?}");
    assert_eq!(azure.vaults.requests(), []);
}

#[tokio::test]
async fn a_restore_that_conflicts_ends_with_1() {
    let azure = backed_up().await;
    azure.vaults.set_secret("contoso-dr", "secret-00001", "another value");
    let failed = azure.run(&[&RESTORE[..], &["--on-conflict", "fail"]].concat()).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("secrets/secret-00001"), "{failed:?}");
    assert_eq!(azure.changes_asked_for(), Vec::<String>::new());
    let skipped = azure.run(&[&RESTORE[..], &["--items", "secrets/secret-00001"]].concat()).await;
    assert_eq!(skipped.code, 1, "nothing that was asked for was done: {skipped:?}");
}

#[tokio::test]
async fn a_run_that_leaves_something_undone_ends_with_3() {
    let azure = backed_up().await;
    azure.vaults.set_secret("contoso-prod", "bad", "x");
    let fault = Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)).named("bad");
    azure.vaults.add_fault(fault);
    let partial = azure.run(&["backup"]).await;
    assert_eq!(partial.code, 3, "{partial:?}");
    assert!(partial.stdout.contains("PartiallySucceeded"), "{partial:?}");
    assert!(partial.stderr.contains("Could not back up secrets/bad of vault contoso-prod"), "{partial:?}");

    azure.vaults.set_secret("contoso-dr", "secret-00001", "another value");
    let partial = azure.run(&RESTORE).await;
    assert_eq!(partial.code, 3, "{partial:?}");
    assert!(partial.stderr.contains("secrets/secret-00001 was not restored into vault contoso-dr"), "{partial:?}");
    // One vault of two.
    azure.vaults.clear_faults();
    azure.vaults.unassign(&azure.identity, "contoso-dr");
    assert_eq!(azure.run(&["backup", "contoso-prod", "contoso-dr"]).await.code, 3);
}

#[tokio::test]
async fn what_is_not_there_ends_with_4() {
    let azure = backed_up().await;
    let other = "No backup of vault contoso-other was found: there is no backup of that vault in file://";
    for (arguments, says) in [
        (vec!["show", "contoso-prod", "second"], "No backup second of vault contoso-prod was found: the newest are 20"),
        (vec!["show", "contoso-other"], other),
        (vec!["list", "contoso-other"], other),
        (
            vec!["restore", "contoso-prod", "--to", "contoso-dr", "--backup", "2001-01-01T00:00:00Z"],
            "No backup of vault contoso-prod that was complete at 2001-01-01T00:00:00Z was found: the newest are 20",
        ),
    ] {
        let Ran { code, stdout, stderr } = azure.run(&arguments).await;
        assert_eq!((code, stdout.as_str()), (4, ""), "{arguments:?}");
        assert!(stderr.starts_with(&format!("Error: {says}")), "{stderr}");
    }
    assert_eq!(azure.vaults.requests(), []);
}

#[tokio::test]
async fn what_is_out_of_reach_ends_with_5() {
    let azure = backed_up().await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/devstoreaccount1/backups", nobody.local_addr().unwrap());
    drop(nobody);
    // It goes on trying for a while, which is why both run at once.
    let list = async |arguments: &[&str]| azure.run_with(&[("BACKUP_STORE_URL", &url)], arguments).await;
    let (table, json) = futures::join!(list(&["list"]), list(&["list", "--output", "json"]));
    for refused in [table, json] {
        assert_eq!(refused.code, 5, "{refused:?}");
        let said = refused.stderr + &refused.stdout;
        assert!(said.contains("The storage account cannot be reached: check its name"), "{said}");
    }
}

#[tokio::test]
async fn a_full_backup_takes_its_turn_when_somebody_else_works_on_the_vault() {
    let azure = backed_up().await;
    let store = |folder| std::sync::Arc::new(LocalStore::open(folder).unwrap());
    let repository = Repository::new(store(azure.backups()), store(azure.state()));
    let Lock::Taken(lease) = repository.lock(&"contoso-prod".parse().unwrap(), Uuid::new_v4()).await.unwrap() else {
        panic!("nobody else works here")
    };
    let begun = files(&azure.state().join("operations")).len();
    let release = async {
        while files(&azure.state().join("operations")).len() == begun {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert_eq!(azure.manifests("contoso-prod").len(), 1);
        lease.release().await;
    };
    let (ran, ()) = futures::join!(azure.run(&["backup", "--full"]), release);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(azure.manifests("contoso-prod").len(), 2);
}

#[tokio::test]
async fn what_is_forbidden_ends_with_6() {
    let azure = backed_up().await;
    let refused = azure.run(&["restore", "contoso-prod", "--to", "contoso-prod"]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (6, ""));
    assert!(refused.stderr.contains("RESTORE_TARGET_VAULTS does not name it (it allows contoso-dr)"), "{refused:?}");
    assert_eq!(azure.vaults.requests(), []);
    for vault in ["contoso-prod", "contoso-dr"] {
        azure.vaults.unassign(&azure.identity, vault);
    }
    for arguments in [&["backup"][..], &RESTORE[..], &[&RESTORE[..], &["--dry-run"]].concat()] {
        let refused = azure.run(arguments).await;
        assert_eq!(refused.code, 6, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("the identity lacks Microsoft.KeyVault/vaults/"), "{refused:?}");
    }
    let nobody = azure.run_with(&[("IDENTITY_HEADER", "wrong")], &["backup"]).await;
    assert_eq!(nobody.code, 6, "{nobody:?}");
    assert!(nobody.stderr.contains("no token could be had"), "{nobody:?}");
}

#[tokio::test]
async fn a_damaged_or_newer_backup_ends_with_7_and_nothing_changes() {
    let azure = backed_up().await;
    let manifest = azure.manifests("contoso-prod").remove(0);
    let sound = fs::read_to_string(&manifest).unwrap();
    for (newer, says) in [(true, "has format version 2; this release"), (false, "is damaged")] {
        if newer {
            azure.make_newer(&manifest);
        } else {
            fs::write(&manifest, sound.replace("secret-00001", "secret-0000x")).unwrap();
        }
        for arguments in [&["show", "contoso-prod"][..], &RESTORE[..], &[&RESTORE[..], &["--dry-run"]].concat()] {
            let refused = azure.run(arguments).await;
            assert_eq!(refused.code, 7, "{arguments:?}: {refused:?}");
            assert!(refused.stderr.contains(says), "{refused:?}");
        }
    }
    assert_eq!(azure.vaults.requests(), [], "such a backup is refused before a vault is asked");
}

#[tokio::test]
async fn a_damaged_backup_hides_no_other() {
    let azure = backed_up().await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    // Both may be of the same second, so the newest is known by its name alone.
    let newest = azure.manifests("contoso-prod").pop().unwrap();
    azure.make_newer(&newest);
    for arguments in [vec!["list"], vec!["list", "contoso-prod"]] {
        let list = azure.run(&arguments).await;
        assert_eq!(list.code, 7, "{list:?}");
        assert!(list.stdout.contains("Unreadable") && list.stderr.contains("format version 2"), "{list:?}");
    }
    let list = azure.run(&["list", "contoso-prod", "--output", "json"]).await;
    let rows = list.json()["value"].as_array().unwrap().clone();
    assert_eq!(
        (rows.len(), &rows[0]["error"]["code"], &rows[1]["status"]),
        (2, &json!("NewerFormat"), &json!("Succeeded"))
    );
    assert!(newest.display().to_string().contains(rows[0]["id"].as_str().unwrap()));
}

#[tokio::test]
async fn an_interrupted_restore_goes_on_by_its_id_and_only_with_the_same_request() {
    let azure = backed_up().await;
    let id = "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c04";
    let restore = |more: &'static [&'static str]| [&RESTORE[..], &["--resume", id, "--output", "json"], more].concat();
    let first = azure.run(&restore(&["--items", "secrets/*"])).await;
    assert_eq!(first.code, 0, "{first:?}");
    let changes = azure.changes_asked_for();
    let again = azure.run(&restore(&["--items", "secrets/*"])).await;
    assert_eq!((again.code, again.json()["id"].as_str()), (0, Some(id)), "{again:?}");
    assert_eq!(azure.changes_asked_for(), changes, "what is done is not done again");
    let other = azure.run(&restore(&["--items", "keys/*"])).await;
    assert_eq!((other.code, &other.json()["error"]["target"]), (2, &json!("--resume")), "{other:?}");
}

#[tokio::test]
async fn reading_commands_write_nothing() {
    let azure = backed_up().await;
    let everything = || (files(&azure.backups()), files(&azure.state()));
    let before = everything();
    for arguments in [vec!["list"], vec!["list", "contoso-prod"], vec!["show", "contoso-prod"]] {
        assert_eq!(azure.run(&arguments).await.code, 0);
    }
    assert_eq!(everything(), before);
    assert_eq!(azure.vaults.requests(), []);
}
