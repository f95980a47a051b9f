//! What may be restored into is a setting, beside the roles: neither alone is enough.

use std::sync::Arc;

use keyvault_backup::{
    repository::{
        Repository,
        operation::{Operation, OperationKind},
    },
    store::local::LocalStore,
};
use serde_json::json;
use uuid::Uuid;

use crate::{local_azure::LocalAzure, roles_docs::documented};

const RESTORE: [&str; 4] = ["restore", "contoso-prod", "--to", "contoso-dr"];

/// A backup of contoso-prod, after which nothing has been asked of a vault.
async fn backed_up() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr", "contoso-other"]).await;
    azure.vaults.set_secret("contoso-prod", "apple", "1");
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    azure.vaults.reset_log();
    azure
}

#[tokio::test]
async fn a_vault_that_is_not_listed_is_not_even_asked_although_the_identity_could() {
    let azure = backed_up().await;
    let narrowed = [("RESTORE_TARGET_VAULTS", "contoso-other")];
    for more in
        [&[][..], &["--dry-run"], &["--on-conflict", "fail"], &["--resume", "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c04"]]
    {
        let refused = azure.run_with(&narrowed, &[&RESTORE[..], more].concat()).await;
        assert_eq!(refused.code, 6, "{more:?}: {refused:?}");
        assert!(
            refused.stderr.contains("RESTORE_TARGET_VAULTS does not name it (it allows contoso-other)"),
            "{refused:?}"
        );
    }
    let app = azure.app_with(&narrowed).await;
    for dry_run in [true, false] {
        let body =
            json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr", "dryRun": dry_run });
        let refused = app.post("api/restore", &body).await;
        refused.error(403, "Forbidden", Some("targetVault"));
    }
    assert_eq!(azure.vaults.requests(), []);
}

/// The operation was accepted, and its message waits, when the list becomes shorter.
#[tokio::test]
async fn a_waiting_restore_is_held_to_the_list_of_the_day_it_runs() {
    let azure = backed_up().await;
    let store = |folder| Arc::new(LocalStore::open(folder).unwrap());
    let repository = Repository::new(store(azure.backups()), store(azure.state()));
    let id = Uuid::new_v4();
    let request = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    let now = "2026-11-21T02:00:00Z".parse().unwrap();
    let mut operation = Operation::new(id, OperationKind::Restore, "contoso-prod".parse().unwrap(), request, now);
    operation.target_vault = Some("contoso-dr".parse().unwrap());
    repository.create_operation(&operation).await.unwrap();

    let app = azure.app_with(&[("RESTORE_TARGET_VAULTS", "contoso-other")]).await;
    app.host.enqueue("restore-jobs", &json!({ "operationId": id }).to_string()).await.unwrap();
    app.settle().await;
    let ended = app.get(&format!("api/operations/{id}")).await.body;
    assert_eq!(ended["status"], "Failed", "{ended}");
    assert!(ended.to_string().contains("RESTORE_TARGET_VAULTS does not name it"), "{ended}");
    assert_eq!(azure.vaults.requests(), []);
}

#[tokio::test]
async fn a_listed_vault_on_which_the_identity_has_no_role_is_left_alone() {
    let azure = backed_up().await;
    let identity = azure.vaults.directory().identity("restore");
    azure.vaults.directory().attach(&identity);
    let rights = documented("restore identity");
    azure.vaults.assign(&identity, "contoso-dr", &rights.iter().map(String::as_str).collect::<Vec<_>>());
    let client_id = identity.client_id.to_string();
    let settings = [("RESTORE_IDENTITY_CLIENT_ID", client_id.as_str())];
    let refused = azure.run_with(&settings, &["restore", "contoso-prod", "--to", "contoso-other"]).await;
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(
        refused.stderr.contains("vault contoso-other") && refused.stderr.contains("lacks Microsoft.KeyVault/vaults/")
    );
    assert!(azure.vaults.snapshot("contoso-other").items.is_empty());
    assert!(azure.vaults.requests().iter().all(|request| request.vault != "contoso-prod"), "the source is not asked");
    assert_eq!(azure.run_with(&settings, &RESTORE).await.code, 0);
}
