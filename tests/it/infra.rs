//! The infrastructure as code, as far as it can be held to something without Azure: parsed, under the rules of checkov,
//! and against the documents and the code.

mod alerts;
mod in_use;
mod safety;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use simulator::azurite::tools;

use crate::format_docs::read;

/// A resource or a module as it is written, without its loop and its condition.
pub(crate) struct Part {
    pub(crate) file: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) body: &'static Value,
}

#[test]
fn checkov_finds_what_is_skipped_with_a_reason_and_nothing_else() {
    let output = run(Command::new(tool("infra/bin/checkov")).args([
        "--directory",
        "infra",
        "--framework",
        "bicep",
        "--skip-download",
        "--output",
        "json",
    ]));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("checkov: {}", String::from_utf8_lossy(&output.stderr)));
    let found = report["results"]["failed_checks"].as_array().unwrap().iter();
    let found: BTreeSet<String> = found.map(|check| check["check_id"].as_str().unwrap().to_owned()).collect();

    let skipped: Value = serde_saphyr::from_str(&read("infra/checkov.yaml")).unwrap();
    let skipped = skipped["skip-check"].as_array().unwrap().iter();
    assert_eq!(found, skipped.map(|id| id.as_str().unwrap().to_owned()).collect());
    // It passes over a file that it cannot read.
    assert_eq!(report["summary"]["parsing_errors"], 0);
    let resources = report["summary"]["resource_count"].as_u64().unwrap() as usize;
    assert!(resources >= parts("resources").len(), "{}", report["summary"]);
}

#[test]
fn modules_are_given_what_they_ask_for_and_asked_for_what_they_give() {
    let mut called = BTreeSet::from(["infra/main.bicep".to_owned()]);
    for module in parts("modules") {
        let folder = Path::new(module.file).parent().unwrap();
        let path = folder.join(module.kind).display().to_string();
        let (tree, at) = (&bicep()[&path], format!("{}: {}", module.file, module.name));
        let parameters = tree["parameters"].as_object().unwrap();
        let given: BTreeSet<&String> = module.body["params"].as_object().unwrap().keys().collect();
        let needed = parameters.iter().filter(|(_, parameter)| parameter["default"].is_null()).map(|(name, _)| name);
        assert!(needed.clone().all(|name| given.contains(name)), "{at} lacks one of {:?}", needed.collect::<Vec<_>>());
        assert!(given.iter().all(|name| parameters.contains_key(*name)), "{at} gives too much: {given:?}");

        let text = read(module.file);
        for (_, rest) in
            text.match_indices(&format!("{}.outputs.", module.name)).map(|(at, it)| text.split_at(at + it.len()))
        {
            let output: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
            assert!(tree["outputs"].get(&output).is_some(), "{path} has no output {output}, which {at} is asked for");
        }
        called.insert(path);
    }
    assert_eq!(called, bicep().keys().cloned().collect(), "every file is used");
}

#[test]
fn no_parameter_and_no_variable_is_idle() {
    for (path, tree) in bicep() {
        let text = read(path);
        for part in ["parameters", "variables"] {
            for name in tree[part].as_object().into_iter().flat_map(serde_json::Map::keys) {
                let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                assert!(words.filter(|word| word == name).count() > 1, "{path}: nobody uses {name}");
            }
        }
    }
}

#[test]
fn the_example_of_parameters_gives_what_must_be_given_and_nothing_unknown() {
    let text = read("infra/main.bicepparam");
    assert!(text.contains("using './main.bicep'"));
    let given: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("param ")?.split_once(" =")).map(|(name, _)| name).collect();
    let parameters = bicep()["infra/main.bicep"]["parameters"].as_object().unwrap();
    for (name, parameter) in parameters {
        assert!(given.contains(name.as_str()) || !parameter["default"].is_null(), "main.bicepparam lacks {name}");
        let described = parameter["decorators"].as_array().unwrap().iter().any(|it| it["type"] == "description");
        assert!(described, "main.bicep does not say what {name} is");
    }
    assert!(given.iter().all(|name| parameters.contains_key(*name)), "{given:?}");
}

#[test]
fn azd_deploys_to_the_app_that_the_template_makes() {
    let azure: Value = serde_saphyr::from_str(&read("azure.yaml")).unwrap();
    let services = azure["services"].as_object().unwrap();
    let (name, service) = services.iter().next().unwrap();
    assert_eq!((services.len(), &service["host"], &service["language"]), (1, &"function".into(), &"custom".into()));
    assert!(read("infra/modules/app.bicep").contains(&format!("'azd-service-name': '{name}'")));
    assert!(Path::new(azure["infra"]["path"].as_str().unwrap()).join("main.bicep").is_file());
}

#[test]
fn the_readme_lists_each_resource_type_with_the_version_that_is_used() {
    let text = read("infra/README.md");
    let listed = text.lines().skip_while(|line| !line.starts_with("| resource type | version |")).skip(2);
    let listed: BTreeSet<String> = listed
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('`').skip(1).step_by(2).collect::<Vec<_>>().join("@"))
        .collect();
    let used = bicep().values().flat_map(|tree| tree["resources"].as_object().into_iter().flatten());
    let used = used.map(|(_, it)| format!("{}@{}", it["type"].as_str().unwrap(), it["api_version"].as_str().unwrap()));
    assert_eq!(listed, used.collect());
}

/// The parsed files by path.
pub(crate) fn bicep() -> &'static BTreeMap<String, Value> {
    static TREES: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    TREES.get_or_init(|| {
        let script = Path::new("tests/it/infra/parse.py");
        let output = run(Command::new(tool("infra/bin/python")).arg(script).arg("infra"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let trees: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert!(trees.contains_key("infra/main.bicep"), "{:?}", trees.keys());
        trees
    })
}

/// All `resources` that are made, or all `modules`.
pub(crate) fn parts(of: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for (file, tree) in bicep() {
        for (name, part) in tree[of].as_object().into_iter().flatten() {
            if part["existing"] == true {
                continue;
            }
            let kind = part["type"].as_str().unwrap();
            let kind = if of == "modules" { part["detail"]["path"].as_str().unwrap() } else { kind };
            parts.push(Part { file, name, kind, body: body(&part["config"]) });
        }
    }
    parts
}

/// What is inside of `for … in …:` and `if (…)`.
fn body(config: &Value) -> &Value {
    if config.get("loop_type").is_some() || config.get("condition").is_some() {
        body(&config["config"])
    } else {
        config
    }
}

/// The value of a variable.
pub(crate) fn variable(file: &str, name: &str) -> &'static Value {
    let value = &bicep()[file]["variables"][name]["value"];
    assert!(!value.is_null(), "{file} has no variable {name}");
    value
}

/// What scripts/tools.sh has installed at that place.
fn tool(place: &str) -> PathBuf {
    let tool = tools().join(place);
    assert!(tool.exists(), "{} is missing. Run scripts/tools.sh, which installs it.", tool.display());
    tool
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}
