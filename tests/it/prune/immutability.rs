//! On a container under an immutability policy a refusal is expected, and nothing that exists loses a blob to it.

use std::{sync::Arc, time::Duration};

use keyvault_backup::{backup, prune::Options, repository::Repository};

use super::{
    VAULT, assert_whole, assert_whole_and_tidy, by_policy, ids, item_blobs, prune_in, why, world_with_backups,
};
use crate::{
    backup::DAY,
    world::{World, immutable::Immutable},
};

fn locked(world: &World, period: Duration) -> (Repository, Immutable) {
    let store = Immutable::new(&world.backups, world.vaults.clock(), period);
    (Repository::new(Arc::new(store.clone()), Arc::new(world.state.clone())), store)
}

#[tokio::test(start_paused = true)]
async fn what_the_container_protects_is_not_even_tried_when_its_period_is_known() {
    let world = world_with_backups(12).await;
    let period = 8 * DAY;
    let (repository, store) = locked(&world, period);
    let options = Options { immutable_for: Some(period), ..by_policy("daily=2") };
    let all = ids(&world).await;
    let (plan, report) = prune_in(&world, &repository, &options).await;
    assert_eq!(store.refused(), 0);
    // Twelve days have passed since the first: 0 to 4 are out of the period, 10 and 11 are kept by the policy.
    assert_eq!(ids(&world).await, all[5..]);
    assert_eq!((report.backups, report.protected_backups), (5, 5));
    assert!(why(&plan, &all[5]).starts_with("kept by policy until 2026-12-04"), "{}", why(&plan, &all[5]));
    assert!(
        plan.describe(&report).contains("are kept by the container's immutability policy, the first until 2026-12-04")
    );
    assert_whole(&world).await;
    world.pass(period);
    prune_in(&world, &repository, &options).await;
    assert_eq!((assert_whole_and_tidy(&world).await, store.refused()), (2, 0));
}

/// The blobs of a backup are older than its manifest, and come out of the protection first.
#[tokio::test(start_paused = true)]
async fn a_backup_that_the_container_keeps_keeps_its_blobs_although_they_could_be_deleted() {
    let world = world_with_backups(6).await;
    // From now on the pear and the plum of the first day are named by older backups only.
    world.back_up_with(VAULT, &backup::Options { full: true, ..world.backup_options() }).await.unwrap();
    let (repository, store) = locked(&world, 4 * DAY);
    let all = ids(&world).await;
    let (plan, report) = prune_in(&world, &repository, &by_policy("last=1")).await;
    assert!(store.refused() > 0, "nobody had told it");
    assert_eq!(ids(&world).await, all[3..], "the oldest three are out of the period");
    assert_eq!((report.backups, report.protected_backups, report.protected_until), (3, 3, None));
    assert_eq!(report.blobs, 3, "the apples of three days");
    assert_eq!(why(&plan, &all[3]), "kept by policy", "what was to go and stays is not told as removed");
    assert_eq!(plan.removed().count() as u64, report.backups);
    assert!(plan.describe(&report).contains("3 backups and 0 item blobs are kept by the container's"), "{report:?}");
    assert_whole(&world).await;
    world.pass(4 * DAY);
    prune_in(&world, &repository, &by_policy("last=1")).await;
    assert_eq!(assert_whole_and_tidy(&world).await, 1);
    assert_eq!(item_blobs(&world).await.len(), 3);
}
