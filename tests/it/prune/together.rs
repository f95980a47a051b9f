//! A prune never runs beside a backup or another prune of its vault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyvault_backup::{
    error::ErrorKind,
    prune::{self, Prune},
    repository::{Lock, Repository},
    store::Store as _,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    VAULT, assert_restores, assert_whole, assert_whole_and_tidy, by_policy, ids, prune_now, vault, world_with_backups,
};
use crate::{
    backup::DAY,
    world::interruption::{Steps, Stop},
};

#[tokio::test(start_paused = true)]
async fn while_another_run_is_at_work_nothing_is_done() {
    let world = world_with_backups(5).await;
    let before = world.blobs().await;
    let repository = world.repository();
    let Lock::Taken(lease) = repository.lock(&vault(), Uuid::new_v4()).await.unwrap() else { unreachable!() };
    let result = prune::run(&repository, &vault(), &by_policy("last=1"), world.now()).await.unwrap();
    assert!(matches!(result, Prune::Busy));
    assert_eq!(world.blobs().await, before);
    lease.release().await;
    prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(assert_whole_and_tidy(&world).await, 1);
}

/// A backup that finds another backup at work is not needed. A prune makes no backup.
#[tokio::test(start_paused = true)]
async fn a_backup_waits_for_a_prune_and_is_made() {
    let world = world_with_backups(3).await;
    prune_now(&world, &by_policy("last=1")).await;
    let holder = world.state.read(&format!("lease-holders/{VAULT}")).await.unwrap();
    assert_eq!(holder, Uuid::nil().to_string(), "a prune holds the lease without an operation's id");
    let Lock::Taken(lease) = world.repository().lock(&vault(), Uuid::nil()).await.unwrap() else { unreachable!() };
    let start = Instant::now();
    let long = Duration::from_secs(300);
    let release = async {
        tokio::time::sleep(long).await;
        lease.release().await;
    };
    let (header, ()) = tokio::join!(world.back_up(VAULT), release);
    assert!(start.elapsed() >= long);
    assert_eq!(ids(&world).await.pop(), Some(header.unwrap().backup_id));
}

#[tokio::test(start_paused = true)]
async fn two_prunes_and_a_backup_at_once_leave_whole_backups() {
    let world = world_with_backups(8).await;
    world.vaults.set_secret(VAULT, "apple", "the newest value");
    let expected = world.vaults.snapshot(VAULT);
    world.pass(DAY);
    let (repository, vault, options) = (world.repository(), vault(), by_policy("daily=3"));
    let run = || prune::run(&repository, &vault, &options, world.now());
    let (first, second, header) = tokio::join!(run(), run(), world.back_up(VAULT));
    let done = [first.unwrap(), second.unwrap()].into_iter().filter(|one| matches!(one, Prune::Done(..))).count();
    assert!(done >= 1);
    assert_whole(&world).await;
    assert_restores(&world, &header.unwrap().backup_id, &expected).await;
    prune_now(&world, &options).await;
    assert_eq!(assert_whole_and_tidy(&world).await, 3);
}

/// The lease is lost at each step of a prune, as by a network outage: from then on nothing more is deleted.
#[tokio::test(start_paused = true)]
async fn a_prune_that_loses_its_lease_stops() {
    let mut stopped = 0;
    for deletions in 0.. {
        let world = world_with_backups(5).await;
        let mut plan = super::plan(&world, &by_policy("last=1")).await;
        let before = world.blobs().await.len();
        let checks = AtomicUsize::new(0);
        let still_locked = || checks.fetch_add(1, Ordering::Relaxed) < deletions;
        let result = plan.execute(&world.repository(), &still_locked).await;
        let gone = before - world.blobs().await.len();
        assert_whole(&world).await;
        match result {
            Err(error) => {
                assert_eq!((error.kind(), gone), (ErrorKind::Unavailable, deletions));
                stopped += 1;
            }
            Ok(report) => {
                assert_eq!(gone as u64, report.backups + report.blobs);
                break;
            }
        }
    }
    assert!(stopped > 4, "only {stopped} deletions");
}

/// The backup is stopped at every step, and a prune follows at once, before its lease would have ended in Azure.
#[tokio::test(start_paused = true)]
async fn a_prune_after_a_backup_that_was_killed_takes_nothing_that_the_next_attempt_needs() {
    for last in 0.. {
        let world = world_with_backups(4).await;
        world.vaults.set_secret(VAULT, "pear", "new");
        world.pass(DAY);
        let options = world.backup_options();
        let steps = Steps::stopped_at(last, Stop::KilledAfter);
        let stores = [steps.store(world.backups.clone()), steps.store(world.state.clone())];
        let [backups, state]: [Arc<_>; 2] = stores;
        let repository = Repository::new(backups, state);
        let ended = steps.run(world.back_up_from(&world.vault(VAULT), &repository, &options)).await;
        prune_now(&world, &by_policy("daily=2")).await;
        assert_whole(&world).await;
        world.pass(Duration::from_secs(60));
        let expected = world.vaults.snapshot(VAULT);
        world.back_up_with(VAULT, &options).await.unwrap();
        assert_restores(&world, &options.id, &expected).await;
        if ended.is_some() {
            assert!(last >= 8, "only {last} steps");
            break;
        }
    }
}
