//! Forty columns: nothing is broken in the middle of a word, and everything is still told.

use super::{SLOW, Terminal, vault_of};

const NARROW: (u16, u16) = (200, 40);

#[tokio::test]
async fn every_table_fits_forty_columns() {
    let azure = vault_of(10).await;
    let backup = Terminal::start(&azure, &[], &["backup"], NARROW).end().await;
    let id = azure.manifests("contoso-prod")[0].file_name().unwrap().to_str().unwrap().to_owned();
    let id = id.split('.').next().unwrap();
    assert!(backup.screen.contains(&format!("Backup     {id}\n")), "{}", backup.screen);
    for (arguments, code, lines) in [
        (&["list"][..], 0, &["Vault    contoso-prod", "Backups  1", "Result   Succeeded"][..]),
        (&["list", "contoso-prod"], 0, &["Result  Succeeded", "Items   10"]),
        (&["show", "contoso-prod"], 0, &["Item      secrets/secret-00001", "Enabled   yes"]),
        (&["status"], 0, &["Vault               contoso-prod", "Attention           ok"]),
        (&["guard"], 0, &["contoso-prod", "down"]),
        (&["verify"], 0, &["Vault    contoso-prod", "Result   Succeeded"]),
        (
            &["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"],
            0,
            &["Item     keys/key-00004", "Action   restore"],
        ),
        (&["prune", "--backup-keep", "last=1", "--dry-run"], 0, &["Action  keep"]),
    ] {
        let ended = Terminal::start(&azure, &[], arguments, NARROW).end().await;
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        for line in lines {
            assert!(ended.screen.contains(line), "{arguments:?} lacks {line:?}:\n{}", ended.screen);
        }
        let of_table = |line: &&str| line.contains(['│', '═', '─']);
        let widest = ended.screen.lines().filter(of_table).map(|line| line.trim_end().chars().count()).max();
        assert!(widest.unwrap_or_default() <= 40, "{arguments:?}:\n{}", ended.screen);
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
