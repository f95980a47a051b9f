//! What programs and people are promised of every command: help, manual pages, completions, exit codes and JSON.

mod completions;
mod exit_codes;
mod help;
mod installed;
mod json_output;
mod reference;
mod words;

use std::collections::BTreeSet;

use clap::Command;

use crate::local_azure::{Settings, run};

pub(crate) use self::json_output::assert_progress;

/// Every command by the words that call it, that of the program being none, as it is defined.
fn commands() -> Vec<(Vec<String>, Command)> {
    fn collect(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, Command)>) {
        found.push((path.to_vec(), command.clone()));
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            collect(below, &[path, &[below.get_name().to_owned()]].concat(), found);
        }
    }
    let mut root = keyvault_backup::cli::command_line();
    root.build();
    let mut found = Vec::new();
    collect(&root, &[], &mut found);
    assert!(found.len() > 10);
    found
}

/// The same without the program itself: "backup", "guard acknowledge".
fn names() -> BTreeSet<String> {
    commands().into_iter().map(|(path, _)| path.join(" ")).filter(|name| !name.is_empty()).collect()
}

/// What `--help` of a command prints.
async fn help(name: &str) -> String {
    let arguments: Vec<&str> = name.split_whitespace().chain(["--help"]).collect();
    let help = run(&Settings::new(), &arguments).await;
    assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{name}");
    help.stdout
}

/// The lines of a section of a help text, up to the next empty line.
fn section<'a>(help: &'a str, heading: &str) -> Vec<&'a str> {
    let lines = help.lines().skip_while(|line| line.trim_end() != heading).skip(1);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// The examples that a help text shows: what each is for, and the command line.
fn examples(help: &str) -> Vec<(String, String)> {
    let lines = section(help, "Examples:");
    assert!(!lines.is_empty() && lines.len().is_multiple_of(2), "{lines:#?}");
    let pair = |pair: &[&str]| (pair[0].trim().trim_end_matches(':').to_owned(), pair[1].trim().to_owned());
    lines.chunks(2).map(pair).collect()
}

/// The exit codes that a help text shows, with their meanings.
fn exits(help: &str) -> Vec<(i32, String)> {
    let mut exits: Vec<(i32, String)> = Vec::new();
    for line in section(help, "Exit codes:") {
        match line.trim_start().split_once("  ").and_then(|(code, text)| Some((code.parse().ok()?, text))) {
            Some((code, meaning)) => exits.push((code, meaning.trim().to_owned())),
            // Too long for one line.
            None => exits.last_mut().unwrap().1.push_str(&format!(" {}", line.trim())),
        }
    }
    exits
}
