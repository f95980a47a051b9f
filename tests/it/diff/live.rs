//! The command and the HTTP API, with the real binary.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use simulator::key_vault::{Fault, Kind, Operation, Verb};

use crate::local_azure::{Answer, LocalAzure};

const HOUR: Duration = Duration::from_secs(3600);

/// A vault with two backups between which a few things changed, and more that changed since.
async fn changed() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    let vaults = &azure.vaults;
    vaults.seed("contoso-prod", 10);
    vaults.clock().advance(HOUR);
    assert_eq!(azure.run(&["backup", "--label", "first"]).await.code, 0);
    vaults.clock().advance(HOUR);
    vaults.set_secret("contoso-prod", "secret-00001", "rotated");
    vaults.set_enabled("contoso-prod", Kind::Key, "key-00004", false);
    vaults.set_secret("contoso-prod", "new", "x");
    // The program's clock does not stand still for the vault's; a full backup does not mind.
    assert_eq!(azure.run(&["backup", "--label", "second", "--full"]).await.code, 0);
    vaults.clock().advance(HOUR);
    vaults.delete_now("contoso-prod", Kind::Secret, "new");
    vaults.set_secret("contoso-prod", "secret-00000", "rotated");
    azure
}

/// Item and changes of a JSON comparison.
fn rows(body: &Value) -> Vec<String> {
    let rows = body["differences"].as_array().unwrap_or_else(|| panic!("{body}"));
    let words = |row: &Value| -> Vec<String> {
        row["changes"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    rows.iter()
        .map(|row| {
            format!("{}/{}: {}", row["kind"].as_str().unwrap(), row["name"].as_str().unwrap(), words(row).join(", "))
        })
        .collect()
}

const BETWEEN: [&str; 3] =
    ["keys/key-00004: disabled", "secrets/new: added", "secrets/secret-00001: rotated, attributes"];
const SINCE: [&str; 2] = ["secrets/new: removed", "secrets/secret-00000: rotated, attributes"];

#[tokio::test]
async fn the_command_shows_what_changed_and_ends_like_the_program_diff() {
    let azure = changed().await;
    let table = azure.run(&["diff", "contoso-prod"]).await;
    assert_eq!((table.code, table.stderr.as_str()), (1, ""), "{table:?}");
    let lines: Vec<&str> = table.stdout.lines().collect();
    let row = lines.iter().find(|line| line.contains("keys/key-00004")).unwrap();
    assert!(row.contains("disabled"), "{table:?}");
    let end = lines.last().unwrap();
    assert!(end.contains(" (first) of vault contoso-prod to backup "), "{end}");
    assert!(
        end.ends_with(
            " (second) of vault contoso-prod: 1 added, 1 rotated, 1 disabled, 1 with other attributes, 8 the same."
        ),
        "{end}"
    );

    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&["contoso-prod"], 1, &BETWEEN),
        (&["contoso-prod", "first"], 1, &BETWEEN),
        (&["contoso-prod", "first", "second"], 1, &BETWEEN),
        (&["contoso-prod", "first", "first"], 0, &[]),
        (&["contoso-prod", "latest"], 0, &[]),
        (&["contoso-prod", "--live"], 1, &SINCE),
        (&["contoso-prod", "second", "--live"], 1, &SINCE),
        (&["contoso-prod", "second", "--with", "contoso-prod"], 0, &[]),
    ];
    for (arguments, code, wanted) in cases {
        let ran = azure.run(&[&["diff", "--output", "json"], arguments].concat()).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{arguments:?}: {ran:?}");
        assert_eq!(rows(&ran.json()), wanted, "{arguments:?}");
    }
    azure.assert_all_known();
    let same = azure.run(&["diff", "contoso-prod", "second", "second"]).await;
    assert!(same.stdout.starts_with("From backup ") && same.stdout.ends_with(": 11 the same.\n"), "{same:?}");
}

#[tokio::test]
async fn a_restored_vault_can_be_compared_with_the_backup_it_came_from() {
    let azure = changed().await;
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr", "--backup", "second"];
    assert_eq!(azure.run(&restore).await.code, 0);
    let live = ["diff", "contoso-prod", "second", "--live", "--with", "contoso-dr"];
    let same = azure.run(&live).await;
    assert_eq!(same.code, 0, "{same:?}");
    assert!(same.stdout.ends_with("to vault contoso-dr as it is now: 11 the same.\n"), "{same:?}");
    azure.vaults.set_secret("contoso-dr", "odd", "x");
    assert_eq!(azure.run(&live).await.code, 1);
    // Two vaults by their backups.
    assert_eq!(azure.run(&["backup", "contoso-dr"]).await.code, 0);
    let both = azure.run(&["diff", "contoso-prod", "--with", "contoso-dr", "--output", "json"]).await;
    assert_eq!((both.code, rows(&both.json())), (1, vec!["secrets/odd: added".to_owned()]));
}

#[tokio::test]
async fn a_kind_that_cannot_be_listed_is_told_and_never_taken_for_an_empty_one() {
    let azure = changed().await;
    azure.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::List)));
    let part = azure.run(&["diff", "contoso-prod", "--live"]).await;
    assert_eq!(part.code, 3, "{part:?}");
    assert!(part.stdout.ends_with("as it is now: 6 the same.\n"), "{part:?}");
    assert!(part.stderr.contains("5 items could not be compared") && part.stderr.contains("secrets"), "{part:?}");
    let json = azure.run(&["diff", "contoso-prod", "--live", "--output", "json"]).await;
    let body = json.json();
    assert_eq!((json.code, rows(&body), &body["counts"]["notCompared"]), (3, Vec::new(), &json!(5)));
    assert_eq!((&body["failures"][0]["kind"], &body["failures"][0]["code"]), (&json!("secrets"), &json!("Forbidden")));

    azure.vaults.unassign(&azure.identity, "contoso-prod");
    let none = azure.run(&["diff", "contoso-prod", "--live"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (6, ""), "{none:?}");
    assert!(none.stderr.contains("Vault contoso-prod could not be listed at all."), "{none:?}");
}

#[tokio::test]
async fn what_cannot_be_compared_says_why() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let none = azure.run(&["diff", "contoso-prod"]).await;
    assert_eq!(none.code, 4, "{none:?}");
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let one = azure.run(&["diff", "contoso-prod"]).await;
    assert_eq!(one.code, 4);
    assert!(one.stderr.contains("has no backup before ") && one.stderr.contains("`--live`"), "{one:?}");
    assert_eq!(azure.run(&["diff", "contoso-prod", "--live"]).await.code, 0);
    assert_eq!(azure.run(&["diff", "contoso-prod", "latest", "latest", "--live"]).await.code, 2);
    assert_eq!(azure.run(&["diff", "contoso-prod", "What?"]).await.code, 2);
    assert_eq!(azure.run(&["diff", "contoso-prod", "no-such-label"]).await.code, 4);
    // A damaged backup is passed over where nobody asked for it, and refused where somebody did.
    assert_eq!(azure.run(&["backup", "--full"]).await.code, 0);
    let damaged = azure.manifests("contoso-prod")[0].with_file_name("20991231T235959Z-00000000.broken.json");
    fs::write(damaged, "{").unwrap();
    assert_eq!(azure.run(&["diff", "contoso-prod"]).await.code, 0);
    assert_eq!(azure.run(&["diff", "contoso-prod", "latest", "broken"]).await.code, 7);
}

#[tokio::test]
async fn the_api_compares_a_backup_with_another_one_or_the_vault_page_by_page() {
    let azure = changed().await;
    let app = azure.app().await;
    for (path, wanted) in [
        ("api/backups/contoso-prod/first?compare=second", &BETWEEN[..]),
        ("api/backups/contoso-prod/first?compare=latest", &BETWEEN),
        ("api/backups/contoso-prod/latest?compare=live", &SINCE),
        ("api/backups/contoso-prod/second?compare=second", &[]),
    ] {
        let whole = app.get(path).await;
        assert_eq!((whole.status, rows(&whole.body)), (200, wanted.iter().map(ToString::to_string).collect()));
        assert_eq!(whole.body.get("nextLink"), None);
        let mut paged = Vec::new();
        let mut next = format!("{path}&top=2");
        loop {
            let page = app.get(&next).await;
            assert_eq!((page.status, &page.body["counts"]), (200, &whole.body["counts"]), "{page:?}");
            paged.extend(page.body["differences"].as_array().unwrap().iter().cloned());
            match page.body["nextLink"].as_str() {
                Some(link) => next = link.to_owned(),
                None => break,
            }
        }
        assert_eq!(json!(paged), whole.body["differences"]);
    }
    let live = app.get("api/backups/contoso-prod/latest?compare=live").await.body;
    assert_eq!(live["to"], json!({ "vault": "contoso-prod", "live": true }));
    let rotated = &live["differences"][1];
    assert_eq!(rotated["to"].get("version"), None, "a listing shows no version");
    assert!(rotated["from"]["version"].is_string() && rotated["to"]["attributes"]["created"].is_string(), "{rotated}");

    let refused = |answer: Answer, status, code| answer.error(status, code, Some("compare")).to_owned();
    for path in ["api/backups?compare=live", "api/backups/contoso-prod?compare=latest"] {
        assert!(refused(app.get(path).await, 400, "InvalidInput").contains("stands behind a backup"));
    }
    for wrong in ["What%3F", ""] {
        refused(app.get(&format!("api/backups/contoso-prod/first?compare={wrong}")).await, 400, "InvalidInput");
    }
    refused(app.get("api/backups/contoso-prod/first?compare=no-such-label").await, 404, "NotFound");
    let elsewhere = azure.app_with(&[("BACKUP_VAULTS", "contoso-dr")]).await;
    azure.vaults.reset_log();
    let answer = elsewhere.get("api/backups/contoso-prod/first?compare=live").await;
    assert!(refused(answer, 400, "InvalidInput").contains("add it to BACKUP_VAULTS"));
    assert_eq!(azure.vaults.requests(), []);
    azure.assert_all_known();
}
