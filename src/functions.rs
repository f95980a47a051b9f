//! The custom handler: what the Azure Functions host calls, one route per function folder.
//!
//! The host starts this process, waits until its port answers, and posts invocations to `/FUNCTION`. It ends it with
//! SIGKILL, without warning, so nothing here relies on a clean end. Rules of the host that shape this module
//! (azure-functions-host, Workers/Http): an answer outside 2xx is a failed invocation and its body is shown to nobody;
//! an empty 200 hangs; an exit with code 0 is never restarted; standard error is logged as errors.

#![allow(clippy::disallowed_methods, reason = "this module is the Functions host's door, and reads the clock for it")]

mod api;
mod host;
mod http;
pub mod work;

use std::{net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tracing::Instrument as _;
use warp::{
    Filter as _,
    http::{Response, StatusCode},
};

use self::host::{Invocation, Reply};
use crate::{
    config::connect::Connections,
    error::{Error, ErrorKind, Result},
    event,
    events::name,
    model::Timestamp,
    repository::operation::OperationKind,
    telemetry,
};

/// Every function of the app: the names of their folders, and the paths at which the host calls them.
pub const FUNCTIONS: [&str; 7] =
    ["BackupTimer", "BackupWorker", "BackupsHttp", "RestoreHttp", "RestoreWorker", "OperationsHttp", "VerifyTimer"];

/// What the handler works with: connections, or everything that is wrong with the settings. With wrong settings the
/// handler stays up and every invocation says what is wrong; a handler that exits would be restarted three times and
/// then take the app down without a word to its callers.
pub type Settled = Result<Connections, Vec<Error>>;

/// Serves the host on 127.0.0.1 until the process is ended.
pub async fn serve(connections: Settled, port: u16) -> Result<()> {
    if let Err(mistakes) = &connections {
        for mistake in mistakes {
            event!(ERROR, name::CONFIGURATION_INVALID, setting = mistake.target(), message = %mistake.chain());
        }
    }
    let connections = Arc::new(connections);
    // The host probes with GET / until something answers, and goes on asking now and then.
    let probe = warp::get().and(warp::path::end()).map(|| StatusCode::OK);
    let invoke = warp::post()
        .and(warp::path::param::<String>())
        .and(warp::path::end())
        .and(warp::header::optional::<String>("x-azure-functions-invocationid"))
        .and(warp::header::optional::<String>("traceparent"))
        .and(warp::body::bytes())
        .then(move |function: String, id: Option<String>, traceparent: Option<String>, body: Bytes| {
            let connections = connections.clone();
            let id = id.unwrap_or_default();
            // Of the highest level, so that the lines of every level are within it.
            let span = tracing::error_span!("invocation", function, invocation = id, traceparent);
            telemetry::follow(&span, traceparent.as_deref());
            invoke(connections, function, body).instrument(span)
        });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|cause| {
        let message =
            format!("Port {port} of 127.0.0.1 cannot be opened. End the program that uses it, or choose another.");
        Error::new(ErrorKind::InvalidInput, message).because(cause)
    })?;
    warp::serve(probe.or(invoke)).incoming(listener).run().await;
    Ok(())
}

/// One invocation, in a task of its own: a panic becomes a failed invocation, not a dead handler.
pub async fn invoke(connections: Arc<Settled>, function: String, body: Bytes) -> Response<Bytes> {
    let task = {
        let function = function.clone();
        let work = async move { run(&connections, &function, &body).await };
        tokio::spawn(work.in_current_span())
    };
    answer(&function, task).await
}

async fn answer(function: &str, task: JoinHandle<Result<Reply>>) -> Response<Bytes> {
    let failed = match task.await {
        Ok(reply) => match reply.and_then(|reply| reply.encode()) {
            Ok(text) => return json(StatusCode::OK, text),
            Err(error) => error,
        },
        // The payload of a panic is not shown: it could quote anything.
        Err(_) => Error::new(ErrorKind::Internal, format!("Function {function} stopped by a mistake of this program.")),
    };
    // The host shows nobody the body of a failed answer, so the reason is logged.
    tracing::error!("{}", failed.chain());
    let status =
        if failed.kind() == ErrorKind::NotFound { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    let body = serde_json::json!({ "error": { "code": failed.kind().code(), "message": failed.chain() } });
    json(status, body.to_string().into())
}

async fn run(connections: &Settled, function: &str, body: &[u8]) -> Result<Reply> {
    if !FUNCTIONS.contains(&function) {
        return Err(Error::new(ErrorKind::NotFound, format!("There is no function {function:?} in this app.")));
    }
    let invocation = Invocation::parse(body)?;
    let connections = match connections {
        Ok(connections) => connections,
        Err(mistakes) if function.ends_with("Http") => return Ok(Reply::http(http::misconfigured(mistakes))),
        Err(mistakes) => {
            let all: Vec<&str> = mistakes.iter().map(Error::message).collect();
            return Err(Error::new(ErrorKind::InvalidInput, format!("The settings are wrong. {}", all.join(" "))));
        }
    };
    let now = Timestamp::from(OffsetDateTime::now_utc());
    match function {
        "BackupTimer" => work::start_backups(connections, now).await,
        "VerifyTimer" => work::start(connections, OperationKind::Verify, now),
        "BackupWorker" => work::do_job(connections, &invocation, now).await,
        "RestoreWorker" => work::restore(connections, &invocation, now).await,
        "BackupsHttp" => Ok(http::backups(connections, &invocation.http("req")?, now).await),
        "RestoreHttp" => Ok(http::restore(connections, &invocation.http("req")?, now).await),
        "OperationsHttp" => Ok(http::operations(connections, &invocation.http("req")?, now).await),
        _ => Err(Error::new(ErrorKind::Internal, format!("Function {function} has no code."))),
    }
}

fn json(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = warp::http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(warp::http::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failed_invocation_that_shows_nothing_of_what_it_says() {
        let task = tokio::spawn(async { panic!("canary-value") });
        let response = answer("BackupWorker", task).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = String::from_utf8_lossy(response.body());
        assert!(body.contains("stopped by a mistake of this program") && !body.contains("canary"), "{body}");
    }
}
