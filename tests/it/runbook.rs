//! The documents that are followed: their blocks marked `sh local` are run, in their order, against an Azure on this
//! machine, and what they print is compared with the blocks marked `text`.

use std::{path::Path, process::Stdio};

use simulator::key_vault::{ALL_DATA_ACTIONS, Delays, VaultOptions};

use crate::{
    documents::{Block, blocks, calls},
    format_docs::read,
    local_azure::{App, BINARY, FUNCTION_KEY, LIMIT, LocalAzure, Settings},
};

/// The documents with such blocks.
pub(crate) const FOLLOWED: [&str; 3] = ["README.md", "docs/emergency.md", "docs/operations.md"];

#[tokio::test]
async fn the_runbook_can_be_followed_word_for_word() {
    let (azure, app, operator) = what_local_sh_starts().await;
    follow_all_of("docs/operations.md", &operator, 15, 7).await;
    app.settle().await;
    azure.assert_all_known();
}

#[tokio::test]
async fn the_readme_can_be_followed_word_for_word_and_shows_every_step_in_order() {
    let (azure, app, operator) = what_local_sh_starts().await;
    follow_all_of("README.md", &operator, 8, 5).await;
    app.settle().await;
    azure.assert_all_known();

    let text: String = followed("README.md").map(|block| block.text).collect();
    let (own, _) = calls("README.md", &text).await;
    let steps = ["backup", "list", "diff", "restore --items", "restore", "verify", "drill", "prune"];
    let step = |words: &Vec<String>| match words[0].as_str() {
        "restore" if words.iter().any(|word| word == "--items") => "restore --items".to_owned(),
        command => command.to_owned(),
    };
    let mut shown: Vec<String> = own.iter().map(step).collect();
    shown.retain({
        let mut seen = std::collections::BTreeSet::new();
        move |step| steps.contains(&step.as_str()) && seen.insert(step.clone())
    });
    assert_eq!(shown, steps);
}

#[tokio::test]
async fn the_page_for_an_emergency_can_be_followed_word_for_word_and_fits_a_screen() {
    let (azure, app, operator) = what_local_sh_starts().await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    follow_all_of("docs/emergency.md", &operator, 2, 0).await;
    azure.vaults.lose_everything("contoso-dr");
    // The other way that the page shows, and nothing else is needed for it.
    let mut without_rights = operator.clone();
    without_rights.retain(|name, _| ["PATH", "HOME", "NO_PROXY", "no_proxy"].contains(&name.as_str()));
    without_rights.insert("BACKUP_APP_URL".into(), app.host.url().to_string());
    without_rights.insert("BACKUP_APP_KEY".into(), FUNCTION_KEY.into());
    follow_all_of("docs/emergency.md", &without_rights, 2, 0).await;
    let there = azure.vaults.snapshot("contoso-dr");
    assert_eq!(azure.vaults.snapshot("contoso-prod").differences(&there), Vec::<String>::new());
    app.settle().await;
    azure.assert_all_known();

    let page = read("docs/emergency.md");
    assert!(page.lines().count() <= 50, "{} lines", page.lines().count());
    let long: Vec<&str> = page.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "{long:#?}");
    assert!(read("README.md").lines().take(12).any(|line| line.contains("(docs/emergency.md)")), "linked from the top");
}

/// Everything that `scripts/local.sh` starts, and the environment that it makes for an operator.
async fn what_local_sh_starts() -> (LocalAzure, App, Settings) {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr", "contoso-new"]).await;
    let drills = VaultOptions { name: "contoso-drill".into(), delays: Delays::none(), ..Default::default() };
    let locked = VaultOptions { name: "contoso-locked".into(), purge_protection: true, ..Default::default() };
    for options in [drills, locked] {
        let name = options.name.clone();
        azure.vaults.add_vault(options);
        azure.vaults.assign(&azure.identity, &name, ALL_DATA_ACTIONS);
    }
    for (name, items) in [("contoso-prod", 10), ("contoso-new", 5), ("contoso-locked", 5)] {
        assert!(read("scripts/local.sh").contains(&format!("--seed {name}={items}")));
        azure.vaults.seed(name, items);
    }
    // What scripts/local.sh sets.
    let set = [
        ("RESTORE_TARGET_VAULTS", "contoso-prod,contoso-dr"),
        ("DRILL_VAULT", "contoso-drill"),
        ("BACKUP_KEEP", "last=7,daily=35,weekly=8,monthly=12,yearly=7"),
    ];
    let script = read("scripts/local.sh");
    assert!(set.iter().all(|(name, value)| script.contains(&format!("\"{name}\": \"{value}\""))));
    let app = azure.app_with(&set).await;
    let mut operator = azure.settings();
    operator.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let folder = Path::new(BINARY).parent().unwrap().display();
    operator.insert("PATH".into(), format!("{folder}:{}", std::env::var("PATH").unwrap()));
    operator.insert("HOME".into(), azure.folder().display().to_string());
    operator.insert("app".into(), format!("{}api", app.host.url()));
    operator.insert("key".into(), FUNCTION_KEY.into());

    (azure, app, operator)
}

/// Runs what is to be run in a document and compares what is to be compared, and no fewer than so many of each.
async fn follow_all_of(document: &str, operator: &Settings, least_run: usize, least_compared: usize) {
    let run: Vec<String> = followed(document).map(|block| block.text).collect();
    let ran = follow(operator, &run.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (mut next, mut compared) = (0, 0);
    for block in blocks(document) {
        let at = format!("{document}, line {}", block.line);
        if let Some(rest) = block.mark.strip_prefix("sh local") {
            let expected = rest.strip_prefix(" ends with ").unwrap_or("0");
            assert_eq!(ran[next].0, expected, "{at}: {}\n{}", block.text, ran[next].1);
            next += 1;
        } else if block.mark == "text" {
            let (printed, shown) = (essence(&ran[next - 1].1), essence(&block.text));
            assert!(printed.ends_with(&shown), "{at} shows\n{shown:#?}\nbut this is printed:\n{printed:#?}");
            compared += 1;
        }
    }
    assert!(next >= least_run && compared >= least_compared, "{next} blocks were run, {compared} compared");
}

fn followed(document: &str) -> impl Iterator<Item = Block> {
    blocks(document).into_iter().filter(|block| block.mark.starts_with("sh local"))
}

/// Runs the blocks in one shell, as somebody does who follows them, and gives the exit code of each (of the last command
/// of it that failed) and what it printed.
async fn follow(environment: &Settings, blocks: &[&str]) -> Vec<(String, String)> {
    const END: &str = "== the block ended with ";
    let script: String = blocks
        .iter()
        .map(|block| format!("failed=0; trap 'failed=$?' ERR\n{block}\ntrap - ERR; echo \"{END}$failed\"\n"))
        .collect();
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-c", &script]).env_clear().envs(environment).stdin(Stdio::null()).kill_on_drop(true);
    // It is many commands.
    let output = tokio::time::timeout(5 * LIMIT, shell.output()).await.expect("the runbook ends").unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let (mut ran, mut rest) = (Vec::new(), text.as_str());
    while let Some((printed, after)) = rest.split_once(END) {
        let (code, after) = after.split_once('\n').unwrap();
        ran.push((code.to_owned(), printed.to_owned()));
        rest = after;
    }
    assert_eq!(ran.len(), blocks.len(), "{text}\n{complaints}");
    assert!(!complaints.contains("command not found"), "the runbook needs curl and jq: {complaints}");
    ran
}

/// What is the same in every run: the words of each line, without borders, ids, times, sizes and durations.
pub(crate) fn essence(text: &str) -> Vec<Vec<String>> {
    let border = |letter: char| letter.is_whitespace() || "┌─┬┐│┆╞═╪╡├┼┤└┴┘".contains(letter);
    let lines = text.lines().map(|line| line.split(border).filter(|word| !word.is_empty()).collect::<Vec<_>>());
    lines.filter(|words| !words.is_empty()).map(|words| without_what_varies(&words)).collect()
}

fn without_what_varies(words: &[&str]) -> Vec<String> {
    let step_of_drill = ["Plan", "Restore", "Compare", "Clean"].contains(&words[0]) && words.len() < 5;
    let varies = |index: usize| {
        let word = words[index];
        let next = words.get(index + 1).copied().unwrap_or_default();
        let measured = ["second", "min", "KiB", "B)"].iter().any(|unit| next.starts_with(unit));
        let id_or_time = word.starts_with("20") && word.len() > 3 || word.len() > 9 && !word.contains('/');
        let blob = word.contains("/items/20");
        word.contains(|letter: char| letter.is_ascii_digit())
            && (measured || step_of_drill || id_or_time || blob || word.contains("://"))
    };
    let word = |index: usize| match words[index] {
        _ if varies(index) => "…",
        "second." => "seconds.",
        word => word,
    };
    (0..words.len()).map(|index| word(index).to_owned()).collect()
}
