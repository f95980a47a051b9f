//! What the handler is sent.

use crate::app::{App, LIMIT, run_job, seen, started};
use serde_json::json;

#[tokio::test]
async fn handler_is_started_with_the_environment_of_the_real_host() {
    let app = App::new();
    let host = app.start().await;
    let started = started(&host, 0).await;
    let environment = &started["environment"];
    assert_eq!(environment["FUNCTIONS_CUSTOMHANDLER_PORT"], environment["FUNCTIONS_HTTPWORKER_PORT"]);
    assert_eq!(environment["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"], environment["FUNCTIONS_HTTPWORKER_ID"]);
    assert_eq!(environment["FUNCTIONS_APP_ROOT_PATH"], app.folder.path().to_str().unwrap());
    assert_eq!(started["directory"], app.folder.path().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(started["arguments"], json!(["--from", "the app"]));
}

#[tokio::test]
async fn request_is_chunked_json_without_content_length() {
    let app = App::new();
    let host = app.start().await;
    let invocation = run_job(&host, "{}").await;
    let headers = &seen(&host, "/Job").await["headers"];
    assert_eq!(headers["transfer-encoding"], "chunked");
    assert_eq!(headers.get("content-length"), None);
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(headers["x-azure-functions-invocationid"], invocation.id.to_string());
    assert!(headers["user-agent"].as_str().unwrap().starts_with("Azure-Functions-Host/4."));
    assert!(headers.get("x-azure-functions-hostversion").is_some());
    assert_eq!(headers["traceparent"].as_str().unwrap().len(), 55);
}

#[tokio::test]
async fn queue_message_arrives_encoded_twice_with_its_fields_in_the_metadata() {
    let app = App::new();
    let host = app.start().await;
    let text = r#"{"a":1,"vault":"kv"}"#;
    let invocation = run_job(&host, text).await;
    assert!(invocation.succeeded(), "{invocation:?}");
    let body = &seen(&host, "/Job").await["body"];
    assert_eq!(body["Data"]["job"], serde_json::to_string(text).unwrap());
    let metadata = &body["Metadata"];
    assert_eq!((&metadata["DequeueCount"], &metadata["a"]), (&json!("1"), &json!("1")));
    assert_eq!(metadata["vault"], "\"kv\"");
    assert!(metadata["Id"].as_str().unwrap().starts_with('"'));
    assert_eq!(metadata["sys"]["MethodName"], "Job");
}

#[tokio::test]
async fn timer_arrives_as_an_object() {
    let app = App::new();
    let host = app.start().await;
    assert!(host.fire_past_due("Tick").await.unwrap().succeeded());
    let body = &seen(&host, "/Tick").await["body"];
    let timer = &body["Data"]["timer"];
    assert_eq!((&timer["IsPastDue"], &timer["Schedule"]), (&json!(true), &json!({"AdjustForDST": true})));
    assert_eq!(timer["ScheduleStatus"]["Last"], "0001-01-01T00:00:00");
    assert_eq!(body["Metadata"]["RetryContext"]["RetryCount"], 0);
}

#[tokio::test]
async fn http_request_arrives_as_an_object_with_its_body_as_text() {
    let app = App::new();
    let host = app.start().await;
    let url = host.url().join("api/things/keys/my%20key?x=1&x=2&code=local-functions-key").unwrap();
    let request =
        reqwest::Client::new().post(url.clone()).header("Content-Type", "application/json").body("{\"b\": 1}");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let body = &seen(&host, "/Web").await["body"];
    let request = &body["Data"]["req"];
    assert_eq!((&request["Url"], &request["Method"]), (&json!(url.as_str()), &json!("POST")));
    assert_eq!(request["Query"]["x"], "1,2");
    assert_eq!(request["Params"], json!({"kind": "keys", "name": "my key"}));
    assert_eq!(request["Headers"]["Content-Type"], json!(["application/json"]));
    assert_eq!(request["Body"], "{\"b\": 1}");
    assert_eq!(request["Identities"][0]["IsAuthenticated"], true);
    assert_eq!(body["Metadata"]["kind"], "\"keys\"");
}

#[tokio::test]
async fn an_encoded_slash_in_the_path_is_the_one_thing_that_stays_encoded() {
    let app = App::new();
    let host = app.start().await;
    let url = host.url().join("api/things/keys/a%2Fb%2fc%3A%25?code=local-functions-key").unwrap();
    assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    let request = &seen(&host, "/Web").await["body"]["Data"]["req"];
    assert_eq!(request["Params"]["name"], "a%2Fb%2fc:%");
}

#[tokio::test]
async fn absent_optional_parameter_and_absent_body_are_left_out() {
    let app = App::new();
    let host = app.start().await;
    let url = host.url().join("api/things/keys?code=local-functions-key").unwrap();
    assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    let request = &seen(&host, "/Web").await["body"]["Data"]["req"];
    assert_eq!(request["Params"], json!({"kind": "keys"}));
    assert_eq!(request.get("Body"), None);
}

#[tokio::test]
async fn chunked_request_loses_its_body_and_binary_body_becomes_base64() {
    let app = App::new();
    let host = app.start().await;
    let url = host.url().join("api/things/keys?code=local-functions-key").unwrap();
    let client = reqwest::Client::new();
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>("some text")]);
    client.post(url.clone()).body(reqwest::Body::wrap_stream(chunks)).send().await.unwrap();
    assert_eq!(seen(&host, "/Web").await["body"]["Data"]["req"].get("Body"), None);

    let host = app.start().await;
    let url = host.url().join("api/things/keys?code=local-functions-key").unwrap();
    client.post(url).header("Content-Type", "application/octet-stream").body("hello").send().await.unwrap();
    assert_eq!(seen(&host, "/Web").await["body"]["Data"]["req"]["Body"], "aGVsbG8=");
}

#[tokio::test]
async fn any_data_can_be_sent_to_a_function() {
    let app = App::new();
    let host = app.start().await;
    let invocation = host.invoke("Job", &json!({"status": 500})).await.unwrap();
    assert!(invocation.succeeded(), "an object is no order for this handler: {invocation:?}");
    assert_eq!(seen(&host, "/Job").await["body"]["Data"]["job"], json!({"status": 500}));
    assert!(host.invoke("Nobody", &json!(1)).await.unwrap_err().to_string().contains("Nobody"));
    host.wait_idle(LIMIT).await.unwrap();
}
