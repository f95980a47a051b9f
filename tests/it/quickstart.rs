//! The quickstart as its users run it: the built example, in a process of its own.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    documents::{Rule, held},
    runbook::essence,
};

/// The built example.
fn quickstart() -> PathBuf {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debug").join("examples").join("quickstart");
    let quickstart = env::var_os("KEYVAULT_BACKUP_QUICKSTART").map_or(built, PathBuf::from);
    assert!(
        quickstart.is_file(),
        "There is no {}. Build it with: cargo build --example quickstart, or set KEYVAULT_BACKUP_QUICKSTART.",
        quickstart.display()
    );
    quickstart
}

#[test]
fn quickstart_brings_every_item_of_every_kind_back_identical() {
    let output = Command::new(quickstart()).args(["--json", "--items", "120"]).output().unwrap();
    let story = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{story}", output.status);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let mut result: Value = serde_json::from_str(&stdout).unwrap();
    let seconds = result["seconds"].take();
    assert!(seconds.as_f64().is_some_and(|seconds| seconds > 0.0), "{stdout}");
    let expected = json!({
        "backedUp": { "secrets": 48, "keys": 36, "certificates": 36 },
        // Each certificate has a key and a secret.
        "managedSkipped": 72,
        "restored": 120,
        "identical": 120,
        "seconds": null,
    });
    assert_eq!(result, expected);
    for block in held(Rule::Story) {
        let (told, shown) = (essence(&story), essence(&block.text));
        let at = told.windows(shown.len()).position(|lines| lines == shown);
        assert!(at.is_some(), "{}, line {} shows what is not told:\n{story}", block.document, block.line);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn interrupting_the_quickstart_leaves_no_handler_behind() {
    let mut story =
        Command::new(quickstart()).arg("--json").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(story.stderr.take().unwrap()).lines();
    // The timer is fired when the handler listens.
    assert!(lines.any(|line| line.unwrap().contains("The timer fires")), "the story ended before the timer fired");
    let handlers = children_of(story.id());
    assert_eq!(handlers.len(), 1, "{handlers:?}");
    let interrupt = Command::new("kill").args(["-INT", &story.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(story.wait().unwrap().code(), Some(1));
    assert!(lines.any(|line| line.unwrap().contains("Stopped")));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while is_running(handlers[0]) {
        assert!(std::time::Instant::now() < deadline, "the handler {} still runs", handlers[0]);
        std::thread::yield_now();
    }
}

/// The processes that this one started.
#[cfg(target_os = "linux")]
fn children_of(parent: u32) -> Vec<u32> {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    processes.filter(|process| status(*process).is_some_and(|(_, of)| of == parent)).collect()
}

/// A process that has ended and not been waited for yet does not run.
#[cfg(target_os = "linux")]
fn is_running(process: u32) -> bool {
    status(process).is_some_and(|(state, _)| state != "Z")
}

/// The state of a process and its parent; `None` when there is no such process.
#[cfg(target_os = "linux")]
fn status(process: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which stands in parentheses and can hold anything.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
