//! The pictures of the terminal in the documents: made by giving the real program the commands that they show, at a real
//! pseudo-terminal (`scripts/pictures.sh`), and compared with what it shows now.

mod svg;

use simulator::key_vault::{ALL_DATA_ACTIONS, Delays, Kind, VaultOptions};

use crate::{documents::documents, format_docs::read, local_azure::LocalAzure, runbook::essence, terminal::Terminal};

/// Rows that are enough for everything, and columns that README has room for.
const ROWS: u16 = 60;
const COLUMNS: u16 = 108;

/// Slow enough that there is progress to be seen.
const SLOW: [(&str, &str); 1] = [("BACKUP_REQUESTS_PER_SECOND", "25")];

/// A command at the terminal: what is typed, what is waited for and answered, and the moments that are shown.
struct Shot<'a> {
    command: &'a str,
    settings: &'a [(&'a str, &'a str)],
    /// Shown when so many items of so many are done.
    under_way: Option<(usize, usize)>,
    /// What it asks, and the answer.
    question: Option<(&'a str, &'a str)>,
}

const fn plain(command: &str) -> Shot<'_> {
    Shot { command, settings: &[], under_way: None, question: None }
}

#[tokio::test]
async fn the_pictures_show_what_the_program_shows() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 60);
    let drills = VaultOptions { name: "contoso-drill".into(), delays: Delays::none(), ..Default::default() };
    azure.vaults.add_vault(drills);
    azure.vaults.assign(&azure.identity, "contoso-drill", ALL_DATA_ACTIONS);

    let backup = Shot { settings: &SLOW, under_way: Some((24, 60)), ..plain("keyvault-backup backup contoso-prod") };
    picture(&azure, "backup", &[backup, plain("keyvault-backup list contoso-prod")]).await;

    azure.vaults.delete_now("contoso-prod", Kind::Secret, "secret-00001");
    azure.vaults.set_secret("contoso-prod", "payments-api-key", "a value");
    picture(&azure, "diff", &[plain("keyvault-backup diff contoso-prod --live")]).await;

    let one = "keyvault-backup restore contoso-prod --to contoso-dr --items 'secrets/secret-0000*'";
    let dry = "keyvault-backup restore contoso-prod --to contoso-dr --items 'secrets/secret-0000*' --dry-run";
    let restore = Shot { question: Some(("Restore?", "y")), ..plain(one) };
    picture(&azure, "restore", &[plain(dry), restore]).await;

    assert_eq!(azure.run(&["verify"]).await.code, 0);
    let into = [("DRILL_VAULT", "contoso-drill"), ("DRILL_SAMPLE", "20")];
    let drill = "keyvault-backup drill contoso-prod";
    picture(&azure, "drill", &[Shot { settings: &into, question: Some(("]", "y")), ..plain(drill) }]).await;
    picture(&azure, "status", &[plain("keyvault-backup status")]).await;

    assert_eq!(azure.run(&["backup", "contoso-prod", "--label", "before-upgrade"]).await.code, 0);
    azure.vaults.set_secret("contoso-prod", "rotated-today", "a value");
    assert_eq!(azure.run(&["backup", "contoso-prod"]).await.code, 0);
    let prune = "keyvault-backup prune contoso-prod --backup-keep last=1 --dry-run";
    picture(&azure, "prune", &[plain(prune)]).await;

    let damaged =
        azure.items("contoso-prod").into_iter().find(|path| path.display().to_string().contains("rotated-today"));
    std::fs::write(damaged.unwrap(), "something else").unwrap();
    picture(&azure, "verify", &[plain("keyvault-backup verify contoso-prod")]).await;
}

#[test]
fn every_picture_is_shown_in_a_document_and_has_words_for_those_who_do_not_see_it() {
    let all: String = documents().iter().map(|document| read(document)).collect();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (before, _) =
            all.split_once(&format!("images/{name})")).unwrap_or_else(|| panic!("{name} is shown nowhere"));
        let words = before.rsplit("![").next().unwrap().split(']').next().unwrap();
        assert!(words.split(' ').count() >= 3, "{name}: {words:?}");
    }
}

/// Takes the picture, and writes it when asked to; otherwise the one in the repository must say the same.
async fn picture(azure: &LocalAzure, name: &str, shots: &[Shot<'_>]) {
    let mut page = svg::Page::new(COLUMNS);
    for shot in shots {
        take(azure, shot, &mut page).await;
    }
    let path = format!("docs/images/{name}.svg");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&path), page.draw()).unwrap();
    }
    // How far it was in the moment of the picture is another matter each time.
    let lines =
        |svg: &str| -> Vec<String> { svg::lines(svg).into_iter().filter(|line| !line.contains("items/s")).collect() };
    let (now, kept) = (lines(&page.draw()), lines(&read(&path)));
    assert_eq!(
        essence(&kept.join("\n")),
        essence(&now.join("\n")),
        "{path} shows something else: run scripts/pictures.sh, and look at it"
    );
}

async fn take(azure: &LocalAzure, shot: &Shot<'_>, page: &mut svg::Page) {
    let words = shot.command.replace('\'', "");
    let arguments: Vec<&str> = words.split(' ').skip(1).collect();
    page.command(shot.command);
    let mut terminal = Terminal::start(azure, shot.settings, &arguments, (ROWS, COLUMNS));
    if let Some((done, total)) = shot.under_way {
        terminal.wait_for_done(done, total).await;
        // All of the line, which is written piece by piece.
        terminal.wait_for(" left").await;
        page.screen(terminal.screen.screen());
        page.pause();
    }
    if let Some((question, answer)) = shot.question {
        terminal.wait_for(question).await;
        terminal.press(&format!("{answer}\r")).await;
    }
    while terminal.read().await {}
    page.screen(terminal.screen.screen());
}
