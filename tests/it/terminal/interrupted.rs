//! Ctrl-C while a command is at work: what was done is said, and the next command goes on.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use simulator::mishap::Mishap;
use warp::http::request::Parts;

use super::{CTRL_C, SLOW, Terminal, WIDE, vault_of};
use crate::{
    local_azure::{LIMIT, LocalAzure},
    rights::storage::{DELETE, READ, Storage, Trouble, WRITE},
};

#[tokio::test]
async fn a_backup_that_is_stopped_says_how_far_it_was_and_the_next_one_is_whole() {
    let azure = vault_of(20).await;
    let mut terminal = Terminal::start(&azure, &[SLOW], &["backup"], WIDE);
    terminal.wait_for_done(5, 20).await;
    terminal.press(CTRL_C).await;
    let ended = terminal.end().await;
    assert_eq!(ended.code, 130, "{ended:?}");
    let lines: Vec<&str> = ended.screen.lines().map(str::trim_end).collect();
    assert!(lines[0] == "Stopped.", "nothing is left of the bar: {lines:?}");
    let account = lines.iter().find(|line| line.starts_with("Backing up contoso-prod: ")).expect("how far it was");
    assert!(account.ends_with(" of 20 done."), "{account}");
    assert!(ended.screen.contains("Give the same command again"), "{}", ended.screen);
    assert_eq!(azure.manifests("contoso-prod").len(), 0, "no backup is half one");

    let again = azure.run(&["backup", "--output", "json"]).await;
    assert_eq!((again.code, again.json()["value"][0]["status"].as_str()), (0, Some("Succeeded")), "{again:?}");
}

#[tokio::test]
async fn a_restore_that_is_stopped_names_the_id_by_which_it_goes_on() {
    let azure = vault_of(20).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr", "--yes"];
    // A quarter of the requests may be restores.
    let slow = ("BACKUP_REQUESTS_PER_SECOND", "40");
    let mut terminal = Terminal::start(&azure, &[slow], &restore, WIDE);
    terminal.wait_for_done(3, 20).await;
    terminal.press(CTRL_C).await;
    let ended = terminal.end().await;
    assert_eq!(ended.code, 130, "{ended:?}");
    assert!(ended.screen.contains("Restoring into contoso-dr: "), "{}", ended.screen);
    let (_, id) = ended.screen.split_once("--resume ").expect("the id");
    let id = id.split('.').next().unwrap();

    let resumed = azure.run(&[&restore[..], &["--resume", id, "--output", "json"]].concat()).await;
    assert_eq!((resumed.code, resumed.json()["id"].as_str()), (0, Some(id)), "{resumed:?}");
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
}

#[tokio::test]
async fn a_command_that_only_looks_stops_too_and_says_that_nothing_was_changed() {
    let azure = vault_of(5).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let slow = ("BACKUP_REQUESTS_PER_SECOND", "1");
    for arguments in
        [&["diff", "contoso-prod", "--live"][..], &["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"]]
    {
        let mut terminal = Terminal::start(&azure, &[slow], arguments, WIDE);
        terminal.wait_for("o").await;
        terminal.press(CTRL_C).await;
        let ended = terminal.end().await;
        assert_eq!(ended.code, 130, "{ended:?}");
        assert!(ended.screen.contains("Stopped.\nNothing was changed."), "{}", ended.screen);
    }
}

#[tokio::test]
async fn who_asks_twice_does_not_wait_for_a_lease_to_be_given_back() {
    let (azure, storage) = in_storage().await;
    storage.upset(|head| {
        let action = head.headers.get("x-ms-lease-action").and_then(|action| action.to_str().ok());
        (action == Some("release")).then_some(Trouble::Before(Mishap::Hang))
    });
    let url = storage.url();
    let settings = [("BACKUP_STORE_URL", url.as_str()), SLOW];
    let mut terminal = Terminal::start(&azure, &settings, &["backup", "--full"], WIDE);
    terminal.wait_for_done(1, 20).await;
    terminal.press(CTRL_C).await;
    terminal.wait_for("Give the same command again").await;
    terminal.press(CTRL_C).await;
    let ended = terminal.end().await;
    assert_eq!(ended.code, 130, "{ended:?}");
    assert_eq!(ended.screen.matches("Ended at once, which damages nothing: ").count(), 1, "{}", ended.screen);
    assert_eq!(ended.screen.matches("Stopped.").count(), 1, "{}", ended.screen);
}

/// Three backups of their own blobs in a storage account, whose requests of one sort are answered a few times and then
/// never again.
async fn in_storage() -> (LocalAzure, Arc<Storage>) {
    let storage = Storage::create().await;
    let azure = LocalAzure::altered(&["contoso-prod", "contoso-dr"], |services| storage.behind(services)).await;
    for container in [storage.backups(), storage.state()] {
        storage.grant(&azure.identity, &container, &[READ, WRITE, DELETE]);
    }
    azure.vaults.seed("contoso-prod", 20);
    for _ in 0..3 {
        let ran = azure.run_with(&[("BACKUP_STORE_URL", &storage.url())], &["backup", "--full"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    (azure, storage)
}

/// Gives the command, lets so many of these requests be answered, waits until another one is never answered, and stops
/// the command.
async fn stopped_after(
    azure: &LocalAzure,
    storage: &Storage,
    answered: u32,
    of: fn(&Parts) -> bool,
    arguments: &[&str],
) -> String {
    let asked = Arc::new(AtomicU32::new(0));
    let seen = asked.clone();
    storage.upset(move |head| {
        (of(head) && seen.fetch_add(1, SeqCst) >= answered).then_some(Trouble::Before(Mishap::Hang))
    });
    let mut terminal = Terminal::start(azure, &[("BACKUP_STORE_URL", &storage.url())], arguments, WIDE);
    let half_way = async {
        // The screen is read meanwhile, or the command would wait for the terminal.
        while asked.load(SeqCst) <= answered {
            assert!(terminal.read().await, "it ended: {}", terminal.shows());
        }
    };
    tokio::time::timeout(LIMIT, half_way).await.expect("it is half way");
    terminal.press(CTRL_C).await;
    let ended = terminal.end().await;
    storage.calm();
    assert_eq!(ended.code, 130, "{ended:?}");
    assert!(ended.screen.starts_with("Stopped.\n"), "nothing is left of the bar: {}", ended.screen);
    ended.screen
}

#[tokio::test]
async fn a_verification_that_is_stopped_half_way_says_how_far_it_was_and_the_next_one_ends() {
    let (azure, storage) = in_storage().await;
    let is_item = |head: &Parts| head.method == "GET" && head.uri.path().contains("items");
    let said = stopped_after(&azure, &storage, 10, is_item, &["verify"]).await;
    assert!(said.contains("Verifying contoso-prod: "), "{said}");
    assert!(said.contains("Nothing was changed. Give the same command again: it goes on where it was."), "{said}");

    let before = storage.log().len();
    let url = storage.url();
    let again = azure.run_with(&[("BACKUP_STORE_URL", &url)], &["verify", "--output", "json"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    let result = &again.json()["value"][0]["counts"];
    assert_eq!((&result["soundBackups"], &result["blobs"]), (&3.into(), &60.into()), "{result}");
    assert!(storage.log().len() > before);
}

#[tokio::test]
async fn a_prune_that_is_stopped_half_way_leaves_whole_backups_only_and_the_next_one_removes_the_rest() {
    let (azure, storage) = in_storage().await;
    let url = storage.url();
    let (at, prune) = ([("BACKUP_STORE_URL", url.as_str())], ["prune", "--backup-keep", "last=1", "--yes"]);
    let is_removal = |head: &Parts| head.method == "DELETE" && head.uri.path().contains("vaults");
    // Of the two that are to go, one is gone.
    let said = stopped_after(&azure, &storage, 1, is_removal, &prune).await;
    assert!(said.contains("What was removed is gone, and every backup that is listed is whole."), "{said}");
    assert!(said.contains("Give the same command again: it removes the rest."), "{said}");
    let sound = async || {
        let verified = azure.run_with(&at, &["verify", "--output", "json"]).await;
        assert_eq!(verified.code, 0, "{verified:?}");
        let result = &verified.json()["value"][0]["counts"];
        assert_eq!(result["backups"], result["soundBackups"], "{result}");
        result["backups"].as_u64().unwrap()
    };
    assert_eq!(sound().await, 2);
    assert_eq!(azure.run_with(&at, &prune).await.code, 0);
    assert_eq!(sound().await, 1);
}
