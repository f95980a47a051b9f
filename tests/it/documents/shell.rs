//! The shell in the documents: that bash reads it, that our commands are ones that the program understands, and that what
//! else it calls for is known or there.

use std::{collections::BTreeSet, path::Path, process::Stdio};

use clap::error::ErrorKind;

use super::{Rule, documents, held};
use crate::{format_docs::read, local_azure::LIMIT};

/// Everything else that a document tells somebody to call; `api`, `finish` and `token` are made in the documents.
const PROGRAMS: [&str; 23] = [
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
    "man",
    "node",
    "rm",
    "rustup",
    "sed",
    "sha256sum",
    "tail",
    "token",
    "unzip",
    "zip",
];

/// Beginnings of paths that are made, not kept.
const MADE: &str = "target/";

#[tokio::test]
async fn every_command_in_the_documents_is_one_that_the_program_understands() {
    let (mut commands, mut read_by_bash) = (BTreeSet::new(), 0);
    let blocks = [held(Rule::Shell), held(Rule::Followed)].concat();
    let number = blocks.len();
    let mut snippets: Vec<(String, String)> =
        blocks.into_iter().map(|block| (format!("{}, line {}", block.document, block.line), block.text)).collect();
    for document in documents() {
        let text = read(&document);
        let spans = text.split('`').filter(|span| span.starts_with("keyvault-backup ") && !span.contains('\n'));
        snippets.extend(spans.map(|span| (document.clone(), span.to_owned())));
    }
    for (place, snippet) in &snippets {
        let (own, others) = calls(place, snippet).await;
        let unknown: Vec<_> = others.iter().filter(|name| !PROGRAMS.contains(&name.as_str())).collect();
        assert!(unknown.is_empty(), "{place} calls {unknown:?} in\n{snippet}");
        commands.extend(own.into_iter().map(|command| (command, place.clone())));
        read_by_bash += 1;
    }
    assert!(read_by_bash > number && number > 40 && commands.len() > 60, "{number} blocks, {commands:#?}");
    for (command, place) in commands {
        let words = std::iter::once("keyvault-backup").chain(command.iter().map(String::as_str));
        if let Err(error) = keyvault_backup::cli::command_line().try_get_matches_from(words) {
            let understood = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion].contains(&error.kind());
            assert!(understood, "{place}: {command:?}: {error}");
        }
    }
}

#[test]
fn every_file_that_the_documents_call_for_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["scripts/", "infra/", "docs/", "tests/", "src/", "examples/", "simulator/", "fuzz/", ".github/"];
    let mut named = 0;
    for block in [held(Rule::Shell), held(Rule::Followed)].concat() {
        for word in block.text.split(|letter: char| letter.is_whitespace() || "\"'()=@;".contains(letter)) {
            if folders.iter().any(|folder| word.starts_with(folder)) && !word.starts_with(MADE) {
                assert!(root.join(word).exists(), "{}, line {}: there is no {word}", block.document, block.line);
                named += 1;
            }
        }
    }
    assert!(named >= 10, "{named}");
}

/// The arguments of each call of our program in a piece of shell, and the names of all other programs. Bash itself reads
/// it, and finds nothing but its own words and these stubs.
pub(crate) async fn calls(place: &str, snippet: &str) -> (Vec<Vec<String>>, BTreeSet<String>) {
    // What is waited for is there at once.
    const STUBS: &str = r#"
        PATH=
        keyvault-backup() { printf 'own\0' >&9; printf '%s\0' "$@" >&9; printf '\n\0' >&9; }
        command_not_found_handle() { printf 'other\0%s\0\n\0' "$1" >&9; }
        [() { :; }
        cd() { :; }
        source() { :; }
        .() { :; }
    "#;
    let folder = tempfile::tempdir().unwrap();
    for written in snippet.split("~/").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
        std::fs::create_dir_all(folder.path().join(written).parent().unwrap()).unwrap();
    }
    let notes = folder.path().join("notes");
    let mut check = tokio::process::Command::new("bash");
    let checked = check.args(["-n", "-c", snippet]).stdin(Stdio::null()).output().await.unwrap();
    assert!(checked.status.success(), "{place}: {}", String::from_utf8_lossy(&checked.stderr));
    let script = format!("exec 9>'{}'\n{STUBS}\n{snippet}\n", notes.display());
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-c", &script]).current_dir(folder.path()).env("HOME", folder.path());
    shell.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, shell.output()).await.expect("no loop outside of a function").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("syntax error") && !said.contains("unexpected"), "{place}: {snippet}\n{said}");
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
        "COMMAND" => "backup".to_owned(),
        "VAULT" => "contoso-prod".to_owned(),
        word => word.to_owned(),
    }
}
