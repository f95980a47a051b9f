//! What Key Vault does not do, whoever asks: each limit met with the real binary against the simulated vault, which
//! refuses as Azure does.

use simulator::key_vault::{Kind, Operation, VaultOptions, Verb};
use uuid::Uuid;

use crate::local_azure::{LocalAzure, Ran};

const RESTORE: [&str; 4] = ["restore", "contoso-prod", "--to", "contoso-dr"];

/// One item of each kind in contoso-prod, and contoso-dr empty.
async fn furnished() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.set_secret("contoso-prod", "apple", "1");
    azure.vaults.create_key("contoso-prod", "key", "EC");
    azure.vaults.create_certificate("contoso-prod", "certificate");
    azure
}

async fn backed_up() -> LocalAzure {
    let azure = furnished().await;
    let ran = azure.run(&["backup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    azure
}

fn assert_says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    for words in words {
        assert!(ran.stderr.contains(words), "{words:?} is not said: {}", ran.stderr);
    }
}

#[tokio::test]
async fn an_item_with_more_than_500_versions_is_named_with_the_way_out() {
    let azure = furnished().await;
    azure.vaults.set_secret_versions("contoso-prod", "full", 500);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    azure.vaults.set_secret_versions("contoso-prod", "too-full", 501);
    let ran = azure.run(&["backup"]).await;
    assert_says(&ran, 3, &["secrets/too-full", "more than 500 versions can never be backed up", "new name"]);
    let asked = azure.vaults.requests();
    let backup = Some(Operation::new(Kind::Secret, Verb::Backup));
    let attempts = asked.iter().filter(|request| request.operation == backup && request.name == "too-full").count();
    assert_eq!(attempts, 1, "nothing will change that");
}

#[tokio::test]
async fn a_backup_opens_only_in_its_own_subscription_and_geography() {
    let far = VaultOptions { name: "contoso-dr".into(), geography: "Brazil".into(), ..Default::default() };
    let foreign = VaultOptions { name: "contoso-dr".into(), subscription: Uuid::from_u128(7), ..Default::default() };
    for options in [far, foreign] {
        let azure = backed_up().await;
        azure.vaults.add_vault(options);
        azure.vaults.assign(&azure.identity, "contoso-dr", simulator::key_vault::ALL_DATA_ACTIONS);
        let ran = azure.run(&RESTORE).await;
        assert_says(&ran, 1, &["another Azure subscription or geography", "Choose a target vault in the same"]);
        for item in ["secrets/apple", "keys/key", "certificates/certificate"] {
            assert!(ran.stderr.contains(item), "{ran:?}");
        }
        assert!(azure.vaults.snapshot("contoso-dr").items.is_empty());
    }
}

#[tokio::test]
async fn a_name_in_use_is_not_restored_over() {
    let azure = backed_up().await;
    azure.vaults.set_secret("contoso-dr", "apple", "another");
    let ran = azure.run(&RESTORE).await;
    assert_says(&ran, 3, &["secrets/apple was not restored into vault contoso-dr", "the target has version"]);
}

#[tokio::test]
async fn a_name_that_a_deleted_item_holds_is_recovered_or_refused() {
    let azure = backed_up().await;
    assert_eq!(azure.run(&RESTORE).await.code, 0);
    azure.vaults.delete_now("contoso-dr", Kind::Secret, "apple");
    let ran = azure.run(&[&RESTORE[..], &["--on-deleted", "fail"]].concat()).await;
    assert_says(&ran, 1, &["Nothing was restored into vault contoso-dr", "held by a deleted item"]);
    assert_eq!(azure.run(&RESTORE).await.code, 0, "it is the same item, and recovered");
    // Another item of that name is not what was asked for.
    azure.vaults.purge_now("contoso-dr", Kind::Secret, "apple");
    azure.vaults.set_secret("contoso-dr", "apple", "another");
    azure.vaults.delete_now("contoso-dr", Kind::Secret, "apple");
    let ran = azure.run(&RESTORE).await;
    assert_says(&ran, 3, &["secrets/apple was not restored", "the target's deleted items have version"]);
}

#[tokio::test]
async fn a_name_of_a_certificate_and_of_its_key_and_secret_is_one() {
    let azure = backed_up().await;
    azure.vaults.create_key("contoso-dr", "certificate", "EC");
    azure.vaults.create_certificate("contoso-dr", "apple");
    let ran = azure.run(&RESTORE).await;
    assert_says(&ran, 3, &["a certificate needs that name for itself", "its name belongs to certificates/apple"]);
    assert_eq!(azure.vaults.count(Operation::new(Kind::Certificate, Verb::Restore)), 0, "it is known before");
}

#[tokio::test]
async fn a_vault_that_failed_over_can_be_backed_up_and_not_restored_into() {
    let azure = furnished().await;
    azure.vaults.set_read_only("contoso-prod", true);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    azure.vaults.set_read_only("contoso-dr", true);
    let ran = azure.run(&RESTORE).await;
    assert_says(&ran, 5, &["read-only after a failover", "Restore when its region is back"]);
}

#[tokio::test]
async fn disabled_items_are_backed_up_and_come_back_disabled() {
    let azure = furnished().await;
    for (kind, name) in [(Kind::Secret, "apple"), (Kind::Key, "key"), (Kind::Certificate, "certificate")] {
        azure.vaults.set_enabled("contoso-prod", kind, name, false);
    }
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    assert_eq!(azure.run(&RESTORE).await.code, 0);
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
}

#[tokio::test]
async fn what_belongs_to_a_certificate_is_never_asked_for_by_itself() {
    let azure = backed_up().await;
    assert_eq!(azure.vaults.count(Operation::new(Kind::Secret, Verb::Backup)), 1, "apple alone");
    assert_eq!(azure.vaults.count(Operation::new(Kind::Key, Verb::Backup)), 1, "key alone");
    assert_eq!(azure.run(&RESTORE).await.code, 0);
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
}

#[tokio::test]
async fn deleted_items_are_not_in_a_backup() {
    let azure = furnished().await;
    azure.vaults.delete_now("contoso-prod", Kind::Secret, "apple");
    let ran = azure.run(&["backup"]).await;
    assert_eq!((ran.code, azure.vaults.count(Operation::new(Kind::Secret, Verb::Backup))), (0, 0), "{ran:?}");
}
