//! What the help says beyond the arguments, and the manual pages made of it.
//!
//! When a command is for is said by the comment above its arguments; examples and exit codes stand beside that, in a
//! [`Manual`]. One text makes `--help`, the manual pages and `docs/commands.md`.

use clap::{
    Arg, Command,
    builder::{PossibleValue, StyledStr, Styles},
    error::{ContextKind, ContextValue},
};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{backup, copy, diff, drill, guard, list, operations, print, prune, restore, show, status, verify};

/// What the help of a command says beyond its arguments.
pub(super) struct Manual {
    /// Command lines that can be pasted, each behind what it is for.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// The codes it can end with, and what each means here; without a text, what it means of every command.
    pub(super) exits: &'static [(u8, &'static str)],
}

/// Every command by the words that call it, with hyphens between them.
const MANUALS: &[(&str, &Manual)] = &[
    ("", &PROGRAM),
    ("backup", &backup::MANUAL),
    ("restore", &restore::MANUAL),
    ("list", &list::MANUAL),
    ("show", &show::MANUAL),
    ("diff", &diff::MANUAL),
    ("status", &status::MANUAL),
    ("verify", &verify::MANUAL),
    ("drill", &drill::MANUAL),
    ("guard", &guard::MANUAL),
    ("guard-acknowledge", &guard::ACKNOWLEDGE),
    ("prune", &prune::MANUAL),
    ("copy", &copy::MANUAL),
    ("operations", &operations::MANUAL),
    ("serve", &SERVE),
    ("completions", &COMPLETIONS),
    ("man", &MAN),
];

const PROGRAM: Manual = Manual {
    examples: &[
        ("Back up a vault", "keyvault-backup backup contoso-prod"),
        ("See how well each vault is protected", "keyvault-backup status"),
        ("See what a restore would do", "keyvault-backup restore contoso-prod --to contoso-dr --dry-run"),
    ],
    exits: &[],
};

const SERVE: Manual = Manual {
    examples: &[("Listen where the Functions host would ask", "keyvault-backup serve --port 7071")],
    exits: &[(2, "the command is wrong, or something else listens on the port")],
};

const COMPLETIONS: Manual = Manual {
    examples: &[
        (
            "For bash, from the next shell on",
            "keyvault-backup completions bash > ~/.local/share/bash-completion/completions/keyvault-backup",
        ),
        ("For fish", "keyvault-backup completions fish > ~/.config/fish/completions/keyvault-backup.fish"),
        ("For zsh, in a folder of $fpath", "keyvault-backup completions zsh > ~/.zfunc/_keyvault-backup"),
    ],
    exits: &[(0, "the script was printed"), (2, "")],
};

const MAN: Manual = Manual {
    examples: &[
        ("Read the page of a command", "keyvault-backup man restore | man --local-file -"),
        (
            "Install the page of the program for this user",
            "keyvault-backup man > ~/.local/share/man/man1/keyvault-backup.1",
        ),
    ],
    exits: &[(0, "the page was printed"), (2, "")],
};

/// What is printed when no command is given; no wider than any terminal.
pub(super) const WELCOME: &str = "\
Backs up every key, secret and certificate of Azure Key Vaults, and restores
them. Three commands to begin with:

  keyvault-backup backup VAULT
      Back up a vault now
  keyvault-backup status
      Show how well each vault is protected
  keyvault-backup restore VAULT --to VAULT --dry-run
      Show what a restore would do; without --dry-run, do it

Set BACKUP_STORE_URL to where the backups are kept: the URL of a blob container,
or of a folder such as file:///tmp/vault-backups. Sign in with: az login

All commands: keyvault-backup --help
About one of them: keyvault-backup help restore
";

/// Gives every command the examples and exit codes of its manual.
pub(super) fn complete(command: Command) -> Command {
    with_manual(command, "")
        // They apply to every command and would drown what is its own.
        .mut_args(|argument| {
            let is_of_all = matches!(argument.get_help_heading(), Some("Settings" | "The deployed app"));
            argument.hide_short_help(is_of_all)
        })
}

/// The same message with the usage of its command as the help shows it. What a mistake brings along has every setting that
/// happens to be in the environment, as if it had been typed.
pub(super) fn with_plain_usage(mut message: clap::Error, mut command: Command) -> clap::Error {
    if let Some(ContextValue::StyledStr(usage)) = message.get(ContextKind::Usage) {
        let usage = usage.to_string();
        command.build();
        let mut meant = &command;
        // Behind the program, which may have been renamed.
        for word in usage.split_whitespace().skip_while(|word| *word == "Usage:").skip(1) {
            let Some(below) = meant.find_subcommand(word) else { break };
            meant = below;
        }
        let usage = meant.clone().render_usage();
        if let (Some(ContextValue::String(word)), "restore") = (message.get(ContextKind::InvalidArg), meant.get_name())
            && !word.starts_with('-')
        {
            let tip = StyledStr::from(format!("the vault to restore into is named with '--to {word}'"));
            message.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        }
        message.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    message
}

fn with_manual(command: Command, path: &str) -> Command {
    let command = command.mut_subcommands(|below| {
        let path = below_path(path, &below);
        with_manual(below, &path)
    });
    let Some(manual) = manual_of(path) else { return command };
    let help = ["keyvault-backup", &path.replace('-', " "), "--help"].join(" ").replace("  ", " ");
    command.after_help(format!("Examples, settings and exit codes: {help}")).after_long_help(manual.text())
}

fn below_path(path: &str, below: &Command) -> String {
    [path, below.get_name()].join("-").trim_start_matches('-').to_owned()
}

fn manual_of(path: &str) -> Option<&'static Manual> {
    MANUALS.iter().find(|(name, _)| *name == path).map(|(_, manual)| *manual)
}

impl Manual {
    /// The sections of `--help` below the arguments.
    fn text(&self) -> StyledStr {
        let header = Styles::default();
        let header = header.get_header();
        let mut text = format!("{header}Examples:{header:#}");
        for (purpose, line) in self.examples {
            text.push_str(&format!("\n  {purpose}:\n    {line}"));
        }
        text.push_str(&format!("\n\n{header}Exit codes:{header:#}"));
        for (code, meaning) in self.exits() {
            text.push_str(&format!("\n  {code}  {meaning}"));
        }
        text.into()
    }

    /// The codes with their meanings; those of the program are the table of all.
    fn exits(&self) -> Vec<(u8, &'static str)> {
        if self.exits.is_empty() {
            return general_exits().collect();
        }
        let general = |code: u8| general_exits().find(|(known, _)| *known == code).map_or("", |(_, meaning)| meaning);
        self.exits
            .iter()
            .map(|(code, meaning)| (*code, if meaning.is_empty() { general(*code) } else { meaning }))
            .collect()
    }
}

/// The table of all exit codes.
fn general_exits() -> impl Iterator<Item = (u8, &'static str)> {
    print::EXIT_CODES.lines().filter_map(|line| {
        let (code, meaning) = line.trim_start().split_once("  ")?;
        Some((code.parse().ok()?, meaning))
    })
}

/// The names of the commands that have a manual page: all but that of the program itself.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MANUALS.iter().map(|(name, _)| *name).filter(|name| !name.is_empty())
}

/// What makes a shell complete commands, flags and their values.
pub(super) fn completions(mut command: Command, shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "keyvault-backup", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // For a program with a hyphen in its name, the script for bash looks for the arguments of its commands under
        // another name than they have (clap issue 6421).
        Shell::Bash => script.replace("keyvault__subcmd__backup", "keyvault__backup"),
        // The script for fish knows the values of options only, and offers files for other arguments.
        Shell::Fish => script + &values_for_fish(&command),
        _ => script,
    }
}

/// Completes arguments that are no options and have a few known values.
fn values_for_fish(command: &Command) -> String {
    let line = |below: &Command, values: Vec<PossibleValue>| {
        let values: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
        let command = below.get_name();
        let when = format!("__fish_keyvault_backup_using_subcommand {command}");
        format!("complete -c keyvault-backup -n \"{when}\" -f -a \"{}\"\n", values.join(" "))
    };
    let values = |below: &Command| below.get_positionals().flat_map(Arg::get_possible_values).collect::<Vec<_>>();
    let known = command.get_subcommands().map(|below| (below, values(below))).filter(|(_, values)| !values.is_empty());
    known.map(|(below, values)| line(below, values)).collect()
}

/// A manual page, as `man` reads it. An unknown name gives that of the program.
pub(super) fn page(command: Command, name: &str) -> String {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut found = find(&command, "", name).unwrap_or(&command).clone();
    let usage = found.render_usage().to_string();
    // Made of the arguments, the synopsis would hold every setting.
    let found = found.override_usage(usage.trim_start_matches("Usage: ").to_owned()).mut_args(|argument| {
        let argument = argument.hide_short_help(false);
        if argument.is_positional() { argument.help_heading("Arguments") } else { argument }
    });
    let title = ["keyvault-backup", name].join("-").trim_end_matches('-').to_owned();
    let has_commands = found.has_subcommands();
    // The name of the manual would stand between the titles, which leave no room for it; and what is empty is left out,
    // so that the next would take its place.
    let source = concat!("keyvault-backup ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(found).title(title).date(" ").source(source).manual(" ");
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = man.render_title(&mut page);
    let _ = man.render_name_section(&mut page);
    let _ = man.render_synopsis_section(&mut page);
    let _ = man.render_description_section(&mut page);
    if has_commands {
        let _ = man.render_subcommands_section(&mut page);
    }
    let _ = man.render_options_section(&mut page);
    if let Some(manual) = manual_of(name) {
        let _ = manual.sections(name).to_writer(&mut page);
    }
    String::from_utf8_lossy(&page).into_owned()
}

fn find<'a>(command: &'a Command, path: &str, name: &str) -> Option<&'a Command> {
    if path == name {
        return Some(command);
    }
    command.get_subcommands().find_map(|below| find(below, &below_path(path, below), name))
}

impl Manual {
    /// The last sections of a manual page.
    fn sections(&self, name: &str) -> Roff {
        let mut roff = Roff::new();
        roff.control("SH", ["EXIT STATUS"]);
        for (code, meaning) in self.exits() {
            roff.control("TP", []);
            roff.text([bold(code.to_string())]);
            roff.text([roman(meaning)]);
        }
        roff.control("SH", ["EXAMPLES"]);
        for (purpose, line) in self.examples {
            roff.control("PP", []);
            roff.text([roman(format!("{purpose}:"))]);
            roff.control("RS", ["4"]);
            roff.control("nf", []);
            roff.text([roman(*line)]);
            roff.control("fi", []);
            roff.control("RE", []);
        }
        if !name.is_empty() {
            roff.control("SH", ["SEE ALSO"]);
            roff.text([bold("keyvault-backup"), roman("(1)")]);
        }
        roff
    }
}

#[cfg(test)]
mod tests {
    use super::{super::command_line, *};

    #[test]
    fn a_mistake_is_told_with_the_usage_of_its_command_whatever_the_program_is_called() {
        for program in ["keyvault-backup", "renamed"] {
            let mistake = command_line().try_get_matches_from([program, "restore", "a", "b"]).unwrap_err();
            let text = with_plain_usage(mistake, command_line()).to_string();
            assert!(text.contains("restore [OPTIONS] --to") && text.contains("named with '--to b'"), "{text}");
        }
    }
}
