//! What `.funcignore` lets into a package, by the rules of git, which azd follows, and by those of Core Tools, which
//! match beginnings of paths and know no order.

use std::{collections::BTreeSet, process::Command};

use keyvault_backup::functions::FUNCTIONS;

use crate::format_docs::read;

/// Beside what is in the repository: what builds and people leave behind.
const LEFT_BEHIND: [&str; 6] =
    ["target/release/keyvault-backup", "local.settings.json", ".env", ".azure/prod/.env", "notes/host.json", "main.rs"];

#[test]
fn a_package_holds_host_json_the_functions_and_the_program_and_nothing_else() {
    let mut wanted: BTreeSet<String> = FUNCTIONS.iter().map(|name| format!("{name}/function.json")).collect();
    wanted.extend(["host.json".to_owned(), "keyvault-backup".to_owned()]);
    let mut paths: BTreeSet<String> = LEFT_BEHIND.map(str::to_owned).into();
    paths.insert("keyvault-backup".to_owned());
    let listed = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    paths.extend(listed.split_terminator('\0').map(str::to_owned));
    assert!(paths.len() > 100, "{paths:?}");

    let text = read(".funcignore");
    for packed in [packed_by_git, packed_by_core_tools] {
        let packed: BTreeSet<String> = paths.iter().filter(|path| packed(&text, path)).cloned().collect();
        assert_eq!(packed, wanted);
    }
}

/// Only for entries of the first level, `/*` and `!/NAME`: the last rule that fits decides, and holds for all below.
fn packed_by_git(text: &str, path: &str) -> bool {
    let entry = path.split('/').next().unwrap();
    let mut packed = true;
    for rule in rules(text) {
        match rule.strip_prefix("!/") {
            Some(name) if name == entry => packed = true,
            None => {
                assert_eq!(rule, "/*", "this test knows no such rule");
                packed = false;
            }
            Some(_) => (),
        }
    }
    packed
}

/// A path is packed when it begins with a name behind `!`, up to the end of a word, whatever stands before.
fn packed_by_core_tools(text: &str, path: &str) -> bool {
    let begins = |name: &str| {
        let rest = path.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_'))
    };
    rules(text).filter_map(|rule| rule.strip_prefix("!/")).any(begins)
}

fn rules(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}
