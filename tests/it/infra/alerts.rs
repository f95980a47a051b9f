//! Whoever has to know is told: a rule for each event that is an error, queries that Kusto understands, and a row in the
//! runbook for each rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{tool, variable};
use crate::{
    documents::{Rule, held},
    format_docs::read,
    settings_docs::rows,
};

const FILE: &str = "infra/modules/alerts.bicep";

/// The columns that the queries use, of the tables of Azure Monitor.
pub(super) const TABLES: [(&str, &str); 5] = [
    ("AppTraces", "(TimeGenerated: datetime, Message: string)"),
    ("AppRequests", "(TimeGenerated: datetime, Name: string, DurationMs: real)"),
    (
        "AZKVAuditLogs",
        "(TimeGenerated: datetime, OperationName: string, HttpStatusCode: int, Identity: dynamic, _ResourceId: string)",
    ),
    ("StorageQueueLogs", "(TimeGenerated: datetime, OperationName: string, Uri: string)"),
    (
        "StorageBlobLogs",
        "(TimeGenerated: datetime, OperationName: string, StatusCode: string, Uri: string, RequesterObjectId: string)",
    ),
];

#[test]
fn each_event_that_is_an_error_calls_somebody() {
    let text = read("docs/operations.md");
    let documented: BTreeMap<String, String> =
        rows(&text, "| event |").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let watched: BTreeSet<String> = rules("eventRules")
        .iter()
        .flat_map(|rule| rule["events"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()))
        .collect();
    for (event, level) in &documented {
        assert!(level != "ERROR" || watched.contains(event), "no alert rule watches {event}");
    }
    let names = read("src/events.rs");
    for event in &watched {
        assert!(names.contains(&format!("= \"{event}\";")), "an alert rule watches {event}, which does not exist");
    }
    assert!(watched.contains("restore.completed"), "a restore is told although it is no error");
}

#[test]
fn each_rule_has_its_row_in_the_runbook() {
    let documented: BTreeSet<(String, String)> = rows(&read("docs/operations.md"), "| alert | severity |")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let rules = ["eventRules", "queryRules"].into_iter().flat_map(rules);
    let there: BTreeSet<(String, String)> =
        rules.map(|rule| (rule["name"].as_str().unwrap().to_owned(), rule["severity"].to_string())).collect();
    assert_eq!(documented, there);
}

#[test]
fn kusto_understands_every_query() {
    let queries = queries();
    assert!(queries.len() >= 12, "{:?}", queries.keys());
    assert_eq!(judge(&queries), Vec::<Value>::new());
    let renamed = |(name, text): (&String, &String)| (name.clone(), text.replace("TimeGenerated", "TimeCreated"));
    let broken: BTreeMap<String, String> = queries.iter().map(renamed).collect();
    let refused: BTreeSet<String> = judge(&broken).iter().map(|it| it["query"].as_str().unwrap().to_owned()).collect();
    assert_eq!(refused, broken.into_keys().collect(), "the rest would pass whatever it says");
}

#[test]
fn queries_ask_for_fields_that_events_have() {
    let text = read("docs/operations.md");
    let fields = rows(&text, "| event |")
        .into_iter()
        .flat_map(|row| row[3].split(", ").map(|field| field.trim_matches('`').to_owned()).collect::<Vec<_>>());
    let known: BTreeSet<String> = fields.chain(["target", "event", "level"].map(str::to_owned)).collect();
    for (name, text) in queries() {
        for (_, rest) in text.match_indices("line.").map(|(at, it)| text.split_at(at + it.len())) {
            let field: String = rest.chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '_').collect();
            assert!(known.contains(&field), "{name} asks for {field}");
        }
    }
}

#[test]
fn a_vault_is_missed_even_when_nothing_is_logged() {
    let query = read("infra/queries/no-good-backup.kql");
    // What is asked is the list of the deployment; what was logged only takes names off it.
    assert!(query.contains("\ndatatable(vault: string) [$vaults$]\n| where vault !in (good)\n"), "{query}");
    let rules = rules("queryRules");
    let rule = rules.iter().find(|rule| rule["name"] == "no-good-backup").unwrap();
    assert_eq!((&rule["window"], &rule["dimensions"]), (&json!("P2D"), &json!(["byVault"])));
    // An alert rule sees two days.
    let hours = &super::bicep()["infra/main.bicep"]["parameters"]["maxAgeHours"]["decorators"];
    assert!(hours.as_array().unwrap().contains(&json!({"type": "max_value", "argument": 48})), "{hours}");
}

#[test]
fn the_alert_for_unknown_callers_watches_the_six_operations() {
    let query = read("infra/queries/unknown-caller.kql");
    for kind in ["Secret", "Key", "Certificate"] {
        for verb in ["Backup", "Restore"] {
            assert!(query.contains(&format!("'{kind}{verb}'")), "{kind}{verb}");
        }
    }
    // A denied call can carry the result type Success.
    for query in [query, read("infra/queries/denied-calls.kql")] {
        assert!(query.contains("HttpStatusCode") && !query.contains("ResultType"), "{query}");
    }
}

pub(super) fn rules(name: &str) -> Vec<Value> {
    variable(FILE, name).as_array().unwrap().clone()
}

/// Every query of the alerts, the workbook and the documents, as Azure gets it.
fn queries() -> BTreeMap<String, String> {
    let mut queries = BTreeMap::new();
    for entry in std::fs::read_dir("infra/queries").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(read(FILE).contains(&format!("'../queries/{name}'")), "{name} is idle");
        queries.insert(name, filled_in(&std::fs::read_to_string(&path).unwrap()));
    }
    let workbook: Value = serde_json::from_str(&read("infra/workbook.json")).unwrap();
    for item in workbook["items"].as_array().unwrap() {
        if let Some(query) = item["content"]["query"].as_str() {
            queries.insert(format!("workbook: {}", item["name"]), filled_in(query));
        }
    }
    for block in held(Rule::Kusto) {
        queries.insert(format!("{}, line {}", block.document, block.line), block.text);
    }
    queries
}

fn filled_in(query: &str) -> String {
    let query = query.replace("$hours$", "26").replace("$container$", "keyvault-backups");
    let query =
        ["$vaults$", "$events$", "$own$", "$known$"].iter().fold(query, |text, name| text.replace(name, "'a', 'b'"));
    assert!(!query.contains('$'), "{query}");
    query
}

/// What Microsoft's language service for Kusto says of these queries.
fn judge(queries: &BTreeMap<String, String>) -> Vec<Value> {
    let package = tool("node_modules/@kusto/language-service-next");
    let asked = json!({"package": package, "tables": BTreeMap::from(TABLES), "queries": queries});
    serde_json::from_value(feed(Path::new("node"), &["tests/it/infra/kusto.cjs"], &asked)).unwrap()
}

/// What a program answers to a document on its standard input.
pub(super) fn feed(program: &Path, arguments: &[&str], asked: &Value) -> Value {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?} failed; its own message is above");
    serde_json::from_slice(&output.stdout).unwrap()
}
