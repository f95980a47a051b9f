//! A custom handler that does what it is told, for the tests of the Functions host stand-in.
//!
//! The orders are a JSON object found in the queue message, in the body of the HTTP request, or, for timers, in the
//! setting `ORDERS`: `status`, `type` and `body` (a text, sent as it is) of the response; `stdout` and `stderr` to
//! print; `exit` with that code; `hang` without an answer; `wait` until a file of that name exists. Every request
//! is printed to stdout as one JSON object with `path`, `headers` and `body` after the word `SEEN`, and at the start
//! the process number, arguments and the environment of the Functions host after the word `STARTED`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a handler prints is what the host logs")]

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{collections::BTreeMap, convert::Infallible, error::Error, time::Duration};
use tokio::net::TcpListener;

/// What a good function answers when it has nothing to say.
const EMPTY: &str = r#"{"Outputs":{},"Logs":[],"ReturnValue":null}"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(code) = std::env::var("EXIT_AT_START") {
        std::process::exit(code.parse()?);
    }
    let port: u16 = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let environment: BTreeMap<_, _> =
        std::env::vars().filter(|(name, _)| name.starts_with("FUNCTIONS_") || name == "ORDERS").collect();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let directory = std::env::current_dir()?;
    println!(
        "STARTED {}",
        json!({"process": std::process::id(), "arguments": arguments, "environment": environment, "directory": directory})
    );
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service_fn(|request| async { Ok::<_, Infallible>(handle(request).await) });
        tokio::spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(stream), service).await });
    }
}

async fn handle(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let seen = request.method() == Method::POST;
    let path = request.uri().path().to_owned();
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !seen {
        return respond(404, "text/plain", String::new());
    }
    println!("SEEN {}", json!({"path": path, "headers": headers, "body": body}));
    obey(&orders(&body)).await
}

/// Finds the orders in whatever the function was triggered with.
fn orders(body: &Value) -> Value {
    let Some(data) = body["Data"].as_object().and_then(|data| data.values().next()) else { return Value::Null };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    match data {
        Value::String(encoded) => match parse(encoded) {
            Value::String(message) => parse(&message),
            other => other,
        },
        request if request.get("Url").is_some() => request["Body"].as_str().map(parse).unwrap_or_default(),
        _ => std::env::var("ORDERS").map(|orders| parse(&orders)).unwrap_or_default(),
    }
}

async fn obey(orders: &Value) -> Response<Full<Bytes>> {
    if let Some(line) = orders["stdout"].as_str() {
        println!("{line}");
    }
    if let Some(line) = orders["stderr"].as_str() {
        eprintln!("{line}");
    }
    if let Some(code) = orders["exit"].as_i64() {
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
    if let Some(file) = orders["wait"].as_str() {
        while !std::path::Path::new(file).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    if orders["hang"] == true {
        std::future::pending::<()>().await;
    }
    let status = orders["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    respond(
        status,
        orders["type"].as_str().unwrap_or("application/json"),
        orders["body"].as_str().unwrap_or(EMPTY).to_owned(),
    )
}

fn respond(status: u16, content_type: &str, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("Content-Type", content_type);
    response.body(Full::new(body.into())).unwrap_or_default()
}
