//! Completions, loaded in the shells themselves as they are installed: what a person is offered there.

use std::{collections::BTreeSet, fs, process::Command};

use simulator::azurite::tools;

use super::commands;
use crate::{
    local_azure::{BINARY, Settings, run},
    terminal::Terminal,
};

/// The program is on the path.
fn path() -> String {
    format!("{}:/usr/bin:/bin", std::path::Path::new(BINARY).parent().unwrap().display())
}

/// The command line of each command, and the long names of its flags.
fn flags() -> Vec<(String, Vec<String>)> {
    let flag = |argument: &clap::Arg| argument.get_long().map(|flag| format!("--{flag}"));
    let all = commands().into_iter().map(|(path, command)| {
        let flags = command.get_arguments().filter_map(flag).collect();
        ([&["keyvault-backup".to_owned()], &path[..]].concat().join(" "), flags)
    });
    all.collect()
}

#[tokio::test]
async fn bash_completes_commands_flags_and_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("completions.bash");
    std::fs::write(&script, completions("bash").await).unwrap();
    let complete = |words: &[&str]| {
        let words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let ask = format!(
            "source {} && COMP_WORDS=({words}) && COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) &&
             $(complete -p keyvault-backup | sed 's/.*-F \\([^ ]*\\).*/\\1/') keyvault-backup \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\" &&
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        let mut found: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        found.sort();
        found
    };
    let checked = Command::new("bash").arg("-n").arg(&script).status().unwrap();
    assert!(checked.success());
    assert_eq!(complete(&["keyvault-backup", "re"]), ["restore"]);
    assert_eq!(complete(&["keyvault-backup", "guard", "ack"]), ["acknowledge"]);
    assert_eq!(complete(&["keyvault-backup", "restore", "--on-"]), ["--on-conflict", "--on-deleted"]);
    assert_eq!(complete(&["keyvault-backup", "list", "--output", ""]), ["json", "table"]);
    assert_eq!(complete(&["keyvault-backup", "completions", "z"]), ["zsh"]);
    for (line, flags) in flags() {
        let words: Vec<&str> = line.split(' ').collect();
        let known = complete(&[&words[..], &["-"]].concat());
        for flag in flags {
            assert!(known.contains(&flag), "{line} {flag}: {known:?}");
        }
    }
}

/// Empties the line, and the screen.
const CLEAR: &str = "\x15\x0c";

/// What is offered for a command line that is typed as far as this, in zsh and in fish.
const OFFERED: [(&str, &[&str]); 8] = [
    ("keyvault-backup ba", &["backup"]),
    ("keyvault-backup re", &["restore"]),
    ("keyvault-backup --output json guard ack", &["acknowledge"]),
    ("keyvault-backup restore --on-", &["--on-conflict", "--on-deleted"]),
    ("keyvault-backup restore --on-deleted ", &["fail", "purge", "recover"]),
    ("keyvault-backup list --output ", &["json", "table"]),
    ("keyvault-backup completions z", &["zsh"]),
    ("keyvault-backup man guard", &["guard", "guard-acknowledge"]),
];

#[tokio::test]
async fn zsh_completes_commands_flags_and_their_values() {
    let home = tempfile::tempdir().unwrap();
    let functions = home.path().join(".zfunc");
    fs::create_dir(&functions).unwrap();
    fs::write(functions.join("_keyvault-backup"), completions("zsh").await).unwrap();
    let start = "fpath=(~/.zfunc $fpath)\nautoload -Uz compinit && compinit -u -D\nLISTMAX=1000\nPROMPT='ready> '\n";
    fs::write(home.path().join(".zshrc"), start).unwrap();
    let settings = [("HOME", home.path().to_str().unwrap()), ("PATH", &path()), ("TERM", "xterm-256color")];
    let settings: Settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut terminal = Terminal::of("zsh", &settings, &["--no-globalrcs"], (100, 200), None);
    terminal.wait_for("ready> ").await;
    for (line, offered) in OFFERED {
        type_and_complete(&mut terminal, line).await;
        match offered {
            [only] => is_typed(&mut terminal, &format!("{} {only}", line.rsplit_once(' ').unwrap().0)).await,
            several => {
                for word in several {
                    is_offered(&mut terminal, word).await;
                }
            }
        }
    }
    for (line, flags) in flags() {
        type_and_complete(&mut terminal, &format!("{line} --")).await;
        for flag in flags {
            is_offered(&mut terminal, &flag).await;
        }
    }
    terminal.press(&format!("{CLEAR}exit\r")).await;
    let written = terminal.end().await.written;
    assert!(!written.contains("_arguments:") && !written.contains("command not found"), "{written}");
}

/// Types a line on a screen that was cleared, and presses the key that completes it.
async fn type_and_complete(terminal: &mut Terminal, line: &str) {
    terminal.press(&format!("{CLEAR}{line}")).await;
    is_typed(terminal, line).await;
    terminal.press("\t").await;
}

async fn is_typed(terminal: &mut Terminal, line: &str) {
    let wanted = format!("ready> {}", line.trim_end());
    terminal.wait_until(&wanted, |shown| shown.lines().next().is_some_and(|first| first.trim_end() == wanted)).await;
}

/// Below the line that is typed, in columns or with what it means.
async fn is_offered(terminal: &mut Terminal, word: &str) {
    let words = |row: &str| row.split(" -- ").next().is_some_and(|row| row.split_whitespace().any(|it| it == word));
    terminal.wait_until(word, |shown| shown.lines().skip(1).any(words)).await;
}

#[tokio::test]
async fn fish_completes_commands_flags_and_their_values() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/fish/completions");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("keyvault-backup.fish"), completions("fish").await).unwrap();
    // All at once: the answers to each line behind the line itself.
    let lines: Vec<String> = OFFERED.iter().map(|(line, _)| (*line).to_owned()).collect();
    let lines: Vec<String> =
        lines.into_iter().chain(flags().into_iter().map(|(line, _)| format!("{line} --"))).collect();
    let asks: String = lines.iter().map(|line| format!("echo '= {line}'; complete --do-complete '{line}'; ")).collect();
    let fish =
        Command::new("fish").env_clear().env("HOME", home.path()).env("PATH", path()).args(["-c", &asks]).output();
    let fish = fish.expect("fish is started. Run scripts/tools.sh, which installs it");
    let (told, complaints) = (String::from_utf8(fish.stdout).unwrap(), String::from_utf8_lossy(&fish.stderr));
    assert!(fish.status.success() && complaints.is_empty(), "{complaints}");
    let answers = |line: &str| -> BTreeSet<&str> {
        let (_, after) = told.split_once(&format!("= {line}\n")).unwrap_or_else(|| panic!("{line}: {told}"));
        let rows = after.lines().take_while(|row| !row.starts_with("= "));
        rows.map(|row| row.split('\t').next().unwrap()).collect()
    };
    for (line, offered) in OFFERED {
        assert_eq!(answers(line), offered.iter().copied().collect(), "{line}");
    }
    for (line, flags) in flags() {
        let known = answers(&format!("{line} --"));
        for flag in flags {
            assert!(known.contains(&*flag), "{line} {flag}: {known:?}");
        }
    }
}

#[tokio::test]
async fn the_script_for_powershell_is_one_for_its_parser() {
    // The parser does not know methods that are given a block without parentheses, which PowerShell does since version 4.
    let script = completions("powershell").await;
    let script =
        script.replace("}\n    })\n\n    $completions.Where{ ", "}\n    })\n\n    $completions | Where-Object { ");
    let folder = tempfile::tempdir().unwrap();
    let check = |script: &str| {
        let file = folder.path().join("completions.ps1");
        fs::write(&file, script).unwrap();
        let python = tools().join("powershell/bin/python");
        let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/commands/powershell.py");
        let checked = Command::new(python).arg(checker).arg(file).output();
        let checked = checked.expect("the parser is started. Run scripts/tools.sh, which installs it");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        String::from_utf8(checked.stdout).unwrap()
    };
    assert_eq!(check(&script), "");
    // It would tell.
    assert_ne!(check(&script.replacen("app''s", "app's", 1)), "");
}

#[tokio::test]
async fn every_shell_gets_every_command_and_flag() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = completions(shell).await;
        for (path, command) in commands() {
            let last = path.last().map_or("keyvault-backup", String::as_str);
            assert!(script.contains(last), "{shell} lacks {path:?}");
            for flag in command.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(script.contains(flag), "{shell} lacks {path:?} --{flag}");
            }
        }
    }
}

async fn completions(shell: &str) -> String {
    let ran = run(&Settings::new(), &["completions", shell]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}");
    ran.stdout
}
