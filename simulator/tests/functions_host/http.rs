//! The HTTP front.

use crate::app::{App, LIMIT, seen};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use simulator::functions_host::Host;
use std::time::Duration;

async fn call(host: &Host, method: Method, path: &str, key: Option<&str>) -> StatusCode {
    let request = Client::new().request(method, host.url().join(path).unwrap());
    let request = match key {
        Some(key) => request.header("x-functions-key", key),
        None => request,
    };
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn the_key_is_asked_for_in_header_or_query() {
    let app = App::new();
    let host = app.start().await;
    let key = "local-functions-key";
    assert_eq!(call(&host, Method::GET, "api/things/keys", None).await, 401);
    assert_eq!(call(&host, Method::GET, "api/things/keys", Some("wrong")).await, 401);
    assert_eq!(call(&host, Method::GET, "api/things/keys?code=wrong", None).await, 401);
    assert!(host.invocations().is_empty());
    assert_eq!(call(&host, Method::GET, "api/things/keys", Some(key)).await, 200);
    assert_eq!(call(&host, Method::GET, &format!("api/things/keys?code={key}"), None).await, 200);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_not_found() {
    let app = App::new();
    let host = app.start().await;
    let key = Some("local-functions-key");
    for (method, path) in [
        (Method::GET, "api/others"),
        (Method::GET, "things/keys"),
        (Method::GET, "api/things"),
        (Method::GET, "api/things/keys/a/b"),
        (Method::DELETE, "api/things/keys"),
        (Method::GET, "admin/functions/Tick"),
        (Method::POST, "admin/functions/Nobody"),
    ] {
        assert_eq!(call(&host, method.clone(), path, key).await, 404, "{method} {path}");
    }
}

#[tokio::test]
async fn a_timer_can_be_run_by_hand() {
    let app = App::new();
    let host = app.start().await;
    assert_eq!(call(&host, Method::POST, "admin/functions/Tick", None).await, 401);
    assert_eq!(call(&host, Method::POST, "admin/functions/Tick", Some("local-functions-key")).await, 202);
    assert_eq!(seen(&host, "/Tick").await["body"]["Data"]["timer"]["IsPastDue"], false);
    host.wait_idle(LIMIT).await.unwrap();
    assert!(host.invocations()[0].succeeded());
}

#[tokio::test]
async fn the_front_gives_up_at_its_limit_and_the_function_goes_on() {
    let app = App::new();
    let mut options = app.options();
    options.timings.http_limit = Duration::from_millis(300);
    let host = Host::start(options).await.unwrap();
    let gate = app.path("gate");
    let url = host.url().join("api/things/keys?code=local-functions-key").unwrap();
    let response = Client::new().post(url).body(json!({"wait": gate}).to_string()).send().await.unwrap();
    assert_eq!(response.status(), 502);
    std::fs::write(gate, "").unwrap();
    assert!(host.wait_for_invocations(LIMIT, 1).await.unwrap()[0].succeeded());
}

#[tokio::test]
async fn a_failed_invocation_is_a_bare_500() {
    let app = App::new();
    let host = app.start().await;
    let url = host.url().join("api/things/keys?code=local-functions-key").unwrap();
    let response =
        Client::new().post(url).body(json!({"status": 409, "body": "why"}).to_string()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (500, ""));
}
