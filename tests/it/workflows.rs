//! The workflows of CI and of releases, as far as they can be held to something where they cannot run.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

use crate::format_docs::read;

/// Programs of the runner's image.
const OF_THE_RUNNER: [&str; 4] = ["cd", "gh", "rustup", "sha256sum"];

#[test]
fn every_action_is_pinned_to_a_commit_and_its_version_is_said() {
    let mut pinned = BTreeSet::new();
    for (path, _) in workflows() {
        for line in read(&path).lines().filter_map(|line| line.split_once("uses: ").map(|(_, rest)| rest)) {
            let (action, version) = line.split_once(" # v").unwrap_or_else(|| panic!("{path}: {line} has no version"));
            let (name, commit) = action.split_once('@').unwrap();
            let whole = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(whole && version.starts_with(|letter: char| letter.is_ascii_digit()), "{path}: {line}");
            assert!(name.starts_with("actions/"), "{path}: {name} is not GitHub's own");
            pinned.insert(line.to_owned());
        }
    }
    let names: BTreeSet<&str> = pinned.iter().map(|line| line.split('@').next().unwrap()).collect();
    assert_eq!(names.len(), pinned.len(), "one commit for each action: {pinned:?}");
    assert!(names.contains("actions/checkout"));
}

#[test]
fn a_job_may_write_only_where_it_publishes_and_runs_nothing_of_the_repository_there() {
    for (path, workflow) in workflows() {
        assert!(workflow["permissions"].is_object(), "{path} says what its jobs may do");
        assert!(!may_write(&workflow["permissions"]), "{path}");
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            assert!(job["timeout-minutes"].is_u64(), "{path}: {name} ends some day");
            let steps: Vec<&Value> = job["steps"].as_array().unwrap().iter().collect();
            let checks_out =
                |step: &&&Value| step["uses"].as_str().is_some_and(|it| it.starts_with("actions/checkout@"));
            let checkouts: Vec<_> = steps.iter().filter(checks_out).collect();
            let keeps_token = checkouts.iter().any(|step| step["with"]["persist-credentials"] != false);
            assert!(!keeps_token, "{path}: {name} leaves its token in the checkout");
            assert_eq!(may_write(&job["permissions"]), (path.as_str(), name.as_str()) == (RELEASE, "publish"));
            assert!(!may_write(&job["permissions"]) || checkouts.is_empty(), "{path}: {name}");
        }
    }
}

#[test]
fn every_command_is_one_of_the_repository_or_of_the_runner() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut called = BTreeSet::new();
    for (path, workflow) in workflows() {
        for job in workflow["jobs"].as_object().unwrap().values() {
            for script in job["steps"].as_array().unwrap().iter().filter_map(|step| step["run"].as_str()) {
                let checked = Command::new("bash").args(["-n", "-c", script]).status().unwrap();
                assert!(checked.success(), "{path}: {script}");
                // What an attacker can name, such as a branch, comes in variables and is never part of a script.
                assert!(!script.contains("${{"), "{path}: {script}");
                for command in script.split(['\n', '&', '|', ';']).map(|line| line.trim().trim_start_matches('(')) {
                    let Some(name) = command.split_whitespace().next() else { continue };
                    let ours = name.contains('/') && is_executable(&root.join(name));
                    assert!(ours || OF_THE_RUNNER.contains(&name), "{path}: {name}");
                    called.insert(name.to_owned());
                }
            }
        }
    }
    assert!(called.contains("scripts/test.sh") && called.contains("scripts/release.sh"), "{called:?}");
}

#[test]
fn a_release_publishes_the_folder_that_its_script_makes() {
    let (_, release) = workflows().into_iter().find(|(path, _)| path == RELEASE).unwrap();
    let of = |job: &str, action: &str| {
        let steps = release["jobs"][job]["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["uses"].as_str().is_some_and(|it| it.starts_with(action)));
        step.unwrap_or_else(|| panic!("{job} has no {action}"))["with"].clone()
    };
    let (up, down) = (of("build", "actions/upload-artifact@"), of("publish", "actions/download-artifact@"));
    assert_eq!(up["name"], down["name"]);
    let folder = up["path"].as_str().unwrap().strip_prefix("target/").unwrap();
    assert!(read("scripts/release.sh").contains(&format!("files=$target/{folder}\n")));
    assert_eq!(release["jobs"]["publish"]["needs"], "build");
}

#[test]
fn a_tag_that_is_not_the_version_is_refused_before_anything_is_built() {
    let output = Command::new("scripts/release.sh").arg("v99.0.0").output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let version = env!("CARGO_PKG_VERSION");
    assert!(complaint.contains(&format!("Tag v{version}")), "{complaint}");
}

const RELEASE: &str = ".github/workflows/release.yml";

/// Every workflow, by its path.
fn workflows() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let mut found: Vec<(String, Value)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = format!(".github/workflows/{}", entry.unwrap().file_name().to_str().unwrap());
            let workflow = serde_saphyr::from_str(&read(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            (path, workflow)
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(found.len() >= 2);
    found
}

fn may_write(permissions: &Value) -> bool {
    permissions.as_str().is_some_and(|all| all.contains("write"))
        || permissions.as_object().is_some_and(|each| each.values().any(|right| right == "write"))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
