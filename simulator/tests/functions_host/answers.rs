//! What becomes of the handler's answers.

use crate::app::{App, LIMIT, answer, level_of, run_job, started};
use serde_json::{Value, json};
use simulator::functions_host::{Host, Level};
use std::time::Duration;

async fn results_of(outputs: Value) -> Vec<String> {
    let app = App::new();
    let host = app.start().await;
    let invocation = run_job(&host, &answer(&outputs)).await;
    assert!(invocation.succeeded(), "{invocation:?}");
    host.queue_messages("results").await.unwrap()
}

#[tokio::test]
async fn strings_in_an_array_become_one_exact_message_each() {
    assert_eq!(results_of(json!({"out": [r#"{"k":1}"#, "abcd"]})).await, [r#"{"k":1}"#, "abcd"]);
}

#[tokio::test]
async fn an_object_becomes_an_indented_message() {
    assert_eq!(results_of(json!({"out": {"k": 1}})).await, ["{\n  \"k\": 1\n}"]);
}

#[tokio::test]
async fn a_string_that_happens_to_be_base64_is_decoded_but_not_for_binary_bindings() {
    assert_eq!(results_of(json!({"out": "aGVsbG8="})).await, ["hello"]);
    assert_eq!(results_of(json!({"exact": "aGVsbG8="})).await, ["aGVsbG8="]);
}

#[tokio::test]
async fn outputs_that_no_binding_names_are_ignored() {
    assert!(results_of(json!({"elsewhere": ["x"], "Out": ["x"]})).await.is_empty());
}

#[tokio::test]
async fn an_empty_answer_hangs_until_the_function_timeout_kills_the_handler_and_all_that_runs_in_it() {
    let app = App::new();
    let mut options = app.options();
    options.timings.function_timeout = Some(Duration::from_secs(2));
    options.timings.visibility_timeout = Some(Duration::from_secs(3600));
    let host = Host::start(options).await.unwrap();
    host.enqueue("jobs", &json!({"body": ""}).to_string()).await.unwrap();
    let web = host.url().join("api/things/keys?code=local-functions-key").unwrap();
    // The other one is in flight when the first one has used up its time.
    started(&host, 0).await;
    host.wait_for_log(LIMIT, |line| line.message.starts_with("SEEN")).await.unwrap();
    let other = reqwest::Client::new().post(web).body(r#"{"hang":true}"#).send().await.unwrap();
    assert_eq!(other.status(), 500);
    let all = host.wait_for_invocations(LIMIT, 2).await.unwrap();
    let error = |function: &str| all.iter().find(|i| i.function == function).unwrap().error.clone().unwrap();
    assert!(error("Job").contains("Timeout value of 00:00:02"), "{}", error("Job"));
    assert!(error("Web").contains("request to the handler failed"), "{}", error("Web"));
    started(&host, 1).await;
    assert_eq!(host.stopped(), None, "a timeout is no crash");
}

#[tokio::test]
async fn other_statuses_content_types_and_broken_json_fail_the_invocation() {
    for (orders, named) in [
        (json!({"status": 500, "body": "details"}), "500"),
        (json!({"status": 404}), "404"),
        (json!({"type": "text/plain"}), "text/plain"),
        (json!({"body": "{"}), "not JSON"),
    ] {
        let app = App::new();
        let host = app.start().await;
        let error = run_job(&host, &orders.to_string()).await.error.unwrap();
        assert!(error.contains(named), "{error}");
        assert!(!error.contains("details"), "the real host does not show the body of a failure: {error}");
    }
}

#[tokio::test]
async fn lines_in_logs_are_information() {
    let app = App::new();
    let host = app.start().await;
    run_job(&host, &json!({"body": json!({"Logs": ["error: no level here"]}).to_string()}).to_string()).await;
    assert_eq!(level_of(&host, "error: no level here").await, Level::Information);
    assert!(host.logs().iter().any(|line| line.category == "Function.Job.User"));
}

async fn reply_to(outputs: Value) -> (u16, Option<String>, String, Host, App) {
    let app = App::new();
    let host = app.start().await;
    let url = host.url().join("api/things/keys?code=local-functions-key").unwrap();
    let response = reqwest::Client::new().post(url).body(answer(&outputs)).send().await.unwrap();
    let content_type = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
    (response.status().as_u16(), content_type, response.text().await.unwrap(), host, app)
}

#[tokio::test]
async fn status_code_headers_and_body_make_the_http_response() {
    let res = json!({"statusCode": 202, "headers": {"Content-Type": "application/x"}, "body": {"id": 1}});
    let (status, content_type, body, ..) = reply_to(json!({"res": res})).await;
    assert_eq!((status, content_type.as_deref(), body.as_str()), (202, Some("application/x"), r#"{"id":1}"#));
}

#[tokio::test]
async fn status_alone_is_ignored() {
    assert_eq!(reply_to(json!({"res": {"status": 404, "body": "x"}})).await.0, 200);
}

#[tokio::test]
async fn a_missing_response_is_an_empty_object() {
    let (status, _, body, ..) = reply_to(json!({})).await;
    assert_eq!((status, body.as_str()), (200, "{}"));
}

#[tokio::test]
async fn a_plain_text_response_fails_and_then_no_output_is_written() {
    let (status, _, _, host, _app) = reply_to(json!({"res": "hello", "out": ["x"]})).await;
    assert_eq!(status, 500);
    assert!(host.queue_messages("results").await.unwrap().is_empty());
}
