//! Connections are kept and used again: each costs the vault and this program a handshake, and a port of the network
//! that instances behind one address share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::time::Duration;

use crate::local_azure::LocalAzure;

const VAULT: &str = "contoso-prod";

/// The kinds are listed beside the items.
const LISTINGS: usize = 3;

/// How many connections so many requests at once may take: the client opens one while another is being given back, and
/// keeps both.
fn most(at_once: usize) -> usize {
    2 * at_once
}

/// Vaults whose connections are counted.
async fn counted(names: &[&str]) -> (LocalAzure, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let azure = LocalAzure::altered(names, |mut services| {
        let serves = services.serves.clone();
        // Asked once for each tunnel.
        services.serves = Arc::new(move |host| {
            counted.fetch_add(1, SeqCst);
            serves(host)
        });
        services
    })
    .await;
    // Long enough that requests are under way together.
    azure.vaults.set_latency(Duration::from_millis(5));
    (azure, connections)
}

#[tokio::test]
async fn a_backup_makes_connections_for_the_requests_under_way_and_uses_them_for_all_others() {
    for at_once in [1, 4, 16] {
        let (azure, connections) = counted(&[VAULT]).await;
        azure.vaults.seed(VAULT, 300);
        let ran = azure.run_with(&[("BACKUP_CONCURRENCY", &at_once.to_string())], &["backup"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let (made, requests) = (connections.load(SeqCst), azure.vaults.requests().len());
        assert!(requests > 330, "{requests}");
        assert!(
            (1..=most(at_once + LISTINGS)).contains(&made),
            "{made} connections for {requests} requests, {at_once} at once"
        );
    }
}

#[tokio::test]
async fn a_restore_makes_connections_for_the_requests_under_way_and_uses_them_for_all_others() {
    let (azure, connections) = counted(&[VAULT, "contoso-dr"]).await;
    azure.vaults.seed(VAULT, 100);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let (before, backed_up) = (azure.vaults.requests().len(), connections.swap(0, SeqCst));
    assert!(backed_up > 0);
    let restore = ["restore", VAULT, "--to", "contoso-dr", "--yes"];
    let ran = azure.run_with(&[("BACKUP_CONCURRENCY", "4")], &restore).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let (made, requests) = (connections.load(SeqCst), azure.vaults.requests().len() - before);
    assert!(requests > 200, "{requests}");
    // Of every kind what is there and what was deleted is listed.
    assert!((1..=most(4 + 2 * LISTINGS)).contains(&made), "{made} connections for {requests} requests");
}
