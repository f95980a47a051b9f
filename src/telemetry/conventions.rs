//! What fields and spans are called outside: the semantic conventions of OpenTelemetry where they have a name for it,
//! `keyvault_backup.*` elsewhere.

use opentelemetry::{
    Key, KeyValue,
    trace::{SpanKind, Status},
};
use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

/// The exporter, which is handed spans with the names they have outside.
#[derive(Debug)]
pub(super) struct Conventional(pub(super) Otlp);

impl SpanExporter for Conventional {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.export(batch.into_iter().map(rename).collect()).await
    }

    fn shutdown_with_timeout(&self, timeout: std::time::Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// What an attribute is called for a field of that name.
pub(super) fn attribute(field: &str) -> Key {
    Key::from_static_str(match field {
        "function" => "faas.name",
        "invocation" => "faas.invocation_id",
        "host" => "server.address",
        "method" => "http.request.method",
        "http_status" => "http.response.status_code",
        "failure" => "error.type",
        "operation" => "keyvault_backup.operation.id",
        "kind" => "keyvault_backup.operation.kind",
        "backup" => "keyvault_backup.backup.id",
        other => return Key::new(format!("keyvault_backup.{other}")),
    })
}

fn rename(mut span: SpanData) -> SpanData {
    let value = |field: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == field);
        found.map(|attribute| attribute.value.to_string())
    };
    if let Some(function) = value("function") {
        // FaaS conventions: what a queue delivers is consumed, everything else is served.
        let (kind, trigger) = match function.as_str() {
            name if name.ends_with("Worker") => (SpanKind::Consumer, "pubsub"),
            name if name.ends_with("Timer") => (SpanKind::Server, "timer"),
            _ => (SpanKind::Server, "http"),
        };
        span.span_kind = kind;
        span.name = function.into();
        span.attributes.push(KeyValue::new("faas.trigger", trigger));
    } else if let Some(status) = value("status").filter(|status| status != "Succeeded") {
        span.status = Status::error(format!("it ended {status}"));
    }
    // What the parent is known by already, and what says how loud a log line would be.
    span.attributes.retain(|attribute| !["traceparent", "level"].contains(&attribute.key.as_str()));
    span.attributes.iter_mut().for_each(|it| named(&mut it.key));
    for event in &mut span.events.events {
        // Names are few, messages are not. A line without a message is named after its place in the source.
        let name = event.attributes.iter().find(|it| it.key.as_str() == "event").map(|it| it.value.to_string());
        let message = std::mem::replace(&mut event.name, name.unwrap_or_else(|| "log".to_owned()).into());
        if !message.starts_with("event ") {
            event.attributes.push(KeyValue::new("message", message));
        }
        event.attributes.retain(|it| !["event", "target", "level"].contains(&it.key.as_str()));
        event.attributes.iter_mut().for_each(|it| named(&mut it.key));
    }
    span
}

/// Renames a field of ours; whatever has a dot has its name already.
fn named(key: &mut Key) {
    if !key.as_str().contains('.') {
        *key = attribute(key.as_str());
    }
}
