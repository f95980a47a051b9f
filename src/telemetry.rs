//! OpenTelemetry: spans and metrics over OTLP, when `OTEL_EXPORTER_OTLP_ENDPOINT` says where to.
//!
//! Nobody else in this program knows of it. The others open `tracing` spans and emit `measure!`; what becomes of them
//! under which name is decided in `conventions` (spans, attributes) and `metrics` (measures). Without the variable
//! nothing is started: no thread, no client, and a disabled `measure!` is one comparison.
//!
//! Sending never holds anybody up: spans wait in a bounded queue and are dropped when it is full, and the threads that
//! send are not those that work.

#![allow(
    clippy::disallowed_methods,
    reason = "the variables of OpenTelemetry are its own: they are read here and by its SDK"
)]

mod conventions;
mod metrics;
mod sender;

use std::{collections::HashMap, env, time::Duration};

use opentelemetry::{
    Key, KeyValue,
    propagation::TextMapPropagator as _,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use self::{conventions::Conventional, metrics::Meters, sender::Sender};
use crate::error::{Error, Result};

/// The variable that switches all of this on (OpenTelemetry Protocol Exporter specification).
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How long spans are gathered, unless `OTEL_BSP_SCHEDULE_DELAY` says otherwise. The standard's 5 seconds would lose more
/// of a handler that is killed without warning.
const SPANS_EVERY: Duration = Duration::from_secs(1);

/// How often metrics are sent, unless `OTEL_METRIC_EXPORT_INTERVAL` says otherwise. An instance may live for less than
/// the standard's 60 seconds.
const METRICS_EVERY: Duration = Duration::from_secs(10);

/// How long a command waits at its end for the last of it to be sent.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The target of what `measure!` emits.
const MEASURE: &str = "measure";

/// Something counted or timed: its name, then fields as in `tracing`'s macros. `count`, `seconds` and `at` (a Unix time in
/// seconds) hold the value, all other fields say of what.
#[macro_export]
macro_rules! measure {
    ($name:literal, $($fields:tt)*) => {
        ::tracing::event!(target: "measure", ::tracing::Level::TRACE, measure = $name, $($fields)*)
    };
}

/// What sends spans and metrics.
#[derive(Debug)]
pub struct Telemetry {
    spans: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

impl Telemetry {
    /// Starts it when the environment says where to; opens no connection yet. Must be called within the runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when a variable of OpenTelemetry cannot be understood. That is no reason not to back up.
    pub fn start() -> Result<Option<Self>> {
        if !is_set(ENDPOINT) || env::var("OTEL_SDK_DISABLED").is_ok_and(|it| it.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        // The cause is not shown: it may quote the variable, which may hold a key.
        let refuse = |_| {
            Error::invalid(
                ENDPOINT,
                format!("{ENDPOINT} cannot be used. Set it to a URL such as http://localhost:4318."),
            )
        };
        let sender = Sender::new();
        let spans = SpanExporter::builder().with_http().with_http_client(sender.clone()).build().map_err(refuse)?;
        let metrics = MetricExporter::builder().with_http().with_http_client(sender).build().map_err(refuse)?;

        let mut batches = BatchConfigBuilder::default();
        if !is_set("OTEL_BSP_SCHEDULE_DELAY") {
            batches = batches.with_scheduled_delay(SPANS_EVERY);
        }
        let spans = BatchSpanProcessor::builder(Conventional(spans)).with_batch_config(batches.build()).build();
        let mut provider = SdkTracerProvider::builder().with_span_processor(spans).with_resource(resource());
        if !is_set("OTEL_TRACES_SAMPLER") {
            // The host's traceparent says "not sampled" where Application Insights samples later. The standard's default
            // would then send nothing.
            provider = provider.with_sampler(Sampler::AlwaysOn);
        }
        let mut reader = PeriodicReader::builder(metrics);
        if !is_set("OTEL_METRIC_EXPORT_INTERVAL") {
            reader = reader.with_interval(METRICS_EVERY);
        }
        let metrics = SdkMeterProvider::builder().with_reader(reader.build()).with_resource(resource()).build();
        Ok(Some(Self { spans: provider.build(), metrics }))
    }

    /// What listens to spans and measures.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let spans = OpenTelemetryLayer::new(self.spans.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_traced));
        let measures = Meters::new(&self.metrics).with_filter(filter_fn(|metadata| metadata.target() == MEASURE));
        spans.and_then(measures)
    }

    /// Sends what is left, for a few seconds at most: whatever comes of it, the command has ended as it has.
    pub async fn finish(self) {
        let (done, finished) = tokio::sync::oneshot::channel();
        // A thread, because the SDK blocks; not one of the runtime's, because that would wait for it at its end.
        std::thread::spawn(move || {
            let _ = self.spans.shutdown_with_timeout(LAST_WORDS);
            let _ = self.metrics.shutdown_with_timeout(LAST_WORDS);
            let _ = done.send(());
        });
        let _ = tokio::time::timeout(LAST_WORDS, finished).await;
    }
}

/// Makes `span` part of the trace that the caller's `traceparent` header (W3C Trace Context) names. A header that cannot
/// be read is none.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else { return };
    let headers = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&headers);
    if context.span().span_context().is_valid() {
        // It fails when nothing listens.
        let _ = span.set_parent(context);
    }
}

/// Spans of this program; events that matter to somebody who looks at them. Never what other crates say: that holds URLs
/// and headers.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.target().starts_with("keyvault_backup");
    metadata.target() == "event" || is_ours && (metadata.is_span() || *metadata.level() <= Level::WARN)
}

/// Who sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and what is known without them.
fn resource() -> Resource {
    let known = Resource::builder().build();
    let name = known.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if name.is_none_or(|name| name.starts_with("unknown_service")) {
        resource = resource.with_service_name(env!("CARGO_PKG_NAME"));
    }
    // The environment of an Azure Functions app.
    if let Ok(app) = env::var("WEBSITE_SITE_NAME") {
        let of_app = [("cloud.provider", "azure".to_owned()), ("cloud.platform", "azure.functions".to_owned())];
        resource = resource.with_attributes(of_app.map(|(key, value)| KeyValue::new(key, value)));
        resource = resource.with_attribute(KeyValue::new("azure.functions.app", app));
    }
    if let Ok(instance) = env::var("WEBSITE_INSTANCE_ID") {
        resource = resource.with_attribute(KeyValue::new("service.instance.id", instance));
    }
    resource.build()
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}
