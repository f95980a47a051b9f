//! Every fenced block of the documents. Its mark (what stands behind the fence) says by which rule it is held; a block
//! that no rule holds is a failure, and so is a rule that has nothing to hold any more.

mod shell;

pub(crate) use shell::calls;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::Path,
    process::Command,
};

use serde_json::Value;
use simulator::{
    clock::Clock,
    identity::Directory,
    key_vault::{ALL_DATA_ACTIONS, KeyVaults, VaultOptions},
    proxy::{Doors, Protocols, Services},
};

use crate::{
    format_docs::{assert_valid, read, strict},
    runbook::FOLLOWED,
};

/// How a block is held to the truth.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rule {
    /// `sh local`: run, in the order of the document (`runbook`).
    Followed,
    /// `text` behind a followed block: compared with what that printed (`runbook`).
    Printed,
    /// `text quickstart`: compared with what the quickstart tells (`quickstart`).
    Story,
    /// `sh`: bash reads it, our commands are given to their definitions, and every other program is one we know.
    Shell,
    /// `json`, `json NAME`: parsed, and held to the schema of that name where there is one; `format_docs` and `pipes`
    /// compare them with what the code writes.
    Json,
    /// `kusto`: Microsoft's language service understands it (`infra::alerts`).
    Kusto,
    /// `mermaid`: every end of every arrow is a thing with a name.
    Chart,
    /// `rust`: the same text is compiled and run below.
    Rust,
    /// `text tree`: everything it names is there.
    Tree,
    /// Without a mark, in the page that is made of the definitions and compared with them as a whole
    /// (`commands::reference`).
    Usage,
}

/// A fenced block of a document.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) document: String,
    /// What stands behind the fence, such as `sh local`.
    pub(crate) mark: String,
    pub(crate) text: String,
    pub(crate) line: usize,
}

const REFERENCE: &str = "docs/commands.md";

#[test]
fn every_block_of_every_document_is_held_by_a_rule() {
    let mut met: BTreeMap<Rule, usize> = BTreeMap::new();
    for document in documents() {
        let mut before = None;
        for block in blocks(&document) {
            let rule = rule(&block, before);
            let rule = rule.unwrap_or_else(|| panic!("{document}, line {}: nothing holds this block", block.line));
            *met.entry(rule).or_default() += 1;
            before = Some(rule);
        }
    }
    use Rule::*;
    let all = BTreeSet::from([Followed, Printed, Story, Shell, Json, Kusto, Chart, Rust, Tree, Usage]);
    assert_eq!(met.keys().copied().collect::<BTreeSet<_>>(), all, "{met:?}");
    let fences: usize = documents().iter().map(|path| read(path).lines().filter(|line| is_fence(line)).count()).sum();
    assert_eq!(2 * met.values().sum::<usize>(), fences, "{met:?}");
    for (rule, count) in met {
        assert_eq!(held(rule).len(), count, "{rule:?}");
    }
}

#[test]
fn json_blocks_are_json_and_what_their_schemas_say() {
    let (mut parsed, mut validated) = (0, 0);
    for block in held(Rule::Json) {
        let value: Value = serde_json::from_str(&block.text)
            .unwrap_or_else(|error| panic!("{}, line {}: {error}", block.document, block.line));
        parsed += 1;
        let name = block.mark.trim_start_matches("json").trim();
        let schema = format!("docs/schema/{name}.schema.json");
        if Path::new(env!("CARGO_MANIFEST_DIR")).join(&schema).exists() {
            assert_valid(&strict(&schema), &value);
            validated += 1;
        }
    }
    assert!(parsed >= 8 && validated >= 2, "{parsed} parsed, {validated} validated");
}

#[test]
fn every_arrow_of_a_chart_has_named_ends() {
    for block in held(Rule::Chart) {
        let mut lines = block.text.lines();
        assert!(lines.next().unwrap().starts_with("flowchart "));
        let (mut used, mut named) = (BTreeSet::new(), BTreeSet::new());
        for line in lines {
            let parts: Vec<&str> = ["--> ", ".-> "].iter().find_map(|arrow| line.split_once(arrow)).map_or_else(
                || panic!("{}: {line} has no arrow", block.document),
                |(from, to)| vec![from.split(" -").next().unwrap().trim(), to.trim()],
            );
            for part in parts {
                let end = part.find(['[', '(']).unwrap_or(part.len());
                let (id, name) = part.split_at(end);
                assert!(id.chars().all(char::is_alphanumeric), "{line}: {id:?}");
                used.insert(id.to_owned());
                if !name.is_empty() {
                    let open = name.matches(['[', '(']).count();
                    assert_eq!(open, name.matches([']', ')']).count(), "{line}");
                    named.insert(id.to_owned());
                }
            }
        }
        assert!(used.len() > 5);
        assert_eq!(used, named);
    }
}

#[test]
fn everything_in_the_tree_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for block in held(Rule::Tree) {
        let (mut folder, mut found) = (String::new(), 0);
        for (place, entry) in block.text.lines().filter_map(|line| line.split_once("── ")) {
            let names: Vec<&str> = entry.split("  ").next().unwrap().split(' ').collect();
            let below = if place.contains("│   ") || place.starts_with("    ") { folder.as_str() } else { "." };
            for name in &names {
                assert!(root.join(below).join(name).exists(), "{}: there is no {below}/{name}", block.document);
                found += 1;
            }
            if below == "." {
                folder = names[0].to_owned();
            }
        }
        assert!(found > 40, "{found}");
    }
}

#[tokio::test]
async fn the_example_for_rust_tests_works_as_it_is_written() {
    let mut command = Command::new("true");
    as_the_simulator_is_used(&mut command).await.unwrap();
    let (_, here) = include_str!("documents.rs").rsplit_once("// The example begins.\n").unwrap();
    let (here, _) = here.split_once("// It ends.").unwrap();
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    for block in held(Rule::Rust) {
        assert_eq!(squeezed(&block.text), squeezed(here), "{}", block.document);
    }
}

async fn as_the_simulator_is_used(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // The example begins.
    let clock = Clock::system();
    let directory = Directory::new(clock.clone());
    let vaults = KeyVaults::new(clock, directory.clone());
    vaults.add_vault(VaultOptions { name: "contoso".into(), ..VaultOptions::default() });
    vaults.assign(&directory.identity("backup"), "contoso", ALL_DATA_ACTIONS);
    let doors = Doors::open(Services::of(vaults.clone(), directory), Protocols::Both, folder.path()).await?;
    command.envs(doors.environment()); // any client, unmodified
    assert!(vaults.unknown_requests().is_empty() && doors.refused().is_empty());
    // It ends.
    Ok(())
}

/// The documents whose blocks are held: those for people, with all below `docs`.
pub(crate) fn documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<String> =
        ["infra/README.md", "simulator/README.md"].into_iter().map(ToOwned::to_owned).collect();
    for folder in ["", "docs", "docs/decisions"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                found.push(format!("{folder}/{name}").trim_start_matches('/').to_owned());
            }
        }
    }
    found.sort();
    assert!(["README.md", "CONTRIBUTING.md", "SECURITY.md"].iter().all(|name| found.iter().any(|it| it == name)));
    found
}

/// Every block that is held by this rule.
pub(crate) fn held(by: Rule) -> Vec<Block> {
    let mut found = Vec::new();
    for document in documents() {
        let mut before = None;
        for block in blocks(&document) {
            let rule = rule(&block, before);
            if rule == Some(by) {
                found.push(block);
            }
            before = rule;
        }
    }
    assert!(!found.is_empty(), "nothing is left for the rule {by:?}");
    found
}

fn rule(block: &Block, before: Option<Rule>) -> Option<Rule> {
    let followed = FOLLOWED.contains(&block.document.as_str());
    match block.mark.split_once(' ').unwrap_or((&block.mark, "")) {
        ("sh", how) if how == "local" || how.starts_with("local ends with ") => followed.then_some(Rule::Followed),
        ("sh", "") => Some(Rule::Shell),
        ("text", "") => (followed && before == Some(Rule::Followed)).then_some(Rule::Printed),
        ("text", "quickstart") => Some(Rule::Story),
        ("text", "tree") => Some(Rule::Tree),
        ("json", _) => Some(Rule::Json),
        ("kusto", "") => Some(Rule::Kusto),
        ("mermaid", "") => Some(Rule::Chart),
        ("rust", "") => Some(Rule::Rust),
        ("", "") => (block.document == REFERENCE).then_some(Rule::Usage),
        _ => None,
    }
}

/// The fenced blocks of a document; those in lists lose their indentation.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, Option<(Block, usize)>) = (Vec::new(), None);
    for (index, line) in read(document).lines().enumerate() {
        let (text, indentation) = (line.trim_start(), line.len() - line.trim_start().len());
        match (&mut open, text.strip_prefix("```")) {
            (None, Some(mark)) => {
                let (document, mark) = (document.to_owned(), mark.trim().to_owned());
                open = Some((Block { document, mark, text: String::new(), line: index + 1 }, indentation));
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

/// Tildes and indentation make code in Markdown too, and would be held by nothing.
fn is_fence(line: &str) -> bool {
    assert!(!line.trim_start().starts_with("~~~"), "write fences with backticks: {line}");
    line.trim_start().starts_with("```")
}
