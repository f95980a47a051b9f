//! Spans and metrics of the real binary, as a collector receives them; and that nothing depends on one.

pub(crate) mod collector;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
    time::Instant,
};

use serde_json::{Value, json};
use simulator::key_vault::{Fault, Kind, Operation, Verb};

use self::collector::{Collector, Span, dead_endpoint, hanging_endpoint};
use crate::{
    format_docs::read,
    leaks::TOKENS,
    local_azure::{App, BINARY, FUNCTION_KEY, LIMIT, LocalAzure, run},
    settings_docs::rows,
    tidy::visit,
};

const VALUE: &str = "canary-value-of-a-secret";

/// What `OTEL_EXPORTER_OTLP_HEADERS` holds is a key.
const COLLECTOR_KEY: &str = "canary-key-of-the-collector";

/// A vault with a few items of each kind.
async fn furnished() -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    for name in ["one", "two", "three"] {
        azure.vaults.set_secret("contoso-prod", name, VALUE);
    }
    azure.vaults.create_key("contoso-prod", "signing", "RSA");
    azure.vaults.create_certificate("contoso-prod", "web");
    azure
}

/// The log lines of the handler.
fn lines(app: &App) -> Vec<Value> {
    app.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_and_a_restore_by_the_app_are_traced_within_the_hosts_traces() {
    let (azure, collector) = (furnished().await, Collector::open().await);
    let headers = format!("api-key={COLLECTOR_KEY}");
    let app = azure
        .app_with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
            ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
            ("WEBSITE_SITE_NAME", "contoso-backups"),
            ("LOG_LEVEL", "trace"),
        ])
        .await;
    let backup = app.run("api/backups", &json!({ "vaults": ["contoso-prod"] })).await;
    let order = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    let restore = app.run("api/restore", &order).await;
    let restored = |spans: &[Span]| spans.iter().any(|span| span.name == "RestoreWorker");
    collector.wait_until(|received| restored(&received.spans())).await;
    let counted = [("keyvault_backup.operation.kind", "restore"), ("keyvault_backup.outcome", "restored")];
    collector.wait_until(|received| received.sum("keyvault_backup.items", &counted).is_some()).await;

    let received = collector.received();
    let spans = received.spans();
    let only = |name: &str| {
        let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}: {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
        found[0].clone()
    };
    for (worker, kind, operation) in [("BackupWorker", "backup", &backup), ("RestoreWorker", "restore", &restore)] {
        let (invocation, span) = (only(worker), only(kind));
        assert_eq!((span.trace.as_str(), span.parent.as_str()), (invocation.trace.as_str(), invocation.id.as_str()));
        assert_eq!(span.attributes["keyvault_backup.operation.id"], operation["id"].as_str().unwrap());
        assert_eq!(span.attributes["keyvault_backup.vault"], "contoso-prod");
        assert_eq!(span.attributes["keyvault_backup.status"], "Succeeded");
        assert_eq!(span.attributes["keyvault_backup.attempt"], "1");
        assert_eq!(span.attributes["keyvault_backup.backup.id"], backup["backup"].as_str().unwrap());
        assert!(!span.failed && !invocation.failed);
        assert_eq!((invocation.attributes["faas.trigger"].as_str(), invocation.kind), ("pubsub", "Consumer"));
        let (name, message) = (format!("{kind}.completed"), operation["message"].as_str().unwrap().to_owned());
        assert!(invocation.events.contains(&(name, message)), "{:?}", invocation.events);
        // The trace is the host's, and so is what the log lines say.
        let id = &invocation.attributes["faas.invocation_id"];
        let line = lines(&app).into_iter().find(|line| line["spans"][0]["invocation"] == **id).expect("a line");
        assert_eq!(
            line["spans"][0]["traceparent"],
            format!("00-{}-{}-00", invocation.trace, invocation.parent),
            "sampled or not, it is sent"
        );
    }
    let within = |name: &str| {
        let parent = only(name).id;
        let names: Vec<String> =
            spans.iter().filter(|span| span.parent == parent).map(|span| span.name.clone()).collect();
        names
    };
    let mut parts = within("backup");
    parts.sort();
    assert_eq!(parts, ["items", "listing", "listing", "listing", "manifest"]);
    assert_eq!(within("restore"), ["plan", "safetyCopies", "items", "items"]);
    assert_eq!(only("RestoreHttp").kind, "Server");
    let batches =
        spans.iter().filter(|span| span.name == "items").map(|span| &span.attributes["keyvault_backup.items"]);
    assert_eq!(batches.collect::<Vec<_>>(), ["5", "1", "4"]);

    // What is counted is what the manifest and the record say.
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(&azure.manifests("contoso-prod")[0]).unwrap()).unwrap();
    let items = |kind: &str, outcome: &str| {
        let of = [
            ("keyvault_backup.operation.kind", kind),
            ("keyvault_backup.outcome", outcome),
            ("keyvault_backup.vault", "contoso-prod"),
        ];
        received.sum("keyvault_backup.items", &of)
    };
    assert_eq!(items("backup", "read"), manifest["counts"]["read"].as_f64());
    assert_eq!(items("backup", "stale"), Some(0.0));
    assert_eq!(items("restore", "restored"), restore["counts"]["restored"].as_f64());
    assert_eq!(items("backup", "secrets"), None, "kinds are no outcomes");
    let asked = received.sum("http.client.request.duration", &[("server.address", "contoso-prod.vault.azure.net")]);
    let answered = azure.vaults.requests().iter().filter(|request| request.vault == "contoso-prod").count();
    assert_eq!(asked, Some(answered as f64));
    let age = received.last("keyvault_backup.backup.age", &[("keyvault_backup.vault", "contoso-prod")]).unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    let succeeded = [("keyvault_backup.operation.kind", "backup"), ("keyvault_backup.status", "Succeeded")];
    assert_eq!(received.sum("keyvault_backup.operation.duration", &succeeded), Some(1.0));

    let resource = received.resource();
    assert_eq!(resource["service.name"], "keyvault-backup");
    assert_eq!(resource["deployment.environment.name"], "test");
    assert_eq!(resource["azure.functions.app"], "contoso-backups");
    assert!(received.requests.iter().all(|request| request.headers["api-key"] == COLLECTOR_KEY));

    // Nothing that is secret goes there, and the key of the collector stays between the two.
    let sent = received.text();
    let identity = azure.settings()["IDENTITY_HEADER"].clone();
    for forbidden in [VALUE, FUNCTION_KEY, COLLECTOR_KEY, &identity].into_iter().chain(TOKENS) {
        assert!(!sent.contains(forbidden), "{forbidden} was sent");
    }
    assert!(!app.log().contains(COLLECTOR_KEY));
    azure.assert_all_known();
}

#[tokio::test]
async fn every_line_of_an_invocation_says_which_it_is() {
    let azure = furnished().await;
    let app = azure.app_with(&[("LOG_LEVEL", "debug")]).await;
    let fault = Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)).named("one");
    azure.vaults.add_fault(fault);
    let operation = app.run("api/backups", &json!({ "vaults": ["contoso-prod"] })).await;
    assert_eq!(operation["status"], "PartiallySucceeded");

    let ran: BTreeSet<String> = app.host.invocations().iter().map(|it| it.id.to_string()).collect();
    let ours = |line: &&Value| {
        let target = line["target"].as_str().unwrap_or_default();
        target == "event" || target.starts_with("keyvault_backup")
    };
    let lines = lines(&app);
    let ours: Vec<&Value> = lines.iter().filter(ours).collect();
    assert!(ours.iter().any(|line| line["level"] == "ERROR" && line["message"].as_str().unwrap().contains("ended")));
    assert!(ours.iter().any(|line| line["event"] == "backup.partial"));
    for line in &ours {
        let invocation = &line["spans"][0];
        assert_eq!(invocation["name"], "invocation", "{line}");
        assert!(ran.contains(invocation["invocation"].as_str().unwrap()), "{line}");
        assert_eq!(invocation["traceparent"].as_str().map(str::len), Some(55), "{line}");
    }
    let id = operation["id"].as_str().unwrap();
    let in_operation =
        |line: &&Value| line["spans"].as_array().is_some_and(|spans| spans.iter().any(|span| span["operation"] == id));
    assert!(lines.iter().filter(in_operation).count() > 3, "what is done for an operation says for which");
}

#[tokio::test]
async fn a_handler_without_a_traceparent_works_as_well() {
    let (azure, collector) = (furnished().await, Collector::open().await);
    let mut settings = azure.settings();
    settings.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector.url.clone());
    let handler = collector::Handler::start(&settings).await;
    let body = json!({ "Data": { "timer": "{}" }, "Metadata": { "sys": { "MethodName": "BackupTimer" } } });
    for traceparent in [None, Some("00-nonsense"), Some("")] {
        let answer = handler.post("BackupTimer", traceparent, &body).await;
        assert!(answer.contains("Asked for the backup of 1 vault"), "{traceparent:?} {answer}");
    }
    collector.wait_until(|received| received.spans().len() >= 3).await;
    for span in collector.received().spans() {
        assert_eq!((span.name.as_str(), span.parent.as_str()), ("BackupTimer", ""));
        assert_eq!(span.attributes["faas.trigger"], "timer");
    }
}

#[tokio::test]
async fn a_command_sends_everything_before_it_ends() {
    let (azure, collector) = (furnished().await, Collector::open().await);
    let fault = Fault::answer(429, "Throttled").on(Operation::new(Kind::Secret, Verb::Backup)).named("one").times(2);
    azure.vaults.add_fault(fault);
    let forbidden = Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)).named("two");
    azure.vaults.add_fault(forbidden);
    let to = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_SERVICE_NAME", "nightly"),
        // What the host speaks is not for this program.
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let ran = azure.run_with(&to, &["backup"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");

    let received = collector.received();
    let backup = received.spans().into_iter().find(|span| span.name == "backup").expect("the span of the backup");
    assert_eq!(backup.attributes["keyvault_backup.status"], "PartiallySucceeded");
    assert!(backup.failed && backup.parent.is_empty(), "{backup:?}");
    assert_eq!(received.resource()["service.name"], "nightly");
    let vault = [("server.address", "contoso-prod.vault.azure.net")];
    assert_eq!(received.sum("keyvault_backup.throttles", &vault), Some(2.0));
    assert_eq!(received.sum("keyvault_backup.retries", &[("keyvault_backup.service", "vault")]), Some(2.0));
    let by_status = |status| received.sum("http.client.request.duration", &[("http.response.status_code", status)]);
    assert_eq!((by_status("429"), by_status("403")), (Some(2.0), Some(1.0)));
    assert_eq!(received.sum("keyvault_backup.items", &[("keyvault_backup.outcome", "missing")]), Some(1.0));
    assert_eq!(received.last("keyvault_backup.backup.age", &[]), None, "no backup is good");
}

#[tokio::test]
async fn commands_and_the_app_do_their_work_whatever_the_collector_does() {
    let azure = furnished().await;
    let expected = azure.run(&["backup", "--full", "--output", "json"]).await;
    let hanging = hanging_endpoint().await;
    let broken = "not a url";
    for (endpoint, seconds) in [(dead_endpoint().await.as_str(), 2.0), (hanging.as_str(), 5.0), (broken, 2.0)] {
        let start = Instant::now();
        let to = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
        let ran = azure.run_with(&to, &["backup", "--full", "--output", "json"]).await;
        // Two cores and other tests: the work itself gets a share of its own.
        assert!(start.elapsed().as_secs_f64() < seconds + 10.0, "{endpoint}: {:?}", start.elapsed());
        assert_eq!((ran.code, ran.stderr.as_str()), (expected.code, ""), "{endpoint}: {ran:?}");
        assert_eq!(ran.json().as_object().map(|it| it.len()), expected.json().as_object().map(|it| it.len()));

        let app =
            azure.app_with(&[to[0], ("OTEL_BSP_SCHEDULE_DELAY", "50"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "300")]).await;
        for _ in 0..2 {
            let backup = app.run("api/backups", &json!({ "vaults": ["contoso-prod"], "full": true })).await;
            assert_eq!(backup["status"], "Succeeded", "{endpoint}: {backup}");
        }
        let told = || app.log().matches("OTEL_EXPORTER_OTLP_ENDPOINT").count();
        let start = Instant::now();
        while told() == 0 {
            assert!(start.elapsed() < LIMIT, "{endpoint}: nobody is told");
            tokio::task::yield_now().await;
        }
        assert_eq!(told(), 1, "{endpoint}: {}", app.log());
    }
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_started() {
    let (azure, collector) = (furnished().await, Collector::open().await);
    let mut threads = BTreeMap::new();
    for endpoint in ["", &collector.url] {
        let mut settings = azure.settings();
        settings.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.to_owned());
        settings.insert("OTEL_SERVICE_NAME".to_owned(), "contoso".to_owned());
        let handler = collector::Handler::start(&settings).await;
        threads.insert(endpoint.is_empty(), handler.threads_of("OpenTelemetry"));
        if endpoint.is_empty() {
            let ran = run(&settings, &["backup"]).await;
            assert_eq!(ran.code, 0, "{ran:?}");
            assert!(collector.received().requests.is_empty());
        }
    }
    assert_eq!(threads, BTreeMap::from([(false, 2), (true, 0)]));
}

#[test]
fn the_documents_name_every_span_and_every_metric_with_its_unit() {
    let text = read("docs/operations.md");
    let named = |cell: &str| cell.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let documented: BTreeSet<String> = rows(&text, "| span |").iter().flat_map(|row| named(&row[0])).collect();
    let mut opened = BTreeSet::from(["the function's name".to_owned()]);
    visit(Path::new("src"), &mut |_, text| {
        for (_, rest) in text.match_indices("span!(\"").map(|(at, found)| text.split_at(at + found.len())) {
            opened.insert(rest.split('"').next().unwrap().to_owned());
        }
    });
    assert!(opened.remove("invocation"), "which is sent with the name of the function");
    assert_eq!(documented, opened);

    let code = read("src/telemetry/metrics.rs");
    let made: BTreeSet<(String, String, String)> = code
        .split(".with_description(")
        .filter_map(|before| {
            let (_, call) = before.rsplit_once("64_")?;
            let (instrument, rest) = call.split_once("(\"")?;
            let (name, rest) = rest.split_once('"')?;
            let unit = rest.split_once(".with_unit(\"")?.1.split('"').next()?;
            Some((name.to_owned(), unit.to_owned(), instrument.trim_start_matches("observable_").to_owned()))
        })
        .collect();
    assert!(made.len() >= 6, "{made:?}");
    let documented: BTreeSet<(String, String, String)> =
        rows(&text, "| metric |").into_iter().map(|row| (row[0].clone(), row[1].clone(), row[2].clone())).collect();
    assert_eq!(documented, made);
}
