//! Which measure becomes which metric.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use opentelemetry::{
    KeyValue, Value,
    metrics::{Counter, Histogram, MeterProvider as _},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::conventions::attribute;

/// Bounds of `http.client.request.duration` in seconds (semantic conventions, HTTP metrics).
const REQUEST_SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Bounds of durations of operations in seconds: from a vault in which nothing changed to the two hours that host.json
/// grants.
const OPERATION_SECONDS: [f64; 12] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 7200.0];

/// Answers that ask for fewer requests: Key Vault's, and Blob Storage's (503 ServerBusy).
const THROTTLED: [i64; 2] = [429, 503];

/// When the newest good backup of each vault was begun, in seconds of Unix time.
type GoodBackups = Arc<Mutex<HashMap<String, i64>>>;

/// The instruments, and who plays them.
pub(super) struct Meters {
    operations: Histogram<f64>,
    items: Counter<u64>,
    requests: Histogram<f64>,
    throttles: Counter<u64>,
    retries: Counter<u64>,
    good_backups: GoodBackups,
}

impl Meters {
    pub(super) fn new(provider: &SdkMeterProvider) -> Self {
        let meter = provider.meter(env!("CARGO_PKG_NAME"));
        let good_backups = GoodBackups::default();
        let known = good_backups.clone();
        meter
            .u64_observable_gauge("keyvault_backup.backup.age")
            .with_unit("s")
            .with_description("Age of the newest good backup that this process knows of")
            .with_callback(move |gauge| {
                let now = unix_now();
                for (vault, begun) in known.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    let age = u64::try_from(now - begun).unwrap_or_default();
                    gauge.observe(age, &[KeyValue::new(attribute("vault"), vault.clone())]);
                }
            })
            .build();
        Self {
            operations: meter
                .f64_histogram("keyvault_backup.operation.duration")
                .with_unit("s")
                .with_description("Duration of one attempt at an operation")
                .with_boundaries(OPERATION_SECONDS.to_vec())
                .build(),
            items: meter
                .u64_counter("keyvault_backup.items")
                .with_unit("{item}")
                .with_description("Items of operations that ended, by outcome")
                .build(),
            requests: meter
                .f64_histogram("http.client.request.duration")
                .with_unit("s")
                .with_description("Duration of HTTP client requests, until the answer begins")
                .with_boundaries(REQUEST_SECONDS.to_vec())
                .build(),
            throttles: meter
                .u64_counter("keyvault_backup.throttles")
                .with_unit("{request}")
                .with_description("Answers that asked for fewer requests")
                .build(),
            retries: meter
                .u64_counter("keyvault_backup.retries")
                .with_unit("{request}")
                .with_description("Calls that were tried again")
                .build(),
            good_backups,
        }
    }
}

impl<S: Subscriber> Layer<S> for Meters {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut measure = Measure::default();
        event.record(&mut measure);
        let Measure { name, count, seconds, at, of } = measure;
        match name.as_str() {
            "operation" => self.operations.record(seconds, &of),
            "items" => self.items.add(count, &of),
            "retry" => self.retries.add(count, &of),
            "request" => {
                self.requests.record(seconds, &of);
                let status = of.iter().find(|it| it.key == attribute("http_status"));
                if status.is_some_and(|it| matches!(it.value, Value::I64(status) if THROTTLED.contains(&status))) {
                    let host: Vec<KeyValue> = of.into_iter().filter(|it| it.key == attribute("host")).collect();
                    self.throttles.add(1, &host);
                }
            }
            "good_backup" => {
                if let Some(vault) = of.into_iter().find(|it| it.key == attribute("vault")) {
                    let mut known = self.good_backups.lock().unwrap_or_else(PoisonError::into_inner);
                    let newest = known.entry(vault.value.to_string()).or_insert(at);
                    *newest = at.max(*newest);
                }
            }
            _ => (),
        }
    }
}

/// The fields of a measure.
#[derive(Default)]
struct Measure {
    name: String,
    count: u64,
    seconds: f64,
    at: i64,
    of: Vec<KeyValue>,
}

impl Measure {
    fn is_of(&mut self, field: &Field, value: impl Into<Value>) {
        self.of.push(KeyValue::new(attribute(field.name()), value));
    }
}

impl Visit for Measure {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "seconds" { self.seconds = value } else { self.is_of(field, value) }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "count" {
            self.count = value;
        } else {
            self.is_of(field, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "at" { self.at = value } else { self.is_of(field, value) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "measure" { self.name = value.to_owned() } else { self.is_of(field, value.to_owned()) }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.is_of(field, format!("{value:?}"));
    }
}

/// An age is as of the moment at which it is sent, of which nobody else knows.
#[allow(clippy::disallowed_methods, reason = "see above")]
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
