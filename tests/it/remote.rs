//! Commands that the deployed app does for somebody without rights: the real program with `--app`, against the real handler
//! behind the Functions host, and against things that only answer at its address.

mod access;
mod answers;
mod operations;

use serde_json::{Value, json};
use simulator::key_vault::{Fault, Kind, Operation, Verb};

use crate::local_azure::{App, FUNCTION_KEY, LocalAzure, Ran, Settings, run};

const VAULT: &str = "contoso-prod";
const OTHER: &str = "contoso-test";
const TARGET: &str = "contoso-dr";

/// What the environment of somebody without rights holds: neither a store nor a vault nor an identity.
fn environment(app: &App) -> Settings {
    let url = app.host.url().as_str().trim_end_matches('/').to_owned();
    [("BACKUP_APP_URL".to_owned(), url), ("BACKUP_APP_KEY".to_owned(), FUNCTION_KEY.to_owned())].into()
}

/// Runs a command in that environment. Whatever it prints, the key is not in it.
pub(crate) async fn by_app(app: &App, arguments: &[&str]) -> Ran {
    let ran = run(&environment(app), arguments).await;
    assert!(!ran.stdout.contains(FUNCTION_KEY) && !ran.stderr.contains(FUNCTION_KEY), "{ran:?}");
    ran
}

/// Two vaults with four backups in all: one has a label, the newest is incomplete and has the guard up.
async fn with_backups() -> (LocalAzure, App) {
    let azure = LocalAzure::with(&[VAULT, OTHER, TARGET]).await;
    azure.vaults.seed(VAULT, 30);
    azure.vaults.seed(OTHER, 3);
    (0..10).for_each(|number| drop(azure.vaults.set_secret(VAULT, &format!("lost-{number}"), "x")));
    assert_eq!(azure.run(&["backup", VAULT]).await.code, 0);
    assert_eq!(azure.run(&["backup", VAULT, "--label", "before-upgrade"]).await.code, 0);
    assert_eq!(azure.run(&["backup", OTHER]).await.code, 0);
    for number in 0..10 {
        azure.vaults.delete_now(VAULT, Kind::Secret, &format!("lost-{number}"));
    }
    azure.vaults.set_secret(VAULT, "unlucky", "x");
    azure.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)));
    assert_eq!(azure.run(&["backup", VAULT]).await.code, 3);
    azure.vaults.clear_faults();
    let app = azure.app_with(&[("BACKUP_KEEP", "last=1")]).await;
    (azure, app)
}

/// Without what a clock moves on.
fn timeless(ran: &Ran) -> (i32, String, String) {
    let mut stdout = ran.stdout.clone();
    if let Ok(mut body) = serde_json::from_str::<Value>(&stdout) {
        for row in body["value"].as_array_mut().into_iter().flatten() {
            row.as_object_mut().and_then(|row| row.remove("ageSeconds"));
        }
        stdout = body.to_string();
    }
    (ran.code, stdout, ran.stderr.clone())
}

#[tokio::test]
async fn whatever_is_looked_at_is_told_in_the_same_words_with_the_same_exit_code() {
    let (azure, app) = with_backups().await;
    let first = azure.run(&["show", VAULT, "before-upgrade", "--output", "json"]).await.json();
    let id = first["id"].as_str().unwrap();
    let commands: &[(&[&str], i32)] = &[
        (&["list"], 0),
        (&["list", VAULT], 0),
        (&["list", "https://contoso-prod.vault.azure.net"], 0),
        (&["list", "contoso-nowhere"], 4),
        (&["show", VAULT], 0),
        (&["show", VAULT, "before-upgrade"], 0),
        (&["show", VAULT, id], 0),
        (&["show", VAULT, "2099-01-01T00:00:00Z"], 0),
        (&["show", VAULT, "no-such-label"], 4),
        (&["show", VAULT, "Not-A-Name"], 2),
        (&["show", "x"], 2),
        (&["status"], 3),
        (&["status", OTHER], 0),
        (&["status", TARGET, OTHER, VAULT], 3),
        (&["diff", VAULT], 1),
        (&["diff", VAULT, "before-upgrade"], 1),
        (&["diff", VAULT, "latest", "before-upgrade"], 1),
        (&["diff", VAULT, "--live"], 3),
        (&["diff", VAULT, "before-upgrade", "--live"], 1),
        (&["diff", VAULT, "before-upgrade", "--with", OTHER], 1),
        (&["diff", OTHER, "--with", VAULT, "--live"], 1),
        (&["diff", OTHER], 4),
        (&["diff", TARGET], 4),
        (&["guard"], 3),
        (&["guard", OTHER], 0),
        (&["guard", "acknowledge", OTHER, "--yes"], 4),
        (&["guard", "acknowledge", VAULT], 2),
        (&["prune", "--dry-run"], 3),
        (&["prune", OTHER, VAULT, "--dry-run"], 3),
        (&["restore", VAULT, "--to", TARGET, "--dry-run"], 0),
        (&["restore", VAULT, "--to", TARGET, "--backup", "before-upgrade", "--items", "keys/*", "--dry-run"], 0),
        (&["restore", VAULT, "--to", OTHER, "--dry-run", "--on-conflict", "fail"], 0),
        (&["restore", VAULT, "--to", VAULT, "--dry-run"], 6),
        (&["restore", VAULT, "--to", TARGET, "--backup", "no-such-label"], 4),
        (&["restore", VAULT, "--to", TARGET, "--items", "keys/no-such-*"], 2),
        (&["operations"], 0),
        (&["operations", "--newest", "1"], 0),
        (&["operations", "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01"], 4),
        (&["drill", VAULT, "--yes"], 2),
    ];
    for (arguments, code) in commands {
        for output in ["table", "json"] {
            let arguments = [*arguments, &["--output", output]].concat();
            let direct = azure.run_with(&[("BACKUP_KEEP", "last=1")], &arguments).await;
            let remote = by_app(&app, &arguments).await;
            assert_eq!(timeless(&remote), timeless(&direct), "{arguments:?}");
            assert_eq!(remote.code, *code, "{arguments:?}: {remote:?}");
        }
    }
    azure.assert_all_known();
}

#[tokio::test]
async fn a_damaged_backup_is_listed_and_refused_as_it_is_directly() {
    let (azure, app) = with_backups().await;
    let newest = azure.manifests(VAULT).pop().unwrap();
    azure.make_newer(&newest);
    std::fs::write(azure.manifests(OTHER).pop().unwrap(), "{").unwrap();
    for (arguments, code) in [
        (&["list"][..], 7),
        (&["list", VAULT], 7),
        (&["show", OTHER], 7),
        (&["status"], 3),
        (&["guard"], 7),
        (&["guard", VAULT, OTHER], 7),
        (&["diff", OTHER, "--live"], 7),
    ] {
        for output in ["table", "json"] {
            let arguments = [arguments, &["--output", output]].concat();
            let (direct, remote) = (azure.run(&arguments).await, by_app(&app, &arguments).await);
            assert_eq!(timeless(&remote), timeless(&direct), "{arguments:?}");
            assert_eq!(remote.code, code, "{arguments:?}: {remote:?}");
        }
    }
}

#[tokio::test]
async fn damage_that_is_known_is_told_wherever_a_backup_is_chosen_until_it_is_gone() {
    let (azure, app) = with_backups().await;
    // Those are in the first two backups of three.
    let blobs = azure.items(VAULT).into_iter().filter(|path| path.to_string_lossy().contains("lost-3"));
    let blobs: Vec<_> = blobs.map(|blob| (std::fs::read(&blob).unwrap(), blob)).collect();
    blobs.iter().for_each(|(_, blob)| std::fs::remove_file(blob).unwrap());
    let both = async |arguments: &[&str]| {
        let (direct, remote) = (azure.run(arguments).await, by_app(&app, arguments).await);
        assert_eq!(timeless(&remote), timeless(&direct), "{arguments:?}");
        remote
    };
    let damaged = async || {
        let rows = both(&["list", VAULT, "--output", "json"]).await.json()["value"].take();
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row.get("damaged").is_some_and(|damaged| damaged == true)).collect::<Vec<_>>()
    };
    assert_eq!(damaged().await, [false; 3], "nobody has looked");
    assert_eq!(azure.run(&["verify", VAULT]).await.code, 7);

    assert_eq!(damaged().await, [false, true, true]);
    let list = both(&["list", VAULT]).await;
    assert_eq!(list.stdout.matches("Succeeded, damaged").count(), 2, "{}", list.stdout);
    let words = "The last verification found damage in backup ";
    for (arguments, is_told) in [
        (&["show", VAULT, "before-upgrade"][..], true),
        (&["show", VAULT], false),
        (&["restore", VAULT, "--to", TARGET, "--backup", "before-upgrade", "--dry-run"], true),
        (&["restore", VAULT, "--to", TARGET, "--dry-run"], false),
    ] {
        let ran = both(arguments).await;
        assert_eq!((ran.code, ran.stderr.contains(words)), (0, is_told), "{ran:?}");
        let json = both(&[arguments, &["--output", "json"]].concat()).await.json();
        let told = json["damaged"] == true || json["warnings"].to_string().contains(words);
        assert_eq!(told, is_told, "{json}");
    }

    blobs.iter().for_each(|(text, blob)| std::fs::write(blob, text).unwrap());
    assert_eq!(azure.run(&["verify", VAULT]).await.code, 0);
    assert_eq!(damaged().await, [false; 3]);
    assert!(!both(&["list", VAULT]).await.stdout.contains("damaged"));
}

#[tokio::test]
async fn a_vault_with_more_trouble_than_is_shown_says_how_much_more() {
    let azure = LocalAzure::with(&[VAULT]).await;
    (0..25).for_each(|number| drop(azure.vaults.set_secret(VAULT, &format!("unlucky-{number:02}"), "x")));
    azure.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)));
    azure.vaults.create_key(VAULT, "lucky", "EC");
    assert_eq!(azure.run(&["backup"]).await.code, 3);
    let app = azure.app().await;
    let (direct, remote) = (azure.run(&["status"]).await, by_app(&app, &["status"]).await);
    assert!(remote.stderr.contains("5 more; see them all with"), "{remote:?}");
    assert_eq!(timeless(&remote), timeless(&direct));
}

#[tokio::test]
async fn where_nothing_is_stored_the_app_is_named_as_the_place() {
    let azure = LocalAzure::with(&[VAULT, TARGET]).await;
    let app = azure.app_with(&[("BACKUP_VAULTS", "")]).await;
    let place = format!("the app at 127.0.0.1:{}", app.host.url().port().unwrap());
    let list = by_app(&app, &["list"]).await;
    assert_eq!(list.code, 0);
    assert!(list.stdout.starts_with(&format!("There is no backup in {place}.")), "{list:?}");
    let verify = by_app(&app, &["verify"]).await;
    assert_eq!(verify.code, 4, "{verify:?}");
    assert!(verify.stderr.contains(&format!("There is no backup in {place}")), "{verify:?}");
    let backup = by_app(&app, &["backup"]).await;
    assert!(backup.code == 2 && backup.stderr.contains("BACKUP_VAULTS is empty"), "{backup:?}");
    let backup = by_app(&app, &["backup", VAULT]).await;
    assert!(backup.code == 2 && backup.stderr.contains("is not in scope"), "{backup:?}");
    assert_eq!(app.get("api/operations").await.body["value"], json!([]));
}

#[tokio::test]
async fn long_answers_are_of_one_moment_and_a_vault_is_listed_once_for_them() {
    const ITEMS: usize = 1100;
    let azure = LocalAzure::with(&[VAULT]).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    (0..ITEMS).for_each(|number| drop(azure.vaults.set_secret(VAULT, &format!("secret-{number:05}"), "x")));
    let app = azure.app().await;
    let diff = ["diff", VAULT, "--live", "--output", "json"];
    azure.vaults.reset_log();
    let here = azure.run(&diff).await;
    let requests = azure.vaults.requests().len();
    azure.vaults.reset_log();
    let there = by_app(&app, &diff).await;
    assert_eq!(azure.vaults.requests().len(), requests);
    assert_eq!((there.code, there.json()["differences"].as_array().map(Vec::len)), (1, Some(ITEMS)));
    assert_eq!(timeless(&there), timeless(&here));

    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let show = ["show", VAULT, "--output", "json"];
    let (here, there) = (azure.run(&show).await, by_app(&app, &show).await);
    assert_eq!(there.json()["items"].as_array().map(Vec::len), Some(ITEMS));
    assert_eq!(timeless(&there), timeless(&here));
}
