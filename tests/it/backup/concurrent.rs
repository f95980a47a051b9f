//! Two runs on one vault never interleave.

use std::time::Duration;

use keyvault_backup::{
    backup::{self, Backup, Options},
    error::{ErrorKind, Result},
    report::{Progress, Status},
    repository::{Lock, Repository},
    store::{DEADLINE, LEASE},
    vault::pacing::Pacing,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{DAY, SETTLED};
use crate::world::{
    World,
    faulty::{Flaw, Often, faulty},
    meanwhile::Meanwhile,
};

const VAULT: &str = "contoso-prod";

async fn run(world: &World, operation: Uuid, options: &Options) -> Result<Backup> {
    let (vault, repository) = (world.vault(VAULT), world.repository());
    backup::run(&vault, &repository, operation, options, &Progress::default(), world.now()).await
}

#[tokio::test(start_paused = true)]
async fn of_two_runs_at_once_the_second_is_not_needed() {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 50);
    let (first, second) = (world.backup_options(), world.backup_options());
    let (first, second) = tokio::join!(run(&world, Uuid::new_v4(), &first), run(&world, Uuid::new_v4(), &second));
    assert!(matches!(first.unwrap(), Backup::Committed(header) if header.counts.items() == 50));
    assert_eq!(second.unwrap(), Backup::NotNeeded);
    let manifests = world.blobs().await.into_iter().filter(|name| name.contains("/backups/")).count();
    assert_eq!(manifests, 1);
}

/// The vault would go without a backup if nobody took the killed run up again.
#[tokio::test(start_paused = true)]
async fn a_run_takes_the_place_of_one_that_was_killed() {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 20);
    let lock = world.repository().lock(&VAULT.parse().unwrap(), Uuid::new_v4()).await.unwrap();
    let killed = async {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        drop(lock);
    };
    let options = world.backup_options();
    let (backup, ()) = tokio::join!(run(&world, Uuid::new_v4(), &options), killed);
    assert!(matches!(backup.unwrap(), Backup::Committed(header) if header.counts.items() == 20));
}

#[tokio::test(start_paused = true)]
async fn a_second_run_that_was_asked_for_more_is_told_to_come_back() {
    let world = World::with(&[VAULT]);
    let repository = world.repository();
    let vault = VAULT.parse().unwrap();
    let Lock::Taken(lease) = repository.lock(&vault, Uuid::new_v4()).await.unwrap() else { panic!("it is free") };
    let plain = world.backup_options();
    let full = Options { full: true, ..plain.clone() };
    let labelled = Options { label: Some("before-upgrade".parse().unwrap()), ..plain.clone() };
    for options in [full, labelled] {
        let error = run(&world, Uuid::new_v4(), &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    }
    assert_eq!(run(&world, Uuid::new_v4(), &plain).await.unwrap(), Backup::NotNeeded);
    lease.release().await;
    assert!(matches!(run(&world, Uuid::new_v4(), &plain).await.unwrap(), Backup::Committed(_)));
}

/// Else a redelivered message would end as "not needed" while the lease of its dead first attempt lingers.
#[tokio::test(start_paused = true)]
async fn a_repeated_attempt_waits_for_the_lease_of_its_own_first_attempt() {
    let world = World::with(&[VAULT]);
    let repository = world.repository();
    let operation = Uuid::new_v4();
    let lock = repository.lock(&VAULT.parse().unwrap(), operation).await.unwrap();
    let options = world.backup_options();
    let error = run(&world, operation, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(lock);
    assert!(matches!(run(&world, operation, &options).await.unwrap(), Backup::Committed(_)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lost_its_lease_commits_nothing_and_the_next_attempt_goes_on() {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 20);
    world.pass(SETTLED);
    let options = world.backup_options();
    let state = world.state.clone();
    let act = move || state.break_lease(&format!("leases/{VAULT}"));
    let transport = Meanwhile::transport(&world.door, "/secrets/secret-00011/backup", 1, act);
    let vault = world.vault_through(VAULT, &transport, Pacing::new(10_000.0));
    let result = world.back_up_from(&vault, &world.repository(), &options).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(world.blobs().await.iter().all(|name| !name.contains("/backups/")));

    world.vaults.reset_log();
    world.pass(SETTLED);
    let header = world.back_up_with(VAULT, &options).await.unwrap();
    assert_eq!((header.status, header.counts.items()), (Status::Succeeded, 20));
    assert_eq!(super::backups_taken(&world), 0, "everything was there already");
}

#[tokio::test(start_paused = true)]
async fn runs_on_two_vaults_do_not_disturb_each_other() {
    let world = World::with(&[VAULT, "contoso-test"]);
    world.vaults.seed(VAULT, 20);
    world.vaults.seed("contoso-test", 30);
    let (first, second) = tokio::join!(world.back_up(VAULT), world.back_up("contoso-test"));
    assert_eq!((first.unwrap().counts.items(), second.unwrap().counts.items()), (20, 30));
}

/// A storage that is gone would use up the time of a call for every item that is left.
#[tokio::test(start_paused = true)]
async fn a_run_that_lost_its_lease_begins_nothing_more() {
    let world = World::with(&[VAULT]);
    for number in 0..200 {
        world.vaults.set_secret(VAULT, &format!("secret-{number:03}"), "value");
    }
    world.vaults.set_latency(Duration::from_millis(20));
    let backups = faulty(world.backups.clone(), Flaw::Hangs, Often { skip: 40, percent: 100, seed: 0 });
    let state = faulty(world.state.clone(), Flaw::LosesLeases(LEASE), Often { skip: 0, percent: 0, seed: 0 });
    let start = Instant::now();
    let result =
        world.back_up_from(&world.vault(VAULT), &Repository::new(backups, state), &world.backup_options()).await;
    let error = result.unwrap_err();
    assert!(error.message().contains("lost its lease"), "{error}");
    assert!(start.elapsed() <= DEADLINE + LEASE, "{:?}", start.elapsed());
    assert!(super::backups_taken(&world) <= 60, "{}", super::backups_taken(&world));
}

/// A redelivered message must not make a second backup.
#[tokio::test(start_paused = true)]
async fn the_same_backup_asked_for_again_is_the_one_that_is_there() {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 20);
    let options = world.backup_options();
    let first = world.back_up_with(VAULT, &options).await.unwrap();
    world.pass(DAY);
    world.vaults.set_secret(VAULT, "later", "value");
    world.vaults.reset_log();
    let again = world.back_up_with(VAULT, &options).await.unwrap();
    assert_eq!(again, first);
    assert!(world.vaults.requests().is_empty());
}
