//! `--help`: one sentence, when to use it, arguments under headings, examples that can be pasted, exit codes.

use std::collections::BTreeSet;

use super::{commands, examples, exits, help, names};
use crate::{
    format_docs::read,
    local_azure::{Settings, run},
};

/// As wide as help is printed where the width is not known, less the margin of examples.
const WIDEST_EXAMPLE: usize = 96;

#[tokio::test]
async fn alone_it_shows_three_commands_and_where_to_go_on_and_does_not_look_like_success() {
    for settings in [Settings::new(), Settings::from([("LOG_LEVEL".to_owned(), "off".to_owned())])] {
        let alone = run(&settings, &[]).await;
        assert_eq!((alone.code, alone.stdout.as_str()), (2, ""));
        let shown: Vec<&str> =
            alone.stderr.lines().filter_map(|line| line.strip_prefix("  keyvault-backup ")).collect();
        let first = |line: &&str| line.split(' ').next().unwrap().to_owned();
        assert_eq!(shown.iter().map(first).collect::<Vec<_>>(), ["backup", "status", "restore"], "{}", alone.stderr);
        assert!(alone.stderr.contains("BACKUP_STORE_URL") && alone.stderr.contains("keyvault-backup --help"));
        assert!(alone.stderr.lines().all(|line| line.len() <= 80), "{}", alone.stderr);
        for line in shown {
            parse(&format!("keyvault-backup {line}"));
        }
    }
    let programs = run(&Settings::new(), &["--output", "json"]).await;
    assert_eq!((programs.code, programs.json()["error"]["code"].as_str()), (2, Some("InvalidInput")));
}

#[test]
fn every_command_begins_with_one_sentence_and_says_more_below_it() {
    for (path, command) in commands() {
        let short = command.get_about().unwrap_or_else(|| panic!("{path:?} has no sentence")).to_string();
        assert!(short.starts_with(char::is_uppercase) && !short.contains(". "), "{path:?}: {short}");
        assert!(short.len() <= 90, "{path:?}: {short}");
        let long = command.get_long_about().unwrap_or_else(|| panic!("{path:?} does not say when to use it"));
        let long = long.to_string();
        let (first, rest) = long.split_once("\n\n").unwrap_or_else(|| panic!("{path:?}: {long}"));
        assert!(first.starts_with(&short) && rest.len() > 40, "{path:?}: {long}");
    }
}

#[tokio::test]
async fn every_example_is_one_line_that_can_be_pasted_and_is_understood() {
    let mut used = BTreeSet::new();
    for name in names().into_iter().chain([String::new()]) {
        for (purpose, line) in examples(&help(&name).await) {
            assert!(purpose.starts_with(char::is_uppercase) && line.len() <= WIDEST_EXAMPLE, "{name}: {line}");
            used.insert(parse(&line));
        }
    }
    assert_eq!(used, names(), "every command has an example of its own");
}

/// Reads a command line as bash and then the program would, and gives the words that called the command.
fn parse(line: &str) -> String {
    // What is behind a pipe or a redirection is not ours.
    let ours = line.split(" | ").next().unwrap().split(" > ").next().unwrap();
    let words = std::process::Command::new("bash").args(["-c", &format!("printf '%s\\n' {ours}")]).output().unwrap();
    assert!(words.status.success(), "{line}");
    let words = String::from_utf8(words.stdout).unwrap();
    let matches = keyvault_backup::cli::command_line().try_get_matches_from(words.lines());
    let matches = matches.unwrap_or_else(|mistake| panic!("{line}: {mistake}"));
    let mut path = Vec::new();
    let mut below = matches.subcommand();
    while let Some((name, matches)) = below {
        path.push(name.to_owned());
        below = matches.subcommand();
    }
    path.join(" ")
}

#[tokio::test]
async fn the_long_help_has_everything_under_headings_and_the_short_one_what_is_of_the_command_alone() {
    for (path, command) in commands() {
        let name = path.join(" ");
        let long = help(&name).await;
        let settings = long.split_once("\nSettings:\n").unwrap_or_else(|| panic!("{name}: {long}")).1;
        for part in ["BACKUP_STORE_URL", "LOG_LEVEL", "\nExamples:\n", "\nExit codes:\n"] {
            assert!(settings.contains(part), "{name} lacks {part}: {long}");
        }
        assert!(long.contains("\nOutput:\n") && long.contains("\nUsage: keyvault-backup"), "{long}");

        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["-h"]).collect();
        let short = run(&Settings::new(), &arguments).await.stdout;
        assert!(!short.contains("--backup-store-url") && !short.contains("Settings:\n"), "{name}: {short}");
        assert!(short.lines().count() <= 45, "{name}: {short}");
        assert!(short.contains(&command.get_about().unwrap().to_string()), "{name}: {short}");
        assert!(short.trim_end().ends_with("--help"), "{name} does not say where there is more: {short}");
        let of_all = [Some("Settings"), Some("The deployed app")];
        for argument in command.get_arguments().filter(|argument| !of_all.contains(&argument.get_help_heading())) {
            assert!(argument.get_help().is_some(), "{name}: {} says nothing", argument.get_id());
            let shown = argument.get_long().map_or(argument.get_id().to_string(), |long| format!("--{long}"));
            assert!(short.to_lowercase().contains(&shown) || argument.is_positional(), "{name} lacks {shown}: {short}");
        }
    }
}

#[tokio::test]
async fn every_exit_code_of_a_command_is_one_of_the_table_and_the_program_shows_the_whole_table() {
    let table = exits(&help("").await);
    let codes: Vec<i32> = table.iter().map(|(code, _)| *code).collect();
    assert!(codes.starts_with(&[0, 1, 2, 3, 4, 5, 6, 7]) && codes.is_sorted(), "{codes:?}");
    let mut used = BTreeSet::new();
    for name in names() {
        let exits = exits(&help(&name).await);
        let of_command: Vec<i32> = exits.iter().map(|(code, _)| *code).collect();
        assert!(of_command.is_sorted() && of_command.contains(&2), "{name}: {exits:?}");
        assert!(exits.iter().all(|(code, meaning)| codes.contains(code) && !meaning.is_empty()), "{name}: {exits:?}");
        used.extend(of_command);
    }
    assert_eq!(used, codes.into_iter().collect(), "a code that no command ends with");
}

#[tokio::test]
async fn the_version_says_of_which_source_and_by_what_it_was_built_and_the_short_one_only_which() {
    let version = run(&Settings::new(), &["-V"]).await;
    assert_eq!(version.stdout, format!("keyvault-backup {}\n", env!("CARGO_PKG_VERSION")));
    let version = run(&Settings::new(), &["--version"]).await.stdout;
    let lines: Vec<&str> = version.lines().collect();
    let [name, commit, target, compiler, format] = lines[..] else { panic!("{version}") };
    assert_eq!(name, format!("keyvault-backup {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(commit, "commit         unknown (built for debugging)");
    assert!(target.starts_with("target         ") && target.contains(std::env::consts::ARCH), "{target}");
    assert!(compiler.starts_with("compiler       rustc 1."), "{compiler}");
    let supported = keyvault_backup::repository::manifest::FORMAT_VERSION;
    assert_eq!(format, format!("stored format  {supported}"));
}

#[test]
fn nothing_of_the_build_depends_on_a_clock() {
    let script = read("build.rs");
    assert!(!script.contains("SystemTime") && !script.contains("now()") && !script.contains("\"date\""));
}
