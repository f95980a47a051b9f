//! Months of a vault that changes every day, in virtual time, on a container under an immutability policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use keyvault_backup::{
    model::BackupId,
    prune::Options,
    repository::Repository,
    retention::{self, Backup, Policy, Quality},
};
use simulator::key_vault::{Kind, Snapshot};

use super::{TARGET, VAULT, assert_restores, assert_whole, backups, by_policy, ids, item_blobs, prune_in};
use crate::{
    backup::{DAY, SETTLED},
    world::{World, immutable::Immutable},
};

const DAYS: usize = 150;
const POLICY: &str = "daily=7,weekly=4,monthly=3";
const IMMUTABLE: Duration = Duration::from_secs(14 * 86_400);

/// As long as a run takes here, and the minute that is waited before it.
const A_RUN: i64 = 600;

#[tokio::test(start_paused = true)]
async fn over_months_every_kept_backup_restores_and_the_container_does_not_grow() {
    let world = World::with(&[VAULT, TARGET]);
    let store = Immutable::new(&world.backups, world.vaults.clock(), IMMUTABLE);
    let repository = Repository::new(Arc::new(store.clone()), Arc::new(world.state.clone()));
    let options = Options { immutable_for: Some(IMMUTABLE), ..by_policy(POLICY) };
    let mut taken: BTreeMap<BackupId, Snapshot> = BTreeMap::new();
    let mut blobs = Vec::new();
    let mut carried_over = 0;
    for day in 0..DAYS {
        change(&world, day);
        world.pass(SETTLED);
        let header = world.back_up_from(&world.vault(VAULT), &repository, &world.backup_options()).await.unwrap();
        taken.insert(header.backup_id.clone(), world.vaults.snapshot(VAULT));
        carried_over += header.counts.carried_over;

        let newest = world.newest(VAULT).await;
        let oldest = newest
            .items
            .iter()
            .map(Result::unwrap)
            .map(|item| header.started_at.seconds_since(item.written_at()))
            .max();
        assert!(oldest.unwrap() <= 7 * 86_400 + A_RUN, "day {day}: a blob of {oldest:?} seconds is relied upon");

        prune_in(&world, &repository, &options).await;
        let left: BTreeSet<BackupId> = ids(&world).await.into_iter().collect();
        for id in should_be_kept(&taken, &world) {
            assert!(left.contains(&id), "day {day}: {id} is lost");
        }
        blobs.push(item_blobs(&world).await.len());
        if day % 30 == 29 {
            assert_whole(&world).await;
            for backup in backups(&world).await {
                assert_restores(&world, &backup.id, &taken[&backup.id]).await;
            }
        }
        world.pass(DAY - SETTLED);
    }
    assert_eq!(store.refused(), 0, "nothing was tried before its time");
    assert!(carried_over > 0, "backups were incremental");
    // Fourteen days are protected; of the others the policy keeps four weeks and three months.
    assert!(ids(&world).await.len() <= 14 + 4 + 3 + 1, "{}", ids(&world).await.len());
    let (early, late) = (&blobs[60..105], &blobs[105..]);
    assert!(late.iter().max() <= early.iter().max().map(|most| most + most / 5).as_ref(), "{blobs:?}");
    world.assert_all_known();
}

/// One item gets a new version; now and then one comes and one goes.
fn change(world: &World, day: usize) {
    if day == 0 {
        for number in 0..8 {
            world.vaults.set_secret(VAULT, &format!("secret-{number}"), "value");
        }
        world.vaults.create_key(VAULT, "key", "EC");
    }
    // The simulator keeps all versions, and an item with more than 500 cannot be backed up.
    world.vaults.set_secret(VAULT, &format!("secret-{}", day % 4), &format!("value {day}"));
    if day % 10 == 3 {
        world.vaults.set_secret(VAULT, &format!("passing-{day}"), "value");
    }
    if day % 10 == 8 {
        world.vaults.delete_now(VAULT, Kind::Secret, &format!("passing-{}", day - 5));
        world.vaults.purge_now(VAULT, Kind::Secret, &format!("passing-{}", day - 5));
    }
}

/// What the policy keeps of all backups there have been. With every day's backup there from the beginning, what was
/// removed on one day is never asked for on another.
fn should_be_kept(taken: &BTreeMap<BackupId, Snapshot>, world: &World) -> Vec<BackupId> {
    let policy: Policy = POLICY.parse().unwrap();
    let all = taken.keys().map(|id| Backup { id: id.clone(), label: None, quality: Quality::Whole }).collect();
    let decisions = retention::apply(&policy, all, world.now()).into_iter();
    // The oldest of a list that was never pruned is older than that of one that was.
    let in_place =
        decisions.filter(|decision| decision.reasons.iter().any(|reason| !reason.to_string().ends_with("(oldest)")));
    in_place.map(|decision| decision.backup.id).collect()
}
