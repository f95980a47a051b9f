//! The shell blocks of the documents: those marked `sh local` are run, in their order, against an Azure on this machine,
//! and what they print is compared; of all others every command is given to the program, and every file looked for.

use std::{collections::BTreeSet, path::Path, process::Stdio};

use simulator::key_vault::{ALL_DATA_ACTIONS, Delays, VaultOptions};

use crate::{
    format_docs::read,
    local_azure::{BINARY, FUNCTION_KEY, LIMIT, LocalAzure, Settings},
};

const DOCUMENTS: [&str; 8] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/operations.md",
    "docs/security.md",
    "docs/format.md",
    "docs/benchmarks.md",
    "infra/README.md",
];
/// Everything else that a document tells somebody to call; `api` and `finish` are made in docs/operations.md.
const PROGRAMS: [&str; 18] = [
    "api",
    "az",
    "azd",
    "basename",
    "cargo",
    "curl",
    "cut",
    "finish",
    "func",
    "git",
    "grep",
    "head",
    "jq",
    "rm",
    "rustup",
    "sha256sum",
    "tail",
    "unzip",
];
/// Beginnings of paths that are made, not kept.
const MADE: &str = "target/";

/// A fenced block of a document.
#[derive(Debug)]
struct Block {
    /// What stands behind the fence, such as `sh local`.
    mark: String,
    text: String,
    line: usize,
}

#[tokio::test]
async fn the_runbook_can_be_followed_word_for_word() {
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

    let blocks = blocks("docs/operations.md");
    let run = blocks.iter().filter(|block| block.mark.starts_with("sh local"));
    let ran = follow(&operator, &run.map(|block| block.text.as_str()).collect::<Vec<_>>()).await;
    let (mut next, mut compared) = (0, 0);
    for block in &blocks {
        let at = format!("docs/operations.md, line {}", block.line);
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
    assert!(next >= 15 && compared >= 7, "{next} blocks were run, {compared} compared");
    app.settle().await;
    azure.assert_all_known();
}

#[tokio::test]
async fn every_command_in_the_documents_is_one_that_the_program_understands() {
    let mut commands = BTreeSet::new();
    for document in documents() {
        let text = read(document);
        let spans = text.split('`').filter(|span| span.starts_with("keyvault-backup ") && !span.contains('\n'));
        let shell = blocks(document).into_iter().filter(|block| block.mark.starts_with("sh"));
        let snippets = shell.map(|block| block.text).chain(spans.map(str::to_owned));
        for snippet in snippets {
            let (own, others) = calls(&snippet).await;
            commands.extend(own);
            let unknown: Vec<_> = others.iter().filter(|name| !PROGRAMS.contains(&name.as_str())).collect();
            assert!(unknown.is_empty(), "{document} calls {unknown:?} in\n{snippet}");
        }
    }
    assert!(commands.len() > 30, "{commands:#?}");
    for command in commands {
        // A wrong level is found after the arguments were understood, and nothing is begun with it.
        let environment = Settings::from([("LOG_LEVEL".to_owned(), "understood".to_owned())]);
        let ran = crate::local_azure::run(&environment, &command.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let said = ran.stdout.clone() + &ran.stderr;
        assert!(said.contains("LOG_LEVEL is"), "{command:?}: {ran:?}");
    }
}

#[test]
fn every_file_that_the_documents_call_for_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["scripts/", "infra/", "docs/", "tests/", "src/", "examples/", "simulator/", "fuzz/", ".github/"];
    let mut named = 0;
    for document in documents() {
        for block in blocks(document).into_iter().filter(|block| block.mark.starts_with("sh")) {
            for word in block.text.split(|letter: char| letter.is_whitespace() || "\"'()=@;".contains(letter)) {
                if folders.iter().any(|folder| word.starts_with(folder)) && !word.starts_with(MADE) {
                    assert!(root.join(word).exists(), "{document}, line {}: there is no {word}", block.line);
                    named += 1;
                }
            }
        }
    }
    assert!(named >= 5, "{named}");
}

/// Those of `DOCUMENTS` that there are.
fn documents() -> impl Iterator<Item = &'static str> {
    DOCUMENTS.into_iter().filter(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists())
}

/// The fenced blocks of a document; those in lists lose their indentation.
fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, Option<(Block, usize)>) = (Vec::new(), None);
    for (index, line) in read(document).lines().enumerate() {
        let (text, indentation) = (line.trim_start(), line.len() - line.trim_start().len());
        match (&mut open, text.strip_prefix("```")) {
            (None, Some(mark)) => {
                let block = Block { mark: mark.trim().to_owned(), text: String::new(), line: index + 1 };
                open = Some((block, indentation));
            }
            (Some(_), Some("")) => blocks.extend(open.take().map(|(block, _)| block)),
            (Some((block, indentation)), _) => {
                block.text.push_str(line.get(*indentation..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => (),
        }
    }
    assert!(open.is_none(), "{document}: a block does not end");
    blocks
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
fn essence(text: &str) -> Vec<Vec<String>> {
    let border = |letter: char| letter.is_whitespace() || "┌─┬┐│┆╞═╪╡├┼┤└┴┘".contains(letter);
    let lines = text.lines().map(|line| line.split(border).filter(|word| !word.is_empty()).collect::<Vec<_>>());
    lines.filter(|words| !words.is_empty()).map(|words| without_what_varies(&words)).collect()
}

fn without_what_varies(words: &[&str]) -> Vec<String> {
    let step_of_drill = ["Plan", "Restore", "Compare", "Clean"].contains(&words[0]) && words.len() < 5;
    let varies = |index: usize| {
        let word = words[index];
        let next = words.get(index + 1).copied().unwrap_or_default();
        let measured = ["second", "min", "KiB", "byte"].iter().any(|unit| next.starts_with(unit));
        let id_or_time = word.starts_with("20") && word.len() > 3 || word.len() > 9 && !word.contains('/');
        word.contains(|letter: char| letter.is_ascii_digit())
            && (measured || step_of_drill || id_or_time || word.contains("://"))
    };
    let word = |index: usize| match words[index] {
        _ if varies(index) => "…",
        "second." => "seconds.",
        word => word,
    };
    (0..words.len()).map(|index| word(index).to_owned()).collect()
}

/// The arguments of each call of our program in a piece of shell, and the names of all other programs. Bash itself reads
/// it, and finds nothing but its own words and these stubs.
async fn calls(snippet: &str) -> (Vec<Vec<String>>, BTreeSet<String>) {
    const STUBS: &str = r#"
        PATH=
        keyvault-backup() { printf 'own\0' >&9; printf '%s\0' "$@" >&9; printf '\n\0' >&9; }
        command_not_found_handle() { printf 'other\0%s\0\n\0' "$1" >&9; }
        cd() { :; }
        source() { :; }
    "#;
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let script = format!("exec 9>'{}'\n{STUBS}\n{snippet}\n", notes.display());
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-c", &script]).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, shell.output()).await.expect("no loop outside of a function").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("syntax error") && !said.contains("unexpected"), "{snippet}\n{said}");
    let (mut own, mut others) = (Vec::new(), BTreeSet::new());
    let noted = std::fs::read_to_string(&notes).unwrap();
    for call in noted.split_terminator("\n\0") {
        let words: Vec<&str> = call.split_terminator('\0').collect();
        match words.split_first() {
            Some((&"own", arguments)) => own.push(arguments.iter().map(|word| filled_in(word)).collect()),
            Some((&"other", names)) => others.extend(names.iter().map(ToString::to_string)),
            _ => panic!("{noted:?}"),
        }
    }
    (own, others)
}

/// An argument with something in the place of what a reader fills in.
fn filled_in(word: &str) -> String {
    match word {
        "ID" => "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01".to_owned(),
        "" | "BACKUP" | "BEFORE" | "AFTER" => "latest".to_owned(),
        "VAULT" => "contoso-prod".to_owned(),
        word => word.to_owned(),
    }
}
