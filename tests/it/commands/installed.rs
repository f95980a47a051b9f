//! What is installed beside the program: manual pages and the archive of a release, which has completions too.

use std::process::{Command, Stdio};

use super::names;
use crate::local_azure::{BINARY, Settings, run};

#[tokio::test]
async fn every_command_has_a_manual_page_with_the_sections_that_a_reader_of_them_expects() {
    for name in names().into_iter().chain([String::new()]) {
        let page = name.replace(' ', "-");
        let arguments: Vec<&str> = ["man", &page].into_iter().filter(|word| !word.is_empty()).collect();
        let ran = run(&Settings::new(), &arguments).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{name}");
        // A hyphen and an apostrophe that are typed.
        let text = ran.stdout.replace("\\-", "-").replace("\\*(Aq", "'");
        let title = ["keyvault-backup", &page].join("-");
        assert!(text.contains(&format!(".TH {} 1", title.trim_end_matches('-'))), "{name}: {text}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SETTINGS", "\"EXIT STATUS\"", "EXAMPLES"] {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{name} lacks {section}: {text}");
        }
        let synopsis = text.split(".SH SYNOPSIS\n").nth(1).unwrap().lines().next().unwrap();
        assert!(synopsis.contains("[OPTIONS]") && !synopsis.contains("backup-vaults"), "{synopsis}");
        for (purpose, line) in super::examples(&super::help(&name).await) {
            assert!(text.contains(&purpose) && text.contains(&line), "{name}: {line}: {text}");
        }
        assert!(text.contains("Where backups are kept"), "settings say what they are: {text}");
    }
    let wrong = run(&Settings::new(), &["man", "nonsense"]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""));
}

/// As `man` shows it at a terminal of eighty columns: with groff, which warns of what it does not understand.
#[tokio::test]
async fn every_manual_page_is_rendered_without_a_warning_and_says_what_it_is_to_say() {
    let folder = tempfile::tempdir().unwrap();
    for name in names().into_iter().chain([String::new()]) {
        let page = name.replace(' ', "-");
        let arguments: Vec<&str> = ["man", &page].into_iter().filter(|word| !word.is_empty()).collect();
        let file = folder.path().join("page.1");
        std::fs::write(&file, run(&Settings::new(), &arguments).await.stdout).unwrap();
        // -P-cbou: no codes for bold and underlined text.
        let output = Command::new("groff").args(["-man", "-ww", "-Tutf8", "-rLL=80n", "-P-cbou"]).arg(&file).output();
        let output = output.expect("scripts/tools.sh installs groff");
        let (shown, warnings) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && warnings.is_empty(), "{name}: {warnings}");
        let title = format!("{}(1)", ["keyvault-backup", &page].join("-").trim_end_matches('-'));
        let lines: Vec<&str> = shown.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let (head, foot) = (lines[0], lines[lines.len() - 1]);
        // Two titles with space between them, and nothing printed over them.
        assert!(head.starts_with(&format!("{title} ")) && head.ends_with(&format!(" {title}")), "{head}");
        assert!(foot.starts_with(concat!("keyvault-backup ", env!("CARGO_PKG_VERSION"), " ")), "{foot}");
        let section = |wanted: &str| -> String {
            let from = lines.iter().position(|line| *line == wanted).unwrap_or_else(|| panic!("{name} lacks {wanted}"));
            let text = lines[from + 1..lines.len() - 1].iter().take_while(|line| line.starts_with(' '));
            text.flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ")
        };
        assert!(section("NAME").starts_with(&format!("{} - ", title.trim_end_matches("(1)"))), "{}", section("NAME"));
        let synopsis = ["keyvault-backup", &name].join(" ");
        assert!(section("SYNOPSIS").starts_with(synopsis.trim_end()), "{}", section("SYNOPSIS"));
        let codes = section("EXIT STATUS");
        assert!(codes.starts_with(|first: char| first.is_ascii_digit()) && codes.contains("the command"), "{codes}");
        let examples = section("EXAMPLES");
        for (purpose, line) in super::examples(&super::help(&name).await) {
            for part in [purpose, line] {
                let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(examples.contains(&part), "{name} lacks {part:?}: {examples}");
            }
        }
        // Commands are not broken, or they could not be copied; everything else fits.
        let is_example =
            |line: &str| line.starts_with("           ") && line.trim_start().starts_with("keyvault-backup");
        let wide = lines.iter().find(|line| line.chars().count() > 80 && !is_example(line));
        assert_eq!(wide, None, "{name}");
    }
}

#[test]
fn an_interrupted_reader_of_a_manual_page_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = Command::new(BINARY).arg("man").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_archive_of_a_release_holds_every_page_and_completion_and_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let archive = |name: &str| {
        let path = folder.path().join(name);
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/manual.sh");
        let made = Command::new(script).arg(BINARY).arg(&path).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        path
    };
    let (first, second) = (archive("first.tar.gz"), archive("second.tar.gz"));
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
    let listed = Command::new("tar").args(["--list", "--file"]).arg(&first).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let pages = names().into_iter().map(|name| format!("man/man1/keyvault-backup-{}.1", name.replace(' ', "-")));
    let completions = ["keyvault-backup", "_keyvault-backup", "keyvault-backup.fish", "keyvault-backup.ps1"];
    let completions = completions.map(|name| format!("completions/{name}"));
    let mut wanted: Vec<String> = pages.chain(completions).chain(["man/man1/keyvault-backup.1".to_owned()]).collect();
    let mut files: Vec<&str> = listed.lines().filter(|line| !line.ends_with('/')).collect();
    wanted.sort();
    files.sort_unstable();
    assert_eq!(files, wanted);
}

#[test]
fn a_build_knows_its_commit_and_whether_it_was_changed_and_two_clones_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let compiled = Command::new("rustc").args(["--edition", "2024", "-o"]).arg(at("build")).arg(script).status();
    assert!(compiled.unwrap().success());
    let git = |directory: &str, arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(arguments);
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_COMMITTER_DATE", "2026-11-21T02:00:00+01:00");
        let output = command.current_dir(at(directory)).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let facts = |directory: &str, profile: &str| {
        let mut command = Command::new(at("build"));
        command.env("PROFILE", profile).env("TARGET", "some-target").env("RUSTC", "rustc");
        let output = command.current_dir(at(directory)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let fact = |name: &str| lines.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        assert_eq!(fact("cargo::rustc-env=BUILD_TARGET="), "some-target");
        assert!(fact("cargo::rustc-env=BUILD_COMPILER=").starts_with("rustc "));
        fact("cargo::rustc-env=BUILD_COMMIT=")
    };
    std::fs::create_dir_all(at("one/src/unpacked")).unwrap();
    std::fs::write(at("one/src/main.rs"), "fn main() {}").unwrap();
    assert_eq!(facts("one", "release"), "unknown (built without git)");
    git("one", &["init", "--quiet"]);
    git("one", &["add", "src/main.rs"]);
    git("one", &["commit", "--quiet", "--message", "first"]);
    let commit = git("one", &["rev-parse", "HEAD"]);
    let clean = format!("{commit}, 2026-11-21T02:00:00+01:00");
    assert_eq!(facts("one", "release"), clean);
    git(".", &["clone", "--quiet", "one", "two"]);
    assert_eq!(facts("two", "release"), clean);
    assert_eq!(facts("one", "debug"), "unknown (built for debugging)");
    // Another repository around it is not its own.
    assert_eq!(facts("one/src/unpacked", "release"), "unknown (built without git)");
    std::fs::write(at("two/src/main.rs"), "fn main() { }").unwrap();
    assert_eq!(facts("two", "release"), format!("{clean}, and changes to it"));
}
