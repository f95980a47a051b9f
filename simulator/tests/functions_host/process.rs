//! The life of the handler process.

use crate::app::{App, LIMIT, level_of, run_job, started};
use serde_json::json;
use simulator::functions_host::{Host, Level};
use std::{path::Path, time::Duration};

#[tokio::test]
async fn stdout_is_information_and_stderr_is_an_error_unless_it_says_warn() {
    let app = App::new();
    let host = app.start().await;
    run_job(&host, &json!({"stdout": "error on stdout", "stderr": "all is well"}).to_string()).await;
    host.enqueue("jobs", &json!({"stderr": "WARNING: mind the gap"}).to_string()).await.unwrap();
    assert_eq!(level_of(&host, "error on stdout").await, Level::Information);
    assert_eq!(level_of(&host, "all is well").await, Level::Error);
    assert_eq!(level_of(&host, "WARNING: mind the gap").await, Level::Warning);
}

#[tokio::test]
async fn exit_code_zero_leaves_the_handler_dead_and_everything_fails() {
    let app = App::new();
    let host = app.start().await;
    host.enqueue("jobs", &json!({"exit": 0}).to_string()).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let errors: Vec<_> = host.invocations().into_iter().map(|i| i.error.unwrap()).collect();
    assert_eq!(errors.len(), 5);
    assert!(errors[4].contains("exit code 0"), "{errors:?}");
    assert_eq!(host.queue_messages("jobs-poison").await.unwrap().len(), 1);
    assert_eq!(host.stopped(), None);
    host.restart_handler().await.unwrap();
    assert!(host.fire("Tick").await.unwrap().succeeded());
}

#[tokio::test]
async fn exit_code_200_restarts_as_often_as_it_likes() {
    let app = App::new();
    let host = app.start().await;
    host.enqueue("jobs", &json!({"exit": 200}).to_string()).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    assert_eq!((host.invocations().len(), host.stopped()), (5, None));
    assert!(host.fire("Tick").await.unwrap().succeeded());
}

#[tokio::test]
async fn the_third_crash_stops_the_host() {
    let app = App::new();
    let host = app.start().await;
    host.enqueue("jobs", &json!({"exit": 7, "stderr": "cannot go on"}).to_string()).await.unwrap();
    host.wait_for_log(LIMIT, |line| line.message.starts_with("the host stops")).await.unwrap();
    host.wait_for_invocations(LIMIT, 3).await.unwrap();
    let why = host.stopped().unwrap();
    assert!(why.contains("exited with code 7: ") && why.contains("cannot go on"), "{why}");
    let web = host.url().join("api/things/keys?code=local-functions-key").unwrap();
    assert_eq!(reqwest::get(web).await.unwrap().status(), 503);
    assert_eq!(host.queue_messages("jobs").await.unwrap().len(), 1, "the message waits for a host that lives");
    assert!(host.wait_idle(LIMIT).await.unwrap_err().to_string().contains("stopped"));
}

#[tokio::test]
async fn a_kill_counts_as_a_crash_and_a_restart_forgets_it() {
    let app = App::new();
    let host = app.start().await;
    for _ in 0..4 {
        host.kill_handler().await;
        assert!(host.fire("Tick").await.unwrap().succeeded());
        host.restart_handler().await.unwrap();
    }
    assert_eq!(host.stopped(), None);
    for _ in 0..3 {
        host.kill_handler().await;
    }
    assert!(host.stopped().unwrap().contains("code 137"), "SIGKILL");
}

#[tokio::test]
async fn a_handler_that_never_listens_or_cannot_be_started_fails_the_start() {
    let app = App::new();
    let mut options = app.options();
    options.timings.initialization_timeout = Some(Duration::from_millis(50));
    (options.handler, options.handler_arguments) = (Some("/bin/sleep".into()), Some(vec!["60".into()]));
    let error = Host::start(options).await.err().unwrap().to_string();
    assert!(error.contains("did not listen"), "{error}");

    let mut options = app.options();
    options.handler = Some(app.path("missing"));
    let error = Host::start(options).await.err().unwrap().to_string();
    assert!(error.contains("missing") && error.contains("cannot be started"), "{error}");

    let mut options = app.options();
    options.settings.insert("EXIT_AT_START".into(), "0".into());
    let error = Host::start(options).await.err().unwrap().to_string();
    assert!(error.contains("exit code 0"), "{error}");
}

#[tokio::test]
async fn stopping_the_host_kills_the_handler() {
    let app = App::new();
    let host = app.start().await;
    let process = format!("/proc/{}", started(&host, 0).await["process"]);
    assert!(Path::new(&process).exists());
    host.stop().await;
    assert!(!Path::new(&process).exists());
}

#[tokio::test]
async fn an_app_with_something_unknown_is_refused() {
    let app = App::new();
    app.write(
        "Other/function.json",
        &json!({"bindings": [{"type": "blobTrigger", "direction": "in", "name": "blob", "path": "a/{b}"}]}),
    );
    let error = Host::start(app.options()).await.err().unwrap().to_string();
    assert!(error.contains("blobTrigger") && error.contains("Other"), "{error}");
}
