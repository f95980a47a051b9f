//! The schemas of `--output json` in `docs/schema/cli`: each stands alone, forbids what it does not describe, and says of
//! bodies that the HTTP API has too what `docs/openapi.yaml` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Map, Value, json};
use simulator::key_vault::{Fault, Kind, Operation, Verb};

use super::{
    help, names,
    reference::{HOW_TO_WRITE, write},
};
use crate::{
    format_docs::{assert_valid, close, read},
    local_azure::{BINARY, LocalAzure, Ran},
    openapi_docs,
    settings_docs::rows,
};

/// They print a text of their own, and as JSON only errors.
const OF_TEXT: [&str; 3] = ["completions", "man", "serve"];

/// Of the lines of `--progress json`.
const PROGRESS: &str = "docs/schema/cli/progress.schema.json";

/// Holds a line of `--progress json` to its schema.
pub(crate) fn assert_progress(line: &Value) {
    assert_valid(&serde_json::from_str(&read(PROGRESS)).unwrap(), line);
}

/// Holds what a command printed to its schema, and the schema to being strict.
pub(super) fn assert_printed(command: &str, ran: &Ran) {
    if OF_TEXT.contains(&command) && ran.code == 0 {
        return;
    }
    let (schema, body) = (schema(command), ran.json());
    assert_valid(&schema, &body);
    let mut altered = body;
    altered["unexpected"] = true.into();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(!validator.is_valid(&altered), "the schema of {command} lets pass what it does not describe");
}

fn path(command: &str) -> String {
    let name = if OF_TEXT.contains(&command) { "error".to_owned() } else { command.replace(' ', "-") };
    format!("docs/schema/cli/{name}.schema.json")
}

fn schema(command: &str) -> Value {
    serde_json::from_str(&read(&path(command))).unwrap()
}

#[test]
fn every_command_has_a_schema_and_every_schema_a_command() {
    let wanted: BTreeSet<String> = names().iter().map(|name| path(name)).chain([PROGRESS.to_owned()]).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/cli");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.map(|name| format!("docs/schema/cli/{name}")).collect::<BTreeSet<_>>(), wanted);
    let documented: BTreeMap<String, String> = rows(&read("docs/programs.md"), "| command | schema |")
        .into_iter()
        .flat_map(|row| {
            let link = row[1].split("](").nth(1).unwrap().trim_end_matches(')').to_owned();
            let commands: Vec<String> = row[0].split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
            commands.into_iter().map(move |name| (name, format!("docs/{link}")))
        })
        .collect();
    assert_eq!(documented, names().into_iter().map(|name| (name.clone(), path(&name))).collect());
    assert!(read("docs/programs.md").contains(&format!("]({})", PROGRESS.trim_start_matches("docs/"))));
}

#[test]
fn every_schema_stands_alone_and_says_of_shared_bodies_what_the_http_api_says() {
    let shared = openapi_docs::document()["components"]["schemas"].clone();
    let paths: BTreeSet<String> = names().iter().map(|name| path(name)).chain([PROGRESS.to_owned()]).collect();
    for path in paths {
        let mut schema: Value = serde_json::from_str(&read(&path)).unwrap();
        let Some(Value::Object(written)) = schema.as_object_mut().unwrap().remove("$defs") else { panic!("{path}") };
        let own = written.into_iter().filter(|(name, _)| shared.get(name).is_none());
        let mut definitions: Map<String, Value> = own.collect();
        let extended = extended(&definitions);
        loop {
            let known = json!({ "root": schema, "definitions": definitions }).to_string();
            let asked = known.split("\"#/$defs/").skip(1).map(|rest| rest.split('"').next().unwrap());
            let missing: BTreeSet<String> =
                asked.filter(|name| !definitions.contains_key(*name)).map(str::to_owned).collect();
            if missing.is_empty() {
                break;
            }
            for name in missing {
                let text = shared[&name].to_string().replace("#/components/schemas/", "#/$defs/");
                let mut definition: Value = serde_json::from_str(&text).unwrap();
                assert!(definition.is_object(), "{path}: nobody defines {name}");
                without_examples(&mut definition);
                if name == "Code" {
                    // Nobody stops a request by Ctrl-C.
                    definition["enum"].as_array_mut().unwrap().push("Stopped".into());
                }
                for only_over_http in ["nextLink", "operationLocation"] {
                    let fields = definition.get_mut("properties").and_then(Value::as_object_mut);
                    fields.and_then(|fields| fields.remove(only_over_http));
                }
                definitions.insert(name, definition);
            }
        }
        for (name, definition) in &mut definitions {
            close(definition);
            // What adds to another one forbids the rest of both.
            if extended.contains(name) || definition["unevaluatedProperties"] == false {
                definition.as_object_mut().unwrap().remove("additionalProperties");
            }
        }
        schema["$defs"] = definitions.into();
        jsonschema::meta::validate(&schema).unwrap();
        write(&path, || in_order(&schema));
        let written: Value = serde_json::from_str(&read(&path)).unwrap();
        assert!(written == schema, "{path} is not up to date: {HOW_TO_WRITE}");
    }
}

/// The definitions that others add fields to.
fn extended(definitions: &Map<String, Value>) -> BTreeSet<String> {
    let all = definitions.values().filter_map(|definition| definition["allOf"].as_array()).flatten();
    all.filter_map(|part| part["$ref"].as_str()?.strip_prefix("#/$defs/")).map(str::to_owned).collect()
}

fn without_examples(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("example");
            fields.values_mut().for_each(without_examples);
        }
        Value::Array(values) => values.iter_mut().for_each(without_examples),
        _ => (),
    }
}

/// As JSON with what a reader looks for first on top.
fn in_order(schema: &Value) -> String {
    let fields = schema.as_object().unwrap();
    let first = ["$schema", "$id", "title", "description", "anyOf", "$defs"];
    assert!(fields.keys().all(|name| first.contains(&name.as_str())), "{:?}", fields.keys());
    let lines = first.map(|name| format!("  \"{name}\": {}", laid_out(&fields[name], "  ")));
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

/// In one line what fits there.
fn laid_out(value: &Value, margin: &str) -> String {
    let line = value.to_string();
    if line.len() + margin.len() <= 110 {
        return line.replace("\":", "\": ").replace(",\"", ", \"").replace(",{", ", {");
    }
    let inner = format!("{margin}  ");
    match value {
        Value::Object(fields) => {
            let lines = fields.iter().map(|(name, value)| format!("{inner}\"{name}\": {}", laid_out(value, &inner)));
            format!("{{\n{}\n{margin}}}", lines.collect::<Vec<_>>().join(",\n"))
        }
        Value::Array(values) => {
            let lines = values.iter().map(|value| format!("{inner}{}", laid_out(value, &inner)));
            format!("[\n{}\n{margin}]", lines.collect::<Vec<_>>().join(",\n"))
        }
        _ => line,
    }
}

#[test]
fn the_words_of_findings_are_those_of_the_code() {
    use keyvault_backup::repository::findings::Wrong;
    let all = [
        Wrong::MissingBlob,
        Wrong::WrongSize,
        Wrong::WrongContent,
        Wrong::DamagedManifest,
        Wrong::NewerManifest,
        Wrong::UnnamedBlobs,
        Wrong::UnknownNames,
    ];
    let described = &schema("verify")["$defs"]["Finding"]["properties"]["finding"]["enum"];
    assert_eq!(*described, json!(all.map(Wrong::as_str)));
}

#[tokio::test]
async fn a_wrong_command_line_is_one_document_too_whatever_is_wrong_with_it() {
    use crate::local_azure::{Settings, run};
    for arguments in [
        &["--output", "json"][..],
        &["nonsense", "--output", "json"],
        &["bakup", "--output", "json"],
        &["--output=json", "restore", "contoso-prod"],
        &["show", "--output", "json"],
        &["backup", "--label", "Not A Label", "--output=json"],
        &["list", "--no-such-flag", "--output", "json"],
        &["man", "nonsense", "--output", "json"],
        &["serve", "--port", "high", "--output", "json"],
    ] {
        let ran = run(&Settings::new(), arguments).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (2, ""), "{arguments:?}");
        let body = ran.json();
        assert_valid(&schema("man"), &body);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("The command line is wrong: ") && message.ends_with('.'),
            "{arguments:?}: {message}"
        );
        assert!(!message.contains("Usage:") && !message.contains("For more information"), "{message}");
        assert!(arguments[0] != "bakup" || message.contains("a similar subcommand exists: 'backup'"), "{message}");
    }
    assert!(help("list").await.contains("also when it fails"));
}

#[tokio::test]
async fn the_scripts_of_the_page_do_what_they_say() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 10);
    let page = read("docs/programs.md");
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [attention, backup] = blocks[..] else { panic!("{blocks:#?}") };
    let programs = std::path::Path::new(BINARY).parent().unwrap().display().to_string();
    let script = async |settings: &[(&str, &str)], text: &str| {
        let mut command = tokio::process::Command::new("bash");
        command.args(["-c", text]).env_clear().envs(azure.settings()).envs(settings.iter().copied());
        command.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
        let output = command.current_dir(azure.folder()).output().await.unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    assert_eq!(script(&[], attention).await, ["contoso-prod\n", ""], "it was never backed up");
    assert_eq!(script(&[], backup).await, ["", ""]);
    assert_eq!(script(&[], attention).await, ["", ""]);
    azure.vaults.set_secret("contoso-prod", "bad", "x");
    let refused = Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)).named("bad");
    azure.vaults.add_fault(refused);
    let [stdout, stderr] = script(&[], backup).await;
    assert!(stdout.contains("\"bad\"") && stdout.contains("\"Forbidden\""), "{stdout}{stderr}");
    let [stdout, stderr] = script(&[("BACKUP_STORE_URL", "nowhere")], backup).await;
    assert!(stdout.is_empty() && stderr.contains("BACKUP_STORE_URL is "), "{stdout}{stderr}");
    let [stdout, stderr] = script(&[("IDENTITY_HEADER", "wrong")], backup).await;
    assert!(stdout.is_empty() && stderr.contains("no token could be had"), "{stdout}{stderr}");
}
