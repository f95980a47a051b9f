//! Keeps the source tree to its own rules: who may import whom, one route per function folder, settings that exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use keyvault_backup::functions::{FUNCTIONS, work::MOST_DELIVERIES};
use serde_json::Value;

/// The layers, lowest first (`docs/architecture.md`). A module may import modules of lower layers only, so modules of
/// one layer never import each other.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["model", "spool", "telemetry", "token"],
    &["report", "retention", "rows", "guard", "store", "events"],
    &["vault"],
    &["repository"],
    &["backup", "restore", "operation", "prune", "verify", "copy", "diff", "coverage"],
    &["drill"],
    &["config"],
    &["jobs"],
    &["json"],
    &["app"],
    &["functions", "cli"],
];

/// The few imports between modules that the layers alone would forbid, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[("cli", "functions", "the command `serve` starts the handler")];

/// The macros of `events` and `telemetry`, which are exported at the root of the crate.
const MACROS: &[&str] = &["event", "measure"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "service", "misc", "mod"];

/// The most lines of a source file, its unit tests not counted: what one sitting can take in.
const MOST_LINES: usize = 450;

/// Settings that the Functions host reads, and this program does not.
const SETTINGS_OF_THE_HOST: &[&str] = &["FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"];

/// A panic ends one invocation and not the handler with all the others (`functions.rs`, which the tests run as it is built
/// for tests): only if no profile, flag or script gives unwinding up in what ships.
#[test]
fn panics_are_unwound_in_what_ships() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["Cargo.toml", ".cargo/config.toml", "scripts/package.sh", "build.rs"] {
        let text = fs::read_to_string(root.join(name)).unwrap();
        let gives_up = |line: &&str| {
            let line = line.split('#').next().unwrap_or_default().replace([' ', '"', '\''], "");
            line.contains("panic=abort") || line.contains("panic=immediate-abort") || line.contains("PANIC=abort")
        };
        assert_eq!(text.lines().find(gives_up), None, "{name}");
    }
}

#[test]
fn imports_point_downwards() {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    visit(Path::new("src"), &mut |path, text| {
        let Some(from) = top_module(path) else { return };
        for to in crate_imports(text) {
            let exception = EXCEPTIONS.iter().find(|(a, b, _)| (*a, *b) == (from.as_str(), to.as_str()));
            if let Some((a, b, _)) = exception {
                used.insert((*a, *b));
            } else if to != from && !MACROS.contains(&to.as_str()) && layer(&from) <= layer(&to) {
                faults.push(format!("{}: {from} must not import {to}", path.display()));
            }
        }
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(used.len(), EXCEPTIONS.len(), "an exception is no longer needed: remove it");
}

#[test]
fn the_layers_name_the_modules_there_are() {
    let mut modules = BTreeSet::new();
    visit(Path::new("src"), &mut |path, _| modules.extend(top_module(path)));
    let layered: BTreeSet<String> = LAYERS.iter().flat_map(|layer| layer.iter().map(ToString::to_string)).collect();
    assert_eq!(modules, layered);
}

#[test]
fn the_simulator_knows_nothing_of_the_program_it_tests() {
    visit(Path::new("simulator/src"), &mut |path, text| {
        assert!(!text.contains("keyvault_backup"), "{} names the main crate", path.display());
    });
    let manifest = fs::read_to_string("simulator/Cargo.toml").unwrap();
    assert!(!manifest.contains("path = \"..\""), "the simulator must not depend on the main crate");
}

#[test]
fn the_shipped_binary_does_not_hold_the_simulator() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n[").unwrap();
    assert!(!dependencies.contains("simulator"), "the simulator is for tests only");
}

#[test]
fn every_function_folder_has_a_route_and_every_route_a_folder() {
    let folders: BTreeSet<String> = function_files().iter().map(|file| folder_name(file)).collect();
    let routes: BTreeSet<String> = FUNCTIONS.iter().map(ToString::to_string).collect();
    assert_eq!(folders, routes);
    assert_eq!(FUNCTIONS.len(), routes.len(), "a function is named twice");
    let source = fs::read_to_string("src/functions.rs").unwrap();
    for function in FUNCTIONS {
        assert!(source.contains(&format!("\"{function}\" => ")), "{function} has a folder and no code");
    }
}

#[test]
fn the_bindings_have_the_names_that_the_code_speaks_of() {
    for file in function_files() {
        let function = json(&file);
        for binding in function["bindings"].as_array().unwrap() {
            let wanted = match (binding["type"].as_str().unwrap(), binding["direction"].as_str().unwrap()) {
                ("timerTrigger", "in") => "timer",
                ("queueTrigger", "in") => "job",
                ("httpTrigger", "in") => "req",
                // Any other name, or `$return`, takes another path through the host.
                ("http", "out") => "res",
                ("queue", "out") => "jobs",
                other => panic!("{}: the code knows no {other:?}", file.display()),
            };
            assert_eq!(binding["name"], wanted, "{}", file.display());
            if binding["type"] == "httpTrigger" {
                assert_eq!(binding["authLevel"], "function", "{} is open to everybody", file.display());
            }
        }
    }
}

#[test]
fn the_host_gives_up_on_a_message_when_the_code_thinks_so() {
    let host = json(Path::new("host.json"));
    assert_eq!(host["extensions"]["queues"]["maxDequeueCount"], MOST_DELIVERIES);
}

#[test]
fn the_host_starts_the_binary_that_cargo_builds() {
    let host = json(Path::new("host.json"));
    let description = &host["customHandler"]["description"];
    let built = Path::new(env!("CARGO_BIN_EXE_keyvault-backup")).file_name().unwrap().to_str().unwrap();
    assert_eq!(description["defaultExecutablePath"], built);
    assert_eq!(description["arguments"], serde_json::json!(["serve"]));
    // Otherwise HTTP functions would get the raw request, which the code does not read.
    assert_eq!(host["customHandler"]["enableForwardingHttpRequest"], false);
}

#[test]
fn every_setting_of_the_example_is_one_that_somebody_reads() {
    let example = json(Path::new("local.settings.json.example"));
    let code = fs::read_to_string("src/config/settings.rs").unwrap();
    let bindings: String = function_files().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let names: BTreeSet<&str> = example["Values"].as_object().unwrap().keys().map(String::as_str).collect();
    for name in &names {
        let known = code.contains(&format!("env = \"{name}\""))
            || bindings.contains(&format!("%{name}%"))
            || SETTINGS_OF_THE_HOST.contains(name);
        assert!(known, "nobody reads the setting {name}");
    }
    for (_, rest) in code.match_indices("env = \"").map(|(at, found)| code.split_at(at + found.len())) {
        let name = rest.split('"').next().unwrap();
        assert!(names.contains(name), "local.settings.json.example does not show the setting {name}");
    }
    for name in bindings.split('%').skip(1).step_by(2) {
        assert!(names.contains(name), "local.settings.json.example lacks {name}, which a binding needs");
    }
}

#[test]
fn names_of_files_say_what_is_inside_and_files_stay_small() {
    let mut faults = Vec::new();
    for root in ["src", "simulator/src", "benches/src", "tests", "simulator/tests"] {
        visit(Path::new(root), &mut |path, text| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            if EMPTY_NAMES.contains(&name) || EMPTY_NAMES.contains(&folder) {
                faults.push(format!("{}: this name says nothing", path.display()));
            }
            let lines = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
            if root == "src" && lines > MOST_LINES {
                faults.push(format!("{}: {lines} lines; split it where a new word begins", path.display()));
            }
        });
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_test_is_switched_off() {
    for root in ["src", "simulator/src", "benches/src", "tests", "simulator/tests"] {
        visit(Path::new(root), &mut |path, text| {
            let ignored = text.lines().any(|line| line.trim_start().starts_with("#[ignore"));
            assert!(!ignored, "{} has an ignored test", path.display());
        });
    }
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("module {module} has no layer: add it to LAYERS and docs/architecture.md"))
}

/// `src/vault/limiter.rs` belongs to `vault`; `lib.rs` and `main.rs` belong to no layer.
fn top_module(path: &Path) -> Option<String> {
    let first = path.strip_prefix("src").unwrap().iter().next()?.to_str()?;
    let name = first.trim_end_matches(".rs");
    (name != "lib" && name != "main").then(|| name.to_string())
}

/// The first path segments after `crate::`, in `use crate::x::Y`, `use crate::{x, y::Z}` and `crate::x::f()`.
fn crate_imports(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if !rest.starts_with('{') {
            found.insert(ident(rest));
            continue;
        }
        let (mut depth, mut start) = (0, 1);
        for (i, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => (),
            }
            if (c == ',' && depth == 1) || depth == 0 {
                found.insert(ident(rest[start..i].trim()));
                start = i + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

fn ident(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

pub(crate) fn visit(folder: &Path, act: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, act);
        } else if path.extension().is_some_and(|it| it == "rs") {
            act(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

fn function_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(".").unwrap().map(|entry| entry.unwrap().path().join("function.json"));
    entries.filter(|file| file.exists()).collect()
}

fn folder_name(file: &Path) -> String {
    file.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}
