//! Forty columns: nothing is broken in the middle of a word, and everything is still told.

use simulator::key_vault::{ALL_DATA_ACTIONS, Delays, VaultOptions};

use super::{Ended, SLOW, Terminal, vault_of};

const NARROW: (u16, u16) = (200, 40);

/// Arguments, exit code, lines that are shown, and how sentences begin that the terminal may break: hard breaks in them
/// would end up in what is copied from them.
type Row<'a> = (&'a [&'a str], i32, &'a [&'a str], &'a [&'a str]);

#[tokio::test]
async fn every_table_and_list_fits_forty_columns() {
    let azure = vault_of(10).await;
    let drills = VaultOptions { name: "contoso-drill".into(), delays: Delays::none(), ..Default::default() };
    azure.vaults.add_vault(drills);
    azure.vaults.assign(&azure.identity, "contoso-drill", ALL_DATA_ACTIONS);
    let backup = Terminal::start(&azure, &[], &["backup"], NARROW).end().await;
    assert_fits(&["backup"], &backup, &[]);
    let id = azure.manifests("contoso-prod")[0].file_name().unwrap().to_str().unwrap().to_owned();
    let id = id.split('.').next().unwrap();
    assert!(backup.screen.contains(&format!("Backup     {id}\n")), "{}", backup.screen);
    let copy = format!("file://{}", azure.folder().join("copy").display());
    azure.vaults.set_secret("contoso-prod", "secret-00001", "another value");
    let rows: &[Row<'_>] = &[
        (&["list"], 0, &["Vault    contoso-prod", "Backups  1", "Result   Succeeded"], &[]),
        (&["list", "contoso-prod"], 0, &["Result  Succeeded", "Items   10"], &[]),
        (
            &["show", "contoso-prod"],
            0,
            &["Item      secrets/secret-00001", "Enabled   yes", "Version\n  "],
            &["Backup "],
        ),
        (&["status"], 0, &["Vault               contoso-prod", "Attention           ok"], &[]),
        (&["guard"], 0, &["contoso-prod", "down"], &[]),
        (&["verify"], 0, &["Vault    contoso-prod", "Result   Succeeded"], &[]),
        (
            &["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"],
            0,
            &["Item     keys/key-00004", "Action   restore"],
            &["Backup "],
        ),
        (&["prune", "--backup-keep", "last=1", "--dry-run"], 0, &["Action  keep"], &["This would remove "]),
        (
            &["diff", "contoso-prod", "--live"],
            1,
            &["Item        secrets/secret-00001", "Change      rotated"],
            &["From backup "],
        ),
        (&["copy", "--to", &copy, "--dry-run"], 0, &["Vault    contoso-prod", "To copy  1"], &[]),
        (&["copy", "--to", &copy], 0, &["Vault    contoso-prod", "Copied   1"], &[]),
        (&["drill", "contoso-prod", "--into", "contoso-drill", "--yes"], 0, &["Restore", "Clean up"], &["Succeeded: "]),
        (
            &["restore", "contoso-prod", "--to", "contoso-dr", "--yes"],
            0,
            &["Item     keys/key-00004", "Result   restored"],
            &["Succeeded: "],
        ),
        (&["operations"], 0, &["What       restore", "Status     Succeeded"], &[]),
    ];
    for (arguments, code, lines, sentences) in rows {
        let ended = Terminal::start(&azure, &[], arguments, NARROW).end().await;
        assert_eq!(ended.code, *code, "{arguments:?}: {ended:?}");
        for line in *lines {
            assert!(ended.screen.contains(line), "{arguments:?} lacks {line:?}:\n{}", ended.screen);
        }
        assert_fits(arguments, &ended, sentences);
    }
    let operations = azure.run(&["operations", "--output", "json"]).await.json();
    let operation = operations["value"][0]["id"].as_str().unwrap();
    let one = Terminal::start(&azure, &[], &["operations", operation], NARROW).end().await;
    assert_eq!(one.code, 0, "{one:?}");
    assert_fits(&["operations", "ID"], &one, &["Succeeded: "]);
}

/// What is damaged is named by its blob, which is longer than the terminal is wide: alone on its line it can be copied.
#[tokio::test]
async fn what_no_terminal_of_forty_columns_can_hold_is_whole_and_alone_on_its_line() {
    let azure = vault_of(3).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let blob = azure.items("contoso-prod").remove(0);
    std::fs::write(&blob, "damaged").unwrap();
    let name = blob.strip_prefix(azure.backups()).unwrap().to_str().unwrap();
    let ended = Terminal::start(&azure, &[], &["verify"], NARROW).end().await;
    assert_eq!(ended.code, 7, "{ended:?}");
    assert!(ended.screen.lines().any(|line| line == name), "{name}:\n{}", ended.screen);
    assert_fits(&["verify"], &ended, &["The stored backup of ", "What to do next: "]);
}

/// No line is wider than the terminal but a sentence that is known to be one, and a single word.
fn assert_fits(arguments: &[&str], ended: &Ended, sentences: &[&str]) {
    for line in ended.screen.lines().map(str::trim_end).filter(|line| line.chars().count() > NARROW.1.into()) {
        let is_sentence = sentences.iter().any(|start| line.starts_with(start));
        let is_word = !line.contains(' ');
        assert!(is_sentence || is_word, "{arguments:?} is too wide: {line:?}:\n{}", ended.screen);
    }
}

#[tokio::test]
async fn progress_fits_forty_columns_and_leaves_nothing_behind() {
    let azure = vault_of(20).await;
    let mut terminal = Terminal::start(&azure, &[SLOW], &["backup"], NARROW);
    terminal.wait_for("Backing up contoso-prod").await;
    terminal.wait_for_done(3, 20).await;
    terminal.wait_for(" requests/s, ").await;
    terminal.wait_for("s left").await;
    let ended = terminal.end().await;
    assert!(ended.code == 0 && !ended.screen.contains("Backing up"), "{}", ended.screen);
}
