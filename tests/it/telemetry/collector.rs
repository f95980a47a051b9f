//! A receiver of OTLP over HTTP on loopback, which decodes with the official definitions; endpoints that are none; and
//! the handler without a host.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener as Socket},
    sync::Arc,
};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{Metric, metric, number_data_point},
    trace::v1::{span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::watch,
};
use warp::{Filter as _, http::HeaderMap};

use super::{BINARY, LIMIT, Stdio};
use crate::local_azure::{Settings, client};

pub(crate) type Attributes = BTreeMap<String, String>;

/// A collector that keeps what it gets.
pub(crate) struct Collector {
    pub(crate) url: String,
    received: watch::Receiver<Received>,
}

/// What a collector got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) requests: Vec<Request>,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    path: String,
    pub(crate) headers: Attributes,
    body: Bytes,
}

/// A span as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) kind: &'static str,
    pub(crate) failed: bool,
    /// Names and messages.
    pub(crate) events: Vec<(String, String)>,
    pub(crate) attributes: Attributes,
}

impl Collector {
    pub(crate) async fn open() -> Self {
        let (keep, received) = watch::channel(Received::default());
        let keep = Arc::new(keep);
        let receive = warp::post().and(warp::path::full()).and(warp::header::headers_cloned()).and(warp::body::bytes());
        let receive = receive.map(move |path: warp::path::FullPath, headers: HeaderMap, body: Bytes| {
            let text = |value: &warp::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let request = Request { path: path.as_str().to_owned(), headers, body };
            keep.send_modify(|received| received.requests.push(request));
            warp::reply()
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(warp::serve(receive).incoming(listener).run());
        Self { url, received }
    }

    pub(crate) fn received(&self) -> Received {
        self.received.borrow().clone()
    }

    pub(crate) async fn wait_until(&self, condition: impl FnMut(&Received) -> bool) {
        let mut received = self.received.clone();
        let waited = tokio::time::timeout(LIMIT, received.wait_for(condition)).await.map(|found| found.is_ok());
        let names = || self.received().spans().into_iter().map(|span| span.name).collect::<Vec<_>>();
        assert!(matches!(waited, Ok(true)), "not received; spans: {:?}", names());
    }
}

impl Received {
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.requests.iter().filter(|request| request.path == "/v1/traces");
        let decoded = requests.map(|request| ExportTraceServiceRequest::decode(request.body.clone()).unwrap());
        let spans = decoded.flat_map(|it| it.resource_spans).flat_map(|it| it.scope_spans).flat_map(|it| it.spans);
        spans
            .map(|span| Span {
                kind: match span.kind() {
                    SpanKind::Server => "Server",
                    SpanKind::Consumer => "Consumer",
                    _ => "Internal",
                },
                failed: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
                events: span.events.iter().map(|event| (event.name.clone(), message(&event.attributes))).collect(),
                name: span.name,
                trace: hex::encode(span.trace_id),
                id: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
                attributes: attributes(&span.attributes),
            })
            .collect()
    }

    /// Who sent it.
    pub(crate) fn resource(&self) -> Attributes {
        let request = self.requests.iter().find(|request| request.path == "/v1/traces").expect("spans");
        let decoded = ExportTraceServiceRequest::decode(request.body.clone()).unwrap();
        attributes(&decoded.resource_spans[0].resource.as_ref().unwrap().attributes)
    }

    /// The newest sum of a counter, or number of values of a histogram, over all points with these attributes.
    pub(crate) fn sum(&self, name: &str, of: &[(&str, &str)]) -> Option<f64> {
        let points = self.points(name, of);
        (!points.is_empty()).then(|| points.into_iter().sum())
    }

    /// The newest value of a gauge.
    pub(crate) fn last(&self, name: &str, of: &[(&str, &str)]) -> Option<f64> {
        self.points(name, of).into_iter().next()
    }

    fn points(&self, name: &str, of: &[(&str, &str)]) -> Vec<f64> {
        let requests = self.requests.iter().rev().filter(|request| request.path == "/v1/metrics");
        let mut decoded = requests.map(|request| ExportMetricsServiceRequest::decode(request.body.clone()).unwrap());
        // Sums are cumulative: the newest request holds them all.
        let Some(newest) = decoded.next() else { return Vec::new() };
        let metrics = newest.resource_metrics.into_iter().flat_map(|it| it.scope_metrics).flat_map(|it| it.metrics);
        let points = metrics.filter(|metric| metric.name == name).flat_map(points_of);
        let wanted = |all: &Attributes| of.iter().all(|(key, value)| all.get(*key).is_some_and(|it| it == value));
        points.filter(|(attributes, _)| wanted(attributes)).map(|(_, value)| value).collect()
    }

    /// All that was received, readable or not.
    pub(crate) fn text(&self) -> String {
        self.requests.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
    }
}

fn points_of(metric: Metric) -> Vec<(Attributes, f64)> {
    let numbers = match metric.data.unwrap() {
        metric::Data::Histogram(histogram) => {
            let points = histogram.data_points.into_iter();
            return points.map(|point| (attributes(&point.attributes), point.count as f64)).collect();
        }
        metric::Data::Sum(sum) => sum.data_points,
        metric::Data::Gauge(gauge) => gauge.data_points,
        other => panic!("nobody sends {other:?}"),
    };
    let value = |value: Option<number_data_point::Value>| match value.unwrap() {
        number_data_point::Value::AsDouble(value) => value,
        number_data_point::Value::AsInt(value) => value as f64,
    };
    numbers.into_iter().map(|point| (attributes(&point.attributes), value(point.value))).collect()
}

fn attributes(attributes: &[KeyValue]) -> Attributes {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|it| it.value.clone()).unwrap() {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::BoolValue(is) => is.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}

fn message(of: &[KeyValue]) -> String {
    attributes(of).remove("keyvault_backup.message").unwrap_or_default()
}

/// A port at which nobody listens.
pub(crate) async fn dead_endpoint() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

/// A port at which somebody takes what comes and never answers.
pub(crate) async fn hanging_endpoint() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    url
}

fn free_port() -> u16 {
    Socket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The handler as a process of its own, without a host.
pub(crate) struct Handler {
    process: Child,
    port: u16,
}

impl Handler {
    /// Started, and ready for invocations.
    pub(crate) async fn start(settings: &Settings) -> Self {
        let port = free_port();
        let mut command = Command::new(BINARY);
        command.args(["serve", "--port", &port.to_string()]).env_clear().envs(settings);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let handler = Self { process: command.spawn().unwrap(), port };
        let answers = async { while client().get(handler.url("")).send().await.is_err() {} };
        tokio::time::timeout(LIMIT, answers).await.expect("the handler answers");
        handler
    }

    fn url(&self, function: &str) -> String {
        format!("http://127.0.0.1:{}/{function}", self.port)
    }

    /// Invokes a function; the answer's body.
    pub(crate) async fn post(&self, function: &str, traceparent: Option<&str>, body: &Value) -> String {
        let mut request = client().post(self.url(function)).body(body.to_string());
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        request.send().await.unwrap().text().await.unwrap()
    }

    /// How many threads have a name that begins so.
    pub(crate) fn threads_of(&self, name: &str) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id().unwrap())).unwrap();
        let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
        names.filter(|found| found.starts_with(name)).count()
    }
}
