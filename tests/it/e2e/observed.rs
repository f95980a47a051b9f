//! What a collector is told of storage, which is Azurite's here.

use super::{
    PRODUCTION, RECOVERY,
    cloud::{Cloud, LIMIT},
};
use crate::telemetry::collector::Collector;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_to_storage_and_for_tokens_are_measured_beside_those_to_vaults() {
    let (cloud, collector) = (Cloud::with(&[PRODUCTION], &[RECOVERY]).await, Collector::open().await);
    cloud.vaults.seed(PRODUCTION, 30);
    let mut settings = cloud.settings();
    settings.insert("OTEL_EXPORTER_OTLP_ENDPOINT".into(), collector.url.clone());
    settings.insert("OTEL_METRIC_EXPORT_INTERVAL".into(), "100".into());
    let app = cloud.start(settings).await;
    let fired = app.host.fire("BackupTimer").await.unwrap();
    assert!(fired.succeeded(), "{:?}", fired.error);
    app.host.wait_idle(LIMIT).await.unwrap();

    let storage = cloud.backups.url().host_str().unwrap().to_owned();
    let made =
        [("server.address", storage.as_str()), ("http.request.method", "PUT"), ("http.response.status_code", "201")];
    // At least a blob for each item, and the manifest.
    let requests = "http.client.request.duration";
    collector.wait_until(|received| received.sum(requests, &made).is_some_and(|count| count >= 31.0)).await;
    let vault = format!("{PRODUCTION}.vault.azure.net");
    let sent = Some(cloud.vaults.requests().len() as f64);
    collector.wait_until(|received| received.sum(requests, &[("server.address", &vault)]) == sent).await;
    cloud.check(&app).await;
}
