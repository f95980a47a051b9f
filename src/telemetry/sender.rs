//! The HTTPS client of the exporters: the `reqwest` and the TLS stack that are in this program already.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this is the door to the collector")]

use std::{
    env,
    iter::successors,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect;
use tokio::runtime::Handle;

/// How long one request may take without `OTEL_EXPORTER_OTLP_TIMEOUT`, which is in milliseconds (OpenTelemetry Protocol
/// Exporter specification).
const LIMIT: Duration = Duration::from_secs(10);

/// As much of an answer is read: a collector's says nothing that is needed.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Sends from the exporters' own threads through the runtime, which has the timers and sockets.
#[derive(Clone, Debug)]
pub(super) struct Sender(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Handle,
    /// Made when there is something to send: reading the system's certificates takes longer than a first answer may.
    client: OnceLock<reqwest::Client>,
    is_failing: AtomicBool,
}

impl Sender {
    /// For the runtime it is called in.
    pub(super) fn new() -> Self {
        let inner = Inner { runtime: Handle::current(), client: OnceLock::new(), is_failing: AtomicBool::new(false) };
        Self(Arc::new(inner))
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let inner = self.0.clone();
        self.0.runtime.spawn(async move { inner.send(request).await }).await?
    }
}

impl Inner {
    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // They may hold keys, which clients print when they are talkative.
        request.headers_mut().values_mut().for_each(|value| value.set_sensitive(true));
        let answer = self.exchange(request).await;
        let trouble = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => {
                let causes = successors(Some(error as &dyn std::error::Error), |cause| cause.source());
                Some(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
            }
        };
        // Once: it is nobody's first worry.
        match (&trouble, self.is_failing.swap(trouble.is_some(), Ordering::Relaxed)) {
            (Some(trouble), false) => {
                tracing::warn!(
                    "Telemetry could not be sent to {}: {trouble}. What was to be sent is lost, and nothing else is \
                     affected.",
                    super::ENDPOINT
                );
            }
            (None, true) => tracing::info!("Telemetry can be sent to {} again.", super::ENDPOINT),
            _ => (),
        }
        Ok(answer?)
    }

    async fn exchange(&self, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
        // The URL may hold a key.
        let client = self.client().map_err(reqwest::Error::without_url)?;
        let request = reqwest::Request::try_from(request)?;
        let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        let mut body = Vec::new();
        while body.len() < LONGEST_ANSWER
            && let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)?
        {
            body.extend_from_slice(&chunk);
        }
        Ok(response.map(|_| body.into()))
    }

    fn client(&self) -> reqwest::Result<&reqwest::Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let limit = env::var("OTEL_EXPORTER_OTLP_TIMEOUT").ok().and_then(|limit| limit.trim().parse().ok());
        // Redirects are not followed: the headers would follow them.
        let client = reqwest::Client::builder()
            .timeout(limit.map_or(LIMIT, Duration::from_millis))
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(self.client.get_or_init(|| client))
    }
}
