//! The program as it is shipped, against everything as real as one machine allows: the release binary, started by a
//! Functions host from the app's own `host.json` and `function.json` files; vaults behind an HTTPS proxy under their
//! production names; a managed-identity endpoint with one identity for each part; Microsoft's Azurite for blobs and
//! queues, over HTTPS and with tokens.
//!
//! `scripts/test.sh` packages the binary and installs what is not Rust. Without it these tests fail and say so.

mod app;
mod cloud;
mod copies;
mod cost;
mod delivery;
mod fleet;
mod interruption;
mod observed;
mod package;
mod settings;
mod situations;
mod soak;
mod without_us;

use serde_json::json;
use simulator::key_vault::Kind;

use self::cloud::{CANARY, Cloud, LIMIT, until};

const PRODUCTION: &str = "contoso-production";
const BILLING: &str = "contoso-billing";
const RECOVERY: &str = "contoso-recovery";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_run_and_two_restores_bring_every_item_of_two_vaults_into_a_third() {
    let cloud = Cloud::with(&[PRODUCTION, BILLING], &[RECOVERY]).await;
    cloud.vaults.seed_numbers(PRODUCTION, 0..200);
    cloud.vaults.seed_numbers(BILLING, 200..300);
    cloud.vaults.set_secret(PRODUCTION, "secret-00000", CANARY);
    let mut wanted = cloud.vaults.snapshot(PRODUCTION);
    wanted.items.extend(cloud.vaults.snapshot(BILLING).items);
    assert_eq!(Kind::ALL.map(|kind| wanted.count(kind)), [120, 90, 90]);
    // With all that the program and its libraries can say, so that the logs are worth looking through.
    let mut settings = cloud.settings();
    settings.insert("LOG_LEVEL".into(), "trace".into());
    let app = cloud.start(settings).await;

    let fired = app.host.fire("BackupTimer").await.unwrap();
    assert!(fired.succeeded(), "{:?}", fired.error);
    app.host.wait_idle(LIMIT).await.unwrap();
    let completed = app.events("backup.completed");
    assert_eq!(completed.len(), 2, "{completed:?}");

    for (vault, items) in [(PRODUCTION, 200), (BILLING, 100)] {
        let order = json!({ "vault": vault, "backup": "latest", "targetVault": RECOVERY });
        let operation = app.run("api/restore", &order).await;
        assert_eq!(operation["status"], "Succeeded", "{operation:#}");
        assert_eq!(operation["counts"], json!({ "restored": items }));
    }
    // The record says so a moment before the log does.
    until("both restores are told", || app.events("restore.completed").len() == 2).await;

    assert_eq!(wanted.differences(&cloud.vaults.snapshot(RECOVERY)), Vec::<String>::new());
    assert!(app.host.logs().iter().any(|line| line.message.contains(r#""level":"TRACE""#)));
    let failed: Vec<_> = app.host.invocations().into_iter().filter(|invocation| !invocation.succeeded()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    cloud.check(&app).await;
}
