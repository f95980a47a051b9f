//! What goes wrong in Blob Storage: with the real program and Azurite behind a door that fails, and with a lease that
//! cannot be renewed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::future;
use keyvault_backup::{error::ErrorKind, repository::Repository, store::LEASE};
use simulator::mishap::Mishap;
use tokio::time::Instant;

use crate::{
    local_azure::LocalAzure,
    rights::storage::{DELETE, READ, Storage, Trouble, WRITE},
    store::azure_only::container_without_renewals,
    world::World,
};

/// An account of which one request in five goes wrong.
async fn ridden_out(trouble: Trouble, seed: u64) {
    let storage = Storage::create().await;
    let azure = LocalAzure::altered(&["contoso-prod", "contoso-dr"], |services| storage.behind(services)).await;
    for container in [storage.backups(), storage.state()] {
        storage.grant(&azure.identity, &container, &[READ, WRITE, DELETE]);
    }
    azure.vaults.seed("contoso-prod", 20);
    let mut dice = fastrand::Rng::with_seed(seed);
    let hits = Arc::new(AtomicU32::new(0));
    let counted = hits.clone();
    storage.upset(move |_| {
        let is_hit = dice.u32(0..100) < 20;
        counted.fetch_add(is_hit.into(), Relaxed);
        is_hit.then_some(trouble)
    });
    let url = storage.url();
    for arguments in [
        &["backup"][..],
        &["backup", "--full", "--label", "second"],
        &["restore", "contoso-prod", "--backup", "second", "--to", "contoso-dr"],
    ] {
        let ran = azure.run_with(&[("BACKUP_STORE_URL", &url)], arguments).await;
        assert_eq!(ran.code, 0, "{trouble:?}, {arguments:?}: {ran:?}");
    }
    storage.calm();
    let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new(), "{trouble:?}");
    assert!(hits.load(Relaxed) > 5, "{trouble:?}: {hits:?}");
}

#[tokio::test]
async fn a_storage_of_which_one_answer_in_five_goes_wrong_loses_nothing() {
    let troubles = [
        Trouble::Refused(503, "ServerBusy", None),
        Trouble::Refused(503, "ServerBusy", Some(1)),
        Trouble::Refused(429, "TooManyRequests", None),
        Trouble::Refused(500, "OperationTimedOut", None),
        Trouble::Lost,
        Trouble::Before(Mishap::Reset),
        Trouble::After(Mishap::Reset),
        Trouble::After(Mishap::Truncate(10)),
        Trouble::After(Mishap::Trickle(Duration::from_millis(500))),
    ];
    future::join_all(troubles.into_iter().zip(1..).map(|(trouble, seed)| ridden_out(trouble, seed))).await;
}

/// Another run may have begun by then.
#[tokio::test(start_paused = true)]
async fn a_backup_whose_lease_cannot_be_renewed_stops_and_commits_nothing() {
    let world = World::with(&["contoso-prod"]);
    for number in 0..300 {
        world.vaults.set_secret("contoso-prod", &format!("secret-{number:03}"), "value");
    }
    world.vaults.set_latency(Duration::from_secs(1));
    let repository = Repository::new(Arc::new(world.backups.clone()), Arc::new(container_without_renewals()));
    let start = Instant::now();
    let result = world.back_up_from(&world.vault("contoso-prod"), &repository, &world.backup_options()).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("lost its lease"), "{error}");
    assert!(start.elapsed() <= LEASE + Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(world.blobs().await.iter().all(|name| !name.contains("/backups/")));
}
