//! What may have been meant, when a name is not known: names only, never more.

use crate::{local_azure::LocalAzure, remote::by_app};

#[tokio::test]
async fn a_slip_in_the_name_of_a_vault_a_backup_or_an_item_is_answered_with_the_nearest_name() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 10);
    azure.vaults.set_secret("contoso-prod", "db-password", "canary-value");
    assert_eq!(azure.run(&["backup", "--label", "before-upgrade"]).await.code, 0);
    let id = azure.run(&["list", "contoso-prod", "--output", "json"]).await.json()["value"][0]["id"].clone();
    let id = id.as_str().unwrap();
    let cut_off = &id[..id.len() - 1];
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr"];
    let meant_id = format!("Did you mean {id}?");
    let drill = ["--into", "contoso-dr", "--yes"];
    let rows: [(&[&str], i32, &str); 24] = [
        (&["show", "contoso-prdo"], 4, "Did you mean contoso-prod?"),
        (&["list", "contso-prod"], 4, "Did you mean contoso-prod?"),
        (&["verify", "contoso-prdo"], 4, "Did you mean contoso-prod?"),
        (&["status", "contoso-prdo"], 4, "Did you mean contoso-prod?"),
        (&["guard", "contoso-prdo"], 4, "Did you mean contoso-prod?"),
        (&["prune", "contoso-prdo", "--backup-keep", "last=1", "--yes"], 4, "Did you mean contoso-prod?"),
        (&["show", "contoso-prod", "befor-upgrade"], 4, "Did you mean before-upgrade?"),
        (&["show", "contoso-prod", "lates"], 4, "Did you mean latest?"),
        (&["show", "contoso-prod", cut_off], 2, &meant_id),
        (&["diff", "contoso-prod", "before-up", "--live"], 4, "Did you mean before-upgrade?"),
        (&["restore", "contoso-prod", "--to", "contoso-rd"], 6, "Did you mean contoso-dr?"),
        (&["restore", "contoso-prod", "contoso-dr"], 2, "the vault to restore into is named with '--to contoso-dr'"),
        (&[&restore[..], &["--backup", "before_upgrade"]].concat(), 2, "Did you mean before-upgrade?"),
        (&[&restore[..], &["--items", "secrets/db-pasword"]].concat(), 2, "Did you mean secrets/db-password?"),
        (&["backup", "contoso-prdo"], 4, "Did you mean contoso-prod?"),
        (&["restore", "contoso-prdo", "--to", "contoso-dr"], 4, "Did you mean contoso-prod?"),
        (&["restore", "contoso-prdo", "--to", "contoso-dr", "--dry-run"], 4, "Did you mean contoso-prod?"),
        (&[&["drill", "contoso-prdo"][..], &drill].concat(), 4, "Did you mean contoso-prod?"),
        (
            &[&["drill", "contoso-prod", "--backup", "befor-upgrade"][..], &drill].concat(),
            4,
            "Did you mean before-upgrade?",
        ),
        (&["diff", "contoso-prdo"], 4, "Did you mean contoso-prod?"),
        (&["diff", "contoso-prdo", "--live"], 4, "Did you mean contoso-prod?"),
        (&["diff", "contoso-prod", "--with", "contoso-prdo"], 4, "Did you mean contoso-prod?"),
        (&["guard", "acknowledge", "contoso-prdo", "--yes"], 4, "Did you mean contoso-prod?"),
        (&["copy", "contoso-prdo", "--to", "file:///nowhere/at/all"], 4, "Did you mean contoso-prod?"),
    ];
    for (arguments, code, meant) in rows {
        let ran = azure.run(arguments).await;
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(meant), "{arguments:?} lacks {meant}: {ran:?}");
        // A host that is not there is said in our words.
        assert!(!ran.stderr.contains("reqwest") && !ran.stderr.contains("error sending"), "{ran:?}");
        let json = azure.run(&[arguments, &["--output", "json"]].concat()).await;
        assert!(json.code == code && json.stdout.contains(meant), "{arguments:?} lacks {meant}: {json:?}");
        assert!(!format!("{ran:?}{json:?}").contains("canary-value"));
    }
    let far = azure.run(&["show", "fabrikam"]).await;
    assert!(far.code == 4 && !far.stderr.contains("Did you mean"), "{far:?}");
}

/// Somebody who has the key of the app and nothing else.
#[tokio::test]
async fn the_app_answers_a_slip_in_the_name_of_a_vault_in_the_same_way() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 3);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let app = azure.app_with(&[("BACKUP_KEEP", "last=1")]).await;
    let asked = azure.vaults.requests().len();
    for (arguments, code) in [
        (&["list", "contoso-prdo"][..], 4),
        (&["show", "contoso-prdo"], 4),
        (&["status", "contoso-prdo"], 4),
        (&["status", "contoso-prod", "contoso-prdo"], 4),
        (&["guard", "contoso-prdo"], 4),
        (&["guard", "acknowledge", "contoso-prdo", "--yes"], 4),
        (&["verify", "contoso-prdo"], 4),
        (&["prune", "contoso-prdo", "--dry-run"], 4),
        (&["diff", "contoso-prdo"], 4),
        (&["diff", "contoso-prod", "--live", "--with", "contoso-prdo"], 6),
        (&["restore", "contoso-prdo", "--to", "contoso-dr"], 4),
        (&["backup", "contoso-prdo"], 2),
    ] {
        let ran = by_app(&app, arguments).await;
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("Did you mean contoso-prod?"), "{arguments:?}: {ran:?}");
    }
    let far = by_app(&app, &["status", "fabrikam"]).await;
    assert!(far.code == 3 && !far.stderr.contains("Did you mean"), "{far:?}");
    assert_eq!(azure.vaults.requests().len(), asked, "nothing was begun");
    let own = azure.run(&["guard", "acknowledge", "contoso-prdo", "--yes"]).await;
    assert!(own.code == 4 && own.stderr.contains("Did you mean contoso-prod?"), "{own:?}");
}
