//! The command line between pipes, where programs read it: no colours, no bars, no questions.

use std::process::Stdio;

use serde_json::Value;

use crate::{
    commands::assert_progress,
    format_docs::read,
    local_azure::{BINARY, LIMIT, LocalAzure, files},
};

async fn backed_up() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 10);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    azure
}

#[tokio::test]
async fn nothing_but_text_comes_out_of_a_pipe() {
    let azure = backed_up().await;
    azure.vaults.set_secret("contoso-dr", "secret-00001", "in the way");
    for (arguments, code) in [
        (&["backup", "--full"][..], 0),
        (&["list"], 0),
        (&["show", "contoso-prod"], 0),
        (&["status"], 0),
        (&["guard"], 0),
        (&["verify"], 0),
        (&["diff", "contoso-prod", "--live"], 0),
        (&["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"], 0),
        (&["restore", "contoso-prod", "--to", "contoso-dr"], 3),
        (&["prune", "--backup-keep", "last=1", "--yes"], 0),
        (&["restore", "contoso-prod", "--to", "nowhere"], 6),
        (&["nonsense"], 2),
        (&["backup", "--help"], 0),
    ] {
        let ran = azure.run_with(&[("TERM", "xterm-256color")], arguments).await;
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains(['\x1b', '\r', '█']), "{arguments:?}: {text:?}");
        }
        if code == 0 {
            assert_eq!(ran.stderr, "", "{arguments:?}");
        }
    }
    let wanted = azure.run(&["list", "--color", "always"]).await;
    assert!(wanted.stdout.contains("\x1b[38;5;2mSucceeded"), "{wanted:?}");
}

#[tokio::test]
async fn what_takes_something_away_is_refused_without_a_yes() {
    let azure = backed_up().await;
    assert_eq!(azure.run(&["backup", "--full"]).await.code, 0);
    let everything = || (files(&azure.backups()), files(&azure.state()));
    let before = everything();
    azure.vaults.reset_log();
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr"];
    for arguments in [
        &["prune", "--backup-keep", "last=1"][..],
        &["drill", "contoso-prod", "--into", "contoso-dr"],
        &["guard", "acknowledge", "contoso-prod"],
        &[&restore[..], &["--on-conflict", "replace"]].concat(),
        &[&restore[..], &["--on-deleted", "purge"]].concat(),
    ] {
        let refused = azure.run(arguments).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("there is nobody at a terminal to be asked"), "{refused:?}");
        assert!(refused.stderr.contains("give --yes"), "{refused:?}");
        let refused = azure.run(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(refused.code, 2);
        let error = &refused.json()["error"];
        assert_eq!(
            (error["code"].as_str(), error["target"].as_str()),
            (Some("InvalidInput"), Some("--yes")),
            "{error}"
        );
    }
    assert_eq!((everything(), azure.vaults.requests().len()), (before, 0), "it is refused before anything is done");
    // What only adds needs nobody: an unattended recovery must not stand still.
    assert_eq!(azure.run(&restore).await.code, 0);
}

#[tokio::test]
async fn programs_get_progress_as_json_lines_on_standard_error() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", 10);
    let slow = [("BACKUP_REQUESTS_PER_SECOND", "20")];
    let ran = azure.run_with(&slow, &["backup", "--progress", "json", "--output", "json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 3, "one at the beginning, each second and at the end: {lines:?}");
    let runbook = read("docs/operations.md");
    let documented = runbook.lines().find(|line| line.starts_with("{\"progress\"")).expect("an example");
    let documented: Value = serde_json::from_str(documented).unwrap();
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{name} of {line}"));
    let id = &ran.json()["value"][0]["id"];
    for line in &lines {
        assert_progress(line);
        assert_eq!(
            (&line["operation"], line["progress"].as_str(), line["vault"].as_str()),
            (id, Some("backup"), Some("contoso-prod"))
        );
        let fields = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(line), fields(&documented), "docs/operations.md shows a line with the same fields");
    }
    let (last, earlier) = lines.split_last().unwrap();
    assert!(earlier.iter().all(|line| line["state"] == "running") && last["state"] == "ended", "{lines:?}");
    assert_eq!((number(last, "total"), number(last, "done"), number(last, "throttled")), (10, 10, 0));
    assert_eq!(number(last, "requests"), azure.vaults.requests().len() as u64);
    assert!(number(last, "bytes") > 0 && number(last, "seconds") > 0, "{last}");
    for name in ["total", "done", "bytes", "requests", "seconds"] {
        assert!(lines.is_sorted_by_key(|line| number(line, name)), "{name}: {lines:?}");
    }
    let target = format!("file://{}", azure.folder().join("copy").display());
    for (arguments, word) in [
        (&["verify"][..], "verify"),
        (&["copy", "--to", &target], "copy"),
        (&["drill", "contoso-prod", "--into", "contoso-dr", "--yes"], "drill"),
        (&["restore", "contoso-prod", "--to", "contoso-dr"], "restore"),
    ] {
        let ran = azure.run(&[arguments, &["--progress", "json"]].concat()).await;
        let lines: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().for_each(assert_progress);
        let last = lines.last().unwrap();
        assert_eq!((last["progress"].as_str(), last["state"].as_str()), (Some(word), Some("ended")), "{ran:?}");
    }
    let both = azure.run(&["backup", "--progress", "json", "--quiet"]).await;
    assert_eq!(both.code, 2, "quiet and progress contradict each other: {both:?}");
}

#[tokio::test]
async fn quiet_leaves_errors_on_standard_error_and_no_advice() {
    let azure = backed_up().await;
    azure.vaults.set_secret("contoso-dr", "secret-00001", "in the way");
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr"];
    let ran = azure.run(&[&restore[..], &["--quiet"]].concat()).await;
    assert_eq!((ran.code, ran.stderr.lines().count()), (3, 1), "{ran:?}");
    assert!(ran.stderr.contains("secrets/secret-00001 was not restored"), "{ran:?}");
    assert!(ran.stdout.contains("already present") || ran.stdout.contains("restored"), "{ran:?}");
    let ran = azure.run(&restore).await;
    assert!(ran.code == 3 && ran.stderr.contains("What to do next: "), "a failed run ends with what to do: {ran:?}");
}

#[tokio::test]
async fn times_are_local_for_people_and_utc_on_request_and_for_programs() {
    let azure = backed_up().await;
    // India, as POSIX writes it: no file of time zones is needed.
    let zone = [("TZ", "IST-5:30")];
    let list = async |arguments: &[&str]| azure.run_with(&zone, &[&["list", "contoso-prod"], arguments].concat()).await;
    let (local, utc, json) = futures::join!(list(&[]), list(&["--utc"]), list(&["--output", "json"]));
    let word = |text: &str, end: &str| {
        let word = text.split_whitespace().find(|word| word.starts_with("20") && word.ends_with(end));
        word.unwrap_or_else(|| panic!("no time that ends with {end}: {text}")).to_owned()
    };
    let (local, utc) = (word(&local.stdout, "+05:30"), word(&utc.stdout, "Z"));
    let moment = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    assert_eq!(moment(&local), moment(&utc));
    assert!(!json.stdout.contains("+05:30") && json.stdout.contains(&utc), "{json:?}");
    // What is shown can be given: the newest backup that was complete then is the one shown, or there is none yet.
    let shown = azure.run_with(&zone, &["show", "contoso-prod"]).await;
    let (_, finished) = shown.stdout.split_once("finished ").unwrap();
    let finished = finished.split(": ").next().unwrap();
    assert!(finished.ends_with("+05:30"), "{finished}");
    let found = azure.run_with(&zone, &["show", "contoso-prod", finished]).await;
    assert_eq!((found.code, found.stdout), (0, shown.stdout));
}

#[tokio::test]
async fn a_request_to_end_stops_a_command_as_ctrl_c_does() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.seed("contoso-prod", 30);
    for output in ["table", "json"] {
        let mut command = tokio::process::Command::new(BINARY);
        command.args(["backup", "--output", output]).env_clear().envs(azure.settings()).kill_on_drop(true);
        // So slow that it cannot be at its end when it is stopped.
        command.env("BACKUP_REQUESTS_PER_SECOND", "5").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        azure.vaults.reset_log();
        let child = command.spawn().unwrap();
        let begun = async {
            while azure.vaults.requests().len() < 5 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, begun).await.expect("the backup begins");
        let process = child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
        let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
        let (out, aside) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
        assert_eq!(ended.status.code(), Some(130), "{out}{aside}");
        if output == "json" {
            let error = &serde_json::from_str::<Value>(&out).unwrap()["error"];
            assert_eq!(error["code"], "Stopped");
            assert!(error["message"].as_str().unwrap().contains("Give the same command again"), "{error}");
        } else {
            assert!(aside.starts_with("Stopped.\nBacking up contoso-prod: "), "{aside}");
        }
    }
}
