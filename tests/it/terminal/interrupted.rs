//! Ctrl-C while a command is at work: what was done is said, and the next command goes on.

use std::{fs, process::Command};

use super::{CTRL_C, SLOW, Terminal, WIDE, vault_of};

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
async fn who_asks_twice_does_not_wait_for_a_disk_that_hangs() {
    let azure = vault_of(5).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    // Whoever opens a pipe that nobody writes to waits for ever, as on a network file system whose server is gone.
    let blob = azure.items("contoso-prod").pop().unwrap();
    fs::remove_file(&blob).unwrap();
    assert!(Command::new("mkfifo").arg(&blob).status().unwrap().success());
    for output in ["table", "json"] {
        let target = format!("file://{}", azure.folder().join(output).display());
        let copy = ["copy", "--to", &target, "--output", output];
        let mut terminal = Terminal::start(&azure, &[], &copy, WIDE);
        terminal.wait_for_done(4, 5).await;
        terminal.press(CTRL_C).await;
        terminal.wait_for("it copies only what is missing.").await;
        terminal.press(CTRL_C).await;
        let ended = terminal.end().await;
        assert_eq!(ended.code, 130, "{ended:?}");
        assert_eq!(ended.screen.matches("Ended at once, which damages nothing: ").count(), 1, "{}", ended.screen);
        assert_eq!(ended.screen.matches("Stopped.").count(), 1, "{}", ended.screen);
    }
}
