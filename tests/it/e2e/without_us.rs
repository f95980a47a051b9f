//! The promise behind the format: what is in the container can be restored without this program.

use std::process::Stdio;

use serde_json::json;
use simulator::{azurite::tools, key_vault::Snapshot};
use tokio::process::Command;

use super::{
    PRODUCTION, RECOVERY,
    cloud::{Cloud, app_root, within},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_python_clients_restore_what_the_container_holds() {
    let cloud = Cloud::with(&[PRODUCTION], &[RECOVERY]).await;
    cloud.vaults.seed(PRODUCTION, 20);
    cloud.admit_operator(RECOVERY);
    let app = cloud.start(cloud.settings()).await;
    let backup = app.run("api/backups", &json!({})).await;
    assert_eq!(backup["status"], "Succeeded", "{backup:#}");
    cloud.check(&app).await;
    app.host.stop().await;

    let python = tools().join("python/bin/python");
    assert!(python.is_file(), "{} is missing. Run scripts/test.sh, which installs it.", python.display());
    // A secret of four versions, a key of three, and a certificate of two, which brings a key and a secret.
    let items = ["secrets/secret-00002", "keys/key-00016", "certificates/certificate-00009"];
    let run = Command::new(&python)
        .arg(app_root().join("tests/it/e2e/restore.py"))
        .args([cloud.backups.url().as_str(), PRODUCTION, RECOVERY])
        .args(items)
        .envs(cloud.doors.environment())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("the end of the script", run).await.unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}");

    let wanted = |snapshot: Snapshot| {
        let of_them = |name: &str| items.iter().any(|item| item.ends_with(name));
        Snapshot { items: snapshot.items.into_iter().filter(|((_, name), _)| of_them(name)).collect() }
    };
    let (source, target) = (wanted(cloud.vaults.snapshot(PRODUCTION)), cloud.vaults.snapshot(RECOVERY));
    assert_eq!(target.items.len(), 5);
    assert_eq!(source.differences(&target), Vec::<String>::new());
    assert_eq!(cloud.vaults.unknown_requests(), Vec::<String>::new());
    assert_eq!(cloud.doors.refused(), Vec::<String>::new());
}
