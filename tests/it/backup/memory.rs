//! Memory hardly grows with the number of items: the real binary on vaults of two sizes, behind the proxy.

use crate::{
    local_azure::LocalAzure,
    memory::{assert_hardly_grows, measure, tell},
};

const VAULT: &str = "contoso-prod";

/// The most memory of each command on a vault of so many secrets, in bytes.
async fn peaks(items: usize) -> Vec<(String, u64)> {
    let azure = LocalAzure::with(&[VAULT]).await;
    for number in 0..items {
        azure.vaults.set_secret(VAULT, &format!("secret-{number:06}"), "value");
    }
    let mut settings = azure.settings();
    settings.insert("BACKUP_KEEP".into(), "daily=1".into());
    let mut peaks = Vec::new();
    let backup = &["backup", VAULT, "--output", "json"][..];
    let prune = &["prune", VAULT, "--yes", "--output", "json"][..];
    for (what, command) in [("first backup", backup), ("second backup", backup), ("prune", prune)] {
        let measured = measure(&settings, command).await;
        tell(&format!("{what} of {items} items"), &measured);
        peaks.push((what.to_owned(), measured.peak));
    }
    assert!(azure.items(VAULT).len() >= items && azure.manifests(VAULT).len() == 1);
    azure.assert_all_known();
    peaks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_items_take_little_more_memory_than_a_thousand() {
    assert_hardly_grows(peaks).await;
}
