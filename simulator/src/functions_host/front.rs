//! The HTTP front on 127.0.0.1: routes of HTTP triggers with their keys, and `/admin/functions/{name}`.

use super::{
    Core, Error,
    answer::Reply,
    function_json::{AuthLevel, Function, Trigger},
    handler::State,
    invocation::{self, Call},
    logs::{HOST, Level},
    payload::{HttpCall, Payload},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::{collections::BTreeMap, convert::Infallible, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use url::form_urlencoded;

/// Header names that the host's web server writes in this form whatever the client sent. Others stay as they are.
const KNOWN_HEADERS: [&str; 12] = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Connection",
    "Content-Length",
    "Content-Type",
    "Host",
    "If-Match",
    "If-None-Match",
    "Origin",
    "Transfer-Encoding",
    "User-Agent",
];

/// Answers requests until the task is aborted.
pub(super) async fn serve(core: Arc<Core>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                core.log.add(Level::Error, HOST, format!("cannot accept a connection: {e}"));
                tokio::task::yield_now().await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let core = core.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let core = core.clone();
                async move { Ok::<_, Infallible>(answer(core, request).await) }
            });
            // A client that goes away is none of the host's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(core: Arc<Core>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let reply = match respond(core, request).await {
        Ok(reply) => reply,
        Err(status) => return plain(status),
    };
    let Ok(status) = StatusCode::from_u16(reply.status) else { return plain(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut response = Response::builder().status(status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(reply.body.into())).unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
}

/// A segment of a path as Kestrel decodes it: all but `%2F`, which would otherwise change the path.
/// <https://github.com/aspnet/Mvc/issues/6388>
fn decode(segment: &str) -> String {
    match segment.to_ascii_uppercase().find("%2F") {
        None => percent_decode_str(segment).decode_utf8_lossy().into_owned(),
        Some(at) => decode(&segment[..at]) + &segment[at..at + 3] + &decode(&segment[at + 3..]),
    }
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

async fn respond(core: Arc<Core>, request: Request<Incoming>) -> Result<Reply, StatusCode> {
    if matches!(&*core.handler.state().borrow(), State::Stopped(_)) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let path: Vec<String> = request.uri().path().split('/').filter(|segment| !segment.is_empty()).map(decode).collect();
    let query = query(&request);
    let with_key = has_key(&core, request.headers(), &query);
    if let [admin, functions, name] = &path[..]
        && (admin.as_str(), functions.as_str()) == ("admin", "functions")
    {
        return start_by_hand(core, request, with_key, name.clone()).await;
    }
    let (function, parameters) = route(&core, request.method(), &path).ok_or(StatusCode::NOT_FOUND)?;
    let Trigger::Http { binding, auth, .. } = &function.trigger else { return Err(StatusCode::NOT_FOUND) };
    if *auth != AuthLevel::Anonymous && !with_key {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let host = request.headers().get("host").and_then(|h| h.to_str().ok()).unwrap_or("127.0.0.1");
    let call = HttpCall {
        url: format!("http://{host}{}", request.uri()),
        method: request.method().to_string(),
        query,
        headers: headers(request.headers()),
        parameters,
        with_key,
        body: body(request).await?,
    };
    let payload = Payload::http(binding, &call);
    let limit = core.timings.http_limit;
    // A task of its own: the function goes on when the client or the front end gives up.
    let task = tokio::spawn(async move {
        let call = Call { function: &function, payload: &payload, dequeue_count: None, retry: None };
        invocation::run(&core, call).await.1
    });
    match timeout(limit, task).await {
        Ok(Ok(Some(reply))) => Ok(reply),
        Ok(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        Err(_) => Err(StatusCode::BAD_GATEWAY),
    }
}

/// The function whose route and methods fit best; the method decides before the key is looked at.
fn route(core: &Core, method: &Method, path: &[String]) -> Option<(Arc<Function>, BTreeMap<String, String>)> {
    let prefix: Vec<&str> = core.route_prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    let rest = path.get(prefix.len()..)?;
    if !prefix.iter().zip(path).all(|(expected, actual)| expected.eq_ignore_ascii_case(actual)) {
        return None;
    }
    let mut found: Vec<_> = core
        .functions
        .values()
        .filter_map(|function| match &function.trigger {
            Trigger::Http { methods, route, .. } if methods.is_empty() || methods.contains(method) => {
                route.matches(rest).map(|parameters| (route.precedence(), function.clone(), parameters))
            }
            _ => None,
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.into_iter().next().map(|(_, function, parameters)| (function, parameters))
}

/// `POST /admin/functions/{name}`: runs a function that is not triggered over HTTP, in the background.
async fn start_by_hand(
    core: Arc<Core>,
    request: Request<Incoming>,
    with_key: bool,
    name: String,
) -> Result<Reply, StatusCode> {
    if !with_key {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let function = core.function(&name).map_err(|_| StatusCode::NOT_FOUND)?;
    if request.method() != Method::POST || matches!(function.trigger, Trigger::Http { .. }) {
        return Err(StatusCode::NOT_FOUND);
    }
    let body = body(request).await?.unwrap_or_else(|| "{}".to_owned());
    let body: Value = serde_json::from_str(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let busy = core.busy();
    tokio::spawn(async move {
        let outcome = match &function.trigger {
            Trigger::Queue { binding, .. } => {
                let payload = Payload::raw(binding, &body["input"]);
                let call = Call { function: &function, payload: &payload, dequeue_count: None, retry: None };
                invocation::run(&core, call).await;
                Ok(())
            }
            Trigger::Timer { .. } => core.fire(&name, false).await.map(drop),
            Trigger::Http { .. } => Err(Error::new("HTTP functions are not started by hand")),
        };
        if let Err(e) = outcome {
            core.log.add(Level::Error, HOST, e.to_string());
        }
        drop(busy);
    });
    Ok(Reply { status: 202, headers: Vec::new(), body: Vec::new() })
}

fn has_key(core: &Core, headers: &HeaderMap, query: &BTreeMap<String, String>) -> bool {
    let header = headers.get("x-functions-key").and_then(|value| value.to_str().ok());
    header.or_else(|| query.get("code").map(String::as_str)) == Some(core.functions_key.as_str())
}

/// Several values of one name are joined by commas, as ASP.NET prints them.
fn query(request: &Request<Incoming>) -> BTreeMap<String, String> {
    let mut query = BTreeMap::<String, String>::new();
    for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
        query
            .entry(name.into_owned())
            .and_modify(|joined| *joined = format!("{joined},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    query
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut shown = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        let known = KNOWN_HEADERS.iter().find(|known| known.eq_ignore_ascii_case(name.as_str()));
        let name = known.map_or_else(|| name.as_str().to_owned(), |known| (*known).to_owned());
        shown.entry(name).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    shown
}

/// The body as text, or as base64 for binary content. Without a `Content-Length` above zero there is none: chunked
/// requests lose their body.
async fn body(request: Request<Incoming>) -> Result<Option<String>, StatusCode> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let length: u64 = header("content-length").parse().unwrap_or(0);
    let media_type = header("content-type").to_ascii_lowercase();
    let bytes = request.into_body().collect().await.map_err(|_| StatusCode::BAD_REQUEST)?.to_bytes();
    if length == 0 {
        return Ok(None);
    }
    let binary = media_type.starts_with("application/octet-stream") || media_type.starts_with("multipart/");
    Ok(Some(if binary { STANDARD.encode(&bytes) } else { String::from_utf8_lossy(&bytes).into_owned() }))
}
