//! One invocation: request, response, effects, and what happens when any of them goes wrong.

use super::{
    Core, Error, Result,
    answer::{Answer, Effects, Reply},
    error::chain,
    function_json::Function,
    handler::{Connection, State},
    logs::Level,
    payload::{Payload, RetryContext},
    settings::show_time_span,
};
use futures::stream;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// The version the stand-in claims to be, of the line its behaviour was read from.
const HOST_VERSION: &str = "4.1036.0";

/// How long the end of a process may take to be noticed after its connections broke.
const NOTICE_OF_DEATH: Duration = Duration::from_millis(250);

/// What became of one invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The function's name.
    pub function: String,
    /// Sent as `X-Azure-Functions-InvocationId`.
    pub id: Uuid,
    /// For queue triggers: how often the message was delivered, this time included.
    pub dequeue_count: Option<u32>,
    /// Which retry of a retry policy this was; 0 is the first attempt.
    pub retry_count: u32,
    /// Why it failed; `None` when it succeeded.
    pub error: Option<String>,
    /// How long it took.
    pub duration: Duration,
}

impl Invocation {
    /// Whether the host counts it as a success.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.error.is_none()
    }
}

/// What an invocation is about.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) function: &'a Function,
    pub(super) payload: &'a Payload,
    pub(super) dequeue_count: Option<u32>,
    pub(super) retry: Option<&'a RetryContext>,
}

/// Runs a function once, records the outcome, and gives the HTTP response if there is one.
pub(super) async fn run(core: &Core, call: Call<'_>) -> (Invocation, Option<Reply>) {
    let _busy = core.busy();
    let started = Instant::now();
    let id = Uuid::new_v4();
    let name = &call.function.name;
    let result = attempt(core, call, id).await;
    let (error, reply) = match result {
        Ok(reply) => (None, reply),
        Err(error) => (Some(error.to_string()), None),
    };
    let invocation = Invocation {
        function: name.clone(),
        id,
        dequeue_count: call.dequeue_count,
        retry_count: call.retry.map_or(0, |retry| retry.retry_count),
        error,
        duration: started.elapsed(),
    };
    let category = format!("Function.{name}");
    match &invocation.error {
        None => core.log.add(Level::Information, category, format!("Executed {name} (Succeeded, Id={id})")),
        Some(error) => core.log.add(Level::Error, category, format!("Executed {name} (Failed, Id={id}): {error}")),
    }
    core.invocations.send_modify(|all| all.push(invocation.clone()));
    (invocation, reply)
}

async fn attempt(core: &Core, call: Call<'_>, id: Uuid) -> Result<Option<Reply>> {
    let connection = core.handler.connection().await?;
    let exchange = exchange(core, call, id, &connection);
    let effects = match core.function_timeout {
        None => exchange.await?,
        Some(limit) => match timeout(limit, exchange).await {
            Ok(effects) => effects?,
            Err(_) => {
                // All other running invocations die with the process, as on the real host.
                core.handler.replace(connection.generation).await;
                return Err(Error::new(format!(
                    "Timeout value of {} was exceeded by function: {}; the handler was killed",
                    show_time_span(limit),
                    call.function.name
                )));
            }
        },
    };
    for (queue, bytes) in &effects.messages {
        core.queues.send(queue, bytes).await?;
    }
    Ok(effects.reply)
}

async fn exchange(core: &Core, call: Call<'_>, id: Uuid, connection: &Connection) -> Result<Effects> {
    let Function { name, .. } = call.function;
    let body = call.payload.body(name, OffsetDateTime::now_utc(), call.retry);
    // A stream has no known length, so it goes out chunked and without Content-Length, as the real host sends it.
    let body = reqwest::Body::wrap_stream(stream::iter([Ok::<_, std::convert::Infallible>(body)]));
    let trace = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    let response = connection
        .client
        .post(format!("http://127.0.0.1:{}/{name}", connection.port))
        .header("Content-Type", "application/json; charset=utf-8")
        .header("X-Azure-Functions-HostVersion", HOST_VERSION)
        .header("X-Azure-Functions-InvocationId", id.to_string())
        .header("User-Agent", format!("Azure-Functions-Host/{HOST_VERSION}"))
        .header("traceparent", format!("00-{}-{}-00", trace.0, &trace.1[..16]))
        .body(body)
        .send()
        .await;
    let response = match response {
        Ok(response) => response,
        Err(e) => return Err(lost(core, connection, &e).await),
    };
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(e) => return Err(lost(core, connection, &e).await),
    };
    let Some(answer) = Answer::read(status, content_type.as_deref(), &body)? else {
        // The trap: the real host sets no result for an empty body, so only functionTimeout ends the invocation.
        return std::future::pending().await;
    };
    for line in &answer.logs {
        core.log.add(Level::Information, format!("Function.{name}.User"), line.clone());
    }
    answer.effects(call.function)
}

/// A broken connection mostly means that the process died. Its end is noticed a moment later, and until then a message
/// that is visible again at once would be delivered to a corpse, so this waits for the notice for a short while.
async fn lost(core: &Core, connection: &Connection, error: &reqwest::Error) -> Error {
    let mut state = core.handler.state();
    let same = |state: &State| matches!(state, State::Ready(now) if now.generation == connection.generation);
    let _ = timeout(NOTICE_OF_DEATH, state.wait_for(|state| !same(state))).await;
    Error::new(format!("the request to the handler failed: {}", chain(error)))
}
