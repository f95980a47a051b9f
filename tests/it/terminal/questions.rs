//! What is asked before something is done that cannot be taken back, and what becomes of the answers.

use simulator::key_vault::{Delays, VaultOptions};

use super::{CTRL_C, CTRL_D, Ended, Terminal, WIDE, vault_of};
use crate::local_azure::{FUNCTION_KEY, LocalAzure};

const PRUNE: [&str; 3] = ["prune", "--backup-keep", "last=1"];
const REPLACE: [&str; 6] = ["restore", "contoso-prod", "--to", "contoso-dr", "--on-conflict", "replace"];

/// Waits for the question, and gives these keys as the answer.
async fn answer(azure: &LocalAzure, arguments: &[&str], question: &str, keys: &str) -> Ended {
    let mut terminal = Terminal::start(azure, &[], arguments, WIDE);
    terminal.wait_for(&format!("{question} [y/N]")).await;
    terminal.press(keys).await;
    terminal.end().await
}

#[tokio::test]
async fn a_prune_shows_what_would_go_and_only_a_yes_removes_it() {
    let azure = vault_of(5).await;
    for _ in 0..3 {
        assert_eq!(azure.run(&["backup", "--full"]).await.code, 0);
    }
    let manifests = azure.manifests("contoso-prod");
    let id = manifests[0].file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
    for no in ["n\r", "\r", "maybe\r", CTRL_D, CTRL_C] {
        let ended = answer(&azure, &PRUNE, "Remove them?", no).await;
        assert_eq!(ended.code, 130, "{no:?}: {ended:?}");
        assert!(ended.screen.contains("Vault contoso-prod: 2 of 3 backups"), "{}", ended.screen);
        assert!(ended.screen.contains(&id), "the backups are named: {}", ended.screen);
        assert!(ended.screen.contains("Stopped.") && ended.screen.contains("Nothing was changed."), "{ended:?}");
        assert_eq!(azure.manifests("contoso-prod"), manifests, "{no:?}");
    }
    let ended = answer(&azure, &PRUNE, "Remove them?", "y\r").await;
    assert_eq!((ended.code, azure.manifests("contoso-prod").len()), (0, 1), "{ended:?}");
    let nothing_to_ask = Terminal::start(&azure, &[], &PRUNE, WIDE).end().await;
    assert_eq!((nothing_to_ask.code, nothing_to_ask.screen.contains("[y/N]")), (0, false), "{nothing_to_ask:?}");
}

#[tokio::test]
async fn a_restore_shows_its_plan_and_names_what_it_would_replace() {
    let azure = vault_of(10).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    azure.vaults.set_secret("contoso-dr", "secret-00001", "in the way");
    let before = azure.vaults.snapshot("contoso-dr");
    let no = answer(&azure, &REPLACE, "Restore?", "no\r").await;
    assert_eq!(no.code, 130, "{no:?}");
    assert!(no.screen.contains("9 to restore, 1 to replace. It takes"), "{}", no.screen);
    assert!(no.screen.contains("To replace, after a safety copy: secrets/secret-00001."), "{}", no.screen);
    assert_eq!(before.differences(&azure.vaults.snapshot("contoso-dr")), Vec::<String>::new());
    assert!(!azure.state().join("operations").join("restore").exists(), "what was declined leaves no record");

    let yes = answer(&azure, &REPLACE, "Restore?", "yes\r").await;
    assert_eq!(yes.code, 0, "{yes:?}");
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_done_is_the_plan_that_was_shown_whatever_was_backed_up_meanwhile() {
    let azure = vault_of(3).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let shown = azure.vaults.snapshot("contoso-prod");
    let mut terminal = Terminal::start(&azure, &[], &["restore", "contoso-prod", "--to", "contoso-dr"], WIDE);
    terminal.wait_for("Restore? [y/N]").await;
    azure.vaults.set_secret("contoso-prod", "later", "x");
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    terminal.press("y\r").await;
    let ended = terminal.end().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(shown.differences(&azure.vaults.snapshot("contoso-dr")), Vec::<String>::new());
}

#[tokio::test]
async fn a_drill_and_an_acknowledgement_ask_too() {
    let azure = vault_of(10).await;
    let drills = VaultOptions { name: "contoso-drill".into(), delays: Delays::none(), ..Default::default() };
    azure.vaults.add_vault(drills);
    azure.vaults.assign(&azure.identity, "contoso-drill", simulator::key_vault::ALL_DATA_ACTIONS);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let drill = ["drill", "contoso-prod", "--into", "contoso-drill"];
    let no = answer(&azure, &drill, "Drill?", "\r").await;
    assert_eq!(no.code, 130, "{no:?}");
    assert!(no.screen.contains("all 10 items are restored into vault contoso-drill"), "{}", no.screen);
    let yes = answer(&azure, &drill, "Drill?", "y\r").await;
    assert!(yes.code == 0 && yes.screen.contains("Succeeded"), "{yes:?}");

    azure.vaults.lose_everything("contoso-prod");
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let acknowledge = ["guard", "acknowledge", "contoso-prod"];
    let no = answer(&azure, &acknowledge, "Was that meant?", "n\r").await;
    assert!(no.code == 130 && no.screen.contains("10 are gone"), "{no:?}");
    assert_eq!(azure.run(&["guard"]).await.code, 3, "it is still up");
    assert_eq!(answer(&azure, &acknowledge, "Was that meant?", "y\r").await.code, 0);
    assert_eq!(azure.run(&["guard"]).await.code, 0);
}

#[tokio::test]
async fn yes_on_the_command_line_asks_nothing() {
    let azure = vault_of(3).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let ended = Terminal::start(&azure, &[], &[&REPLACE[..], &["--yes"]].concat(), WIDE).end().await;
    assert_eq!((ended.code, ended.written.contains("[y/N]")), (0, false), "{ended:?}");
}

/// The app does it, and the person at the terminal is asked all the same.
#[tokio::test]
async fn what_the_app_is_to_do_is_asked_too_and_a_no_starts_nothing() {
    let azure = vault_of(10).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let app = azure.app().await;
    let url = app.host.url().as_str().trim_end_matches('/').to_owned();
    let changes = [("BACKUP_APP_URL", url.as_str()), ("BACKUP_APP_KEY", FUNCTION_KEY)];
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr"];
    for no in ["n\r", "\r", CTRL_D, CTRL_C] {
        let mut terminal = Terminal::start(&azure, &changes, &restore, WIDE);
        terminal.wait_for("10 to restore").await;
        terminal.wait_for("Restore? [y/N]").await;
        terminal.press(no).await;
        let ended = terminal.end().await;
        assert_eq!(ended.code, 130, "{no:?}: {ended:?}");
        assert!(ended.screen.contains("Stopped.") && ended.screen.contains("Nothing was changed."), "{ended:?}");
        assert!(!ended.written.contains(FUNCTION_KEY));
        let operations = app.get("api/operations").await.body;
        assert!(operations["value"].as_array().unwrap().iter().all(|row| row["kind"] != "restore"), "{operations}");
    }
    let mut terminal = Terminal::start(&azure, &changes, &restore, WIDE);
    terminal.wait_for("Restore? [y/N]").await;
    terminal.press("y\r").await;
    let ended = terminal.end().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
}

/// `--quiet` asks nothing, and takes nothing for a yes.
#[tokio::test]
async fn quiet_refuses_what_takes_something_away_unless_there_is_a_yes() {
    let azure = vault_of(3).await;
    for _ in 0..2 {
        assert_eq!(azure.run(&["backup", "--full"]).await.code, 0);
    }
    azure.vaults.set_secret("contoso-dr", "secret-00001", "in the way");
    let (manifests, target) = (azure.manifests("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    let purge = [&REPLACE[..4], &["--on-deleted", "purge"]].concat();
    let drill = ["drill", "contoso-prod", "--into", "contoso-dr"];
    let acknowledge = ["guard", "acknowledge", "contoso-prod"];
    for arguments in [&PRUNE[..], &REPLACE, &purge, &drill, &acknowledge] {
        let ended = Terminal::start(&azure, &[], &[arguments, &["--quiet"]].concat(), WIDE).end().await;
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.screen.contains("give --yes") && !ended.written.contains("[y/N]"), "{arguments:?}: {ended:?}");
    }
    assert_eq!(azure.manifests("contoso-prod"), manifests);
    assert_eq!(target.differences(&azure.vaults.snapshot("contoso-dr")), Vec::<String>::new());
    let ended = Terminal::start(&azure, &[], &[&PRUNE[..], &["--quiet", "--yes"]].concat(), WIDE).end().await;
    assert_eq!((ended.code, azure.manifests("contoso-prod").len()), (0, 1), "{ended:?}");
}
