//! `docs/commands.md`, which is made of the definitions of the commands.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::{commands, examples, exits, help};
use crate::format_docs::read;

const PAGE: &str = "docs/commands.md";

#[tokio::test]
async fn the_reference_of_commands_is_what_the_definitions_say() {
    let mut text = String::from(
        "# Commands\n\n\
         Made of what `keyvault-backup COMMAND --help` says; `WRITE_DOCS=1 cargo test --test it commands` writes it anew.\n\
         What programs can rely on is in [for programs](programs.md). The settings, which every command takes as flags or\n\
         environment variables, are in [operations](operations.md#settings).\n\n\
         | command | |\n| --- | --- |\n",
    );
    let all = commands();
    for (path, command) in all.iter().filter(|(path, _)| !path.is_empty()) {
        let name = path.join(" ");
        let anchor = format!("keyvault-backup-{}", name.replace(' ', "-"));
        writeln!(text, "| [{name}](#{anchor}) | {} |", command.get_about().unwrap()).unwrap();
    }
    let (_, program) = &all[0];
    text.push_str("\n## Of every command\n");
    let of_all =
        |argument: &&Arg| argument.is_global_set() || ["help", "version"].contains(&argument.get_id().as_str());
    let of_all: Vec<&Arg> = program.get_arguments().filter(of_all).collect();
    let mut headings: Vec<&str> = Vec::new();
    for heading in of_all.iter().filter_map(|argument| argument.get_help_heading()) {
        if heading != "Settings" && !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings.iter().copied().map(Some).chain([None]) {
        writeln!(text, "\n### {}\n", heading.unwrap_or("Help")).unwrap();
        let below = of_all.iter().copied().filter(|argument| argument.get_help_heading() == heading);
        arguments(&mut text, below);
    }
    for (path, command) in all.iter().filter(|(path, _)| !path.is_empty()) {
        describe(&mut text, path, command).await;
    }
    write(PAGE, || text.clone());
    assert!(read(PAGE) == text, "{PAGE} is not up to date: {HOW_TO_WRITE}");
}

pub(super) const HOW_TO_WRITE: &str = "run WRITE_DOCS=1 cargo test --test it commands, and look at the difference";

/// Writes a file that is made of something else, when asked to.
pub(super) fn write(path: &str, text: impl FnOnce() -> String) {
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path), text()).unwrap();
    }
}

async fn describe(text: &mut String, path: &[String], command: &Command) {
    let name = format!("keyvault-backup {}", path.join(" "));
    let usage = command.clone().render_usage().to_string();
    writeln!(text, "\n## {name}\n\n{}\n", command.get_long_about().unwrap()).unwrap();
    let usage: Vec<&str> = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect();
    writeln!(text, "```\n{}\n```\n", usage.join("\n")).unwrap();
    let own = |argument: &&Arg| !argument.is_global_set() && argument.get_id() != "help";
    arguments(text, command.get_arguments().filter(own));
    let help = help(&path.join(" ")).await;
    text.push_str("\nExamples:\n\n```sh\n");
    for (purpose, line) in examples(&help) {
        writeln!(text, "# {purpose}\n{line}").unwrap();
    }
    text.push_str("```\n\n| exit code | |\n| --- | --- |\n");
    for (code, meaning) in exits(&help) {
        writeln!(text, "| {code} | {} |", cell(&meaning)).unwrap();
    }
}

/// A table of arguments; settings are described elsewhere.
fn arguments<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let shown: Vec<&Arg> = arguments
        .filter(|argument| argument.get_help_heading() != Some("Settings") && !argument.is_hide_set())
        .collect();
    if shown.is_empty() {
        return;
    }
    text.push_str("| argument | meaning |\n| --- | --- |\n");
    for argument in shown {
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let mut meaning = cell(&help);
        // On and off are no values to be typed.
        let values = if argument.get_action().takes_values() { argument.get_possible_values() } else { Vec::new() };
        let values: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        if !values.is_empty() {
            write!(meaning, " ({})", values.join(", ")).unwrap();
        }
        for default in argument.get_default_values().iter().filter(|_| argument.get_action().takes_values()) {
            write!(meaning, " [default: {}]", default.to_string_lossy()).unwrap();
        }
        let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        writeln!(text, "| `{short}{}` | {meaning} |", argument.to_string().replace('|', "\\|")).unwrap();
    }
}

fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
        .replace("/*", "/\\*")
        .replace("-*", "-\\*")
}
