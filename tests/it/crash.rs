//! Stop after step n, for all n: whatever a run was doing when it died, no committed backup is damaged by it, and the
//! next attempt finishes the work.

use std::sync::Arc;

use keyvault_backup::{
    backup,
    report::{Outcome, Progress, Status},
    repository::{Repository, manifest::Header},
    restore::{self, Plan},
    vault::pacing::Pacing,
};
use simulator::key_vault::Kind;

use crate::{
    backup::{DAY, SETTLED, backups_taken, names},
    world::{
        World,
        interruption::{Steps, Stop},
    },
};

const VAULT: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";

/// How many items are dealt with at once, and so how many can be lost half-way.
const PLACES: usize = 2;

/// A vault whose last backup is a day old: an item is unchanged, some are new, one is changed, one is gone.
async fn changed_since_the_last_backup() -> World {
    let world = World::with(&[VAULT, TARGET]);
    for name in ["changed", "gone", "unchanged"] {
        world.vaults.set_secret(VAULT, name, "value");
    }
    world.pass(SETTLED);
    world.back_up(VAULT).await.unwrap();
    world.vaults.set_secret(VAULT, "changed", "new value");
    world.vaults.delete_now(VAULT, Kind::Secret, "gone");
    world.vaults.create_key(VAULT, "new-key", "EC");
    world.vaults.create_certificate(VAULT, "new-certificate");
    world.vaults.set_secret(VAULT, "new-secret", "value");
    world.vaults.purge_now(VAULT, Kind::Secret, "gone");
    world.pass(DAY);
    world.vaults.reset_log();
    world
}

const ITEMS_TO_READ: u64 = 4;

fn options(world: &World) -> backup::Options {
    backup::Options { concurrency: PLACES, ..world.backup_options() }
}

/// One attempt at a backup, each of whose requests and store calls is a step. `None` when it was killed.
async fn attempt(world: &World, options: &backup::Options, steps: &Steps) -> Option<Result<Header, String>> {
    let repository = Repository::new(steps.store(world.backups.clone()), steps.store(world.state.clone()));
    let vault = world.vault_through(VAULT, &steps.transport(&world.door), Pacing::new(10_000.0));
    let run = world.back_up_from(&vault, &repository, options);
    steps.run(run).await.map(|result| result.map_err(|error| error.chain()))
}

/// Every backup that exists is whole.
async fn assert_no_committed_backup_is_damaged(world: &World) -> usize {
    let repository = world.repository();
    let backups = repository.backups(&VAULT.parse().unwrap()).await.unwrap();
    for backup in &backups {
        for item in repository.open(backup).await.unwrap().items.to_vec().unwrap() {
            repository.read_item(&item).await.unwrap();
        }
    }
    backups.len()
}

/// The newest backup brings back all that is in the vault.
async fn assert_backup_is_complete(world: &World) {
    let before = world.vaults.snapshot(VAULT);
    world.vaults.lose_everything(TARGET);
    let reports = world.restore(VAULT, TARGET).await;
    assert!(reports.iter().all(|report| report.outcome == Outcome::Restored), "{reports:#?}");
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_backup_stopped_at_any_step_damages_nothing_and_the_next_attempt_completes_it() {
    for stop in Stop::ALL {
        for last in 0.. {
            let world = changed_since_the_last_backup().await;
            let (options, steps) = (options(&world), Steps::stopped_at(last, stop));
            let result = attempt(&world, &options, &steps).await;
            let committed = assert_no_committed_backup_is_damaged(&world).await;
            if steps.count() <= last {
                assert!(last >= 25 && result.unwrap().is_ok(), "{stop:?}: only {last} steps");
                break;
            }
            assert!(!matches!(result, Some(Ok(_))), "{stop:?} at {last}: a stopped run cannot be well");
            let read_at_first = backups_taken(&world);

            world.pass(SETTLED);
            let again = attempt(&world, &options, &Steps::counted()).await.unwrap();
            let header = again.unwrap_or_else(|error| panic!("{stop:?} at {last}: {error}"));
            assert_eq!((header.status, header.counts.items()), (Status::Succeeded, 5), "{stop:?} at {last}");
            assert_eq!(header.backup_id, options.id);
            assert_no_committed_backup_is_damaged(&world).await;
            assert_backup_is_complete(&world).await;
            // What was written is not read again: only what was on its way can be lost.
            let read_in_all = backups_taken(&world);
            assert!(read_in_all <= ITEMS_TO_READ + PLACES as u64, "{stop:?} at {last}: {read_in_all} items read");
            if committed == 2 {
                assert_eq!(read_in_all, read_at_first, "{stop:?} at {last}: it was committed already");
            }
        }
    }
}

/// A blob's name tells states apart by whole seconds: what was written in the second of a change may lack the change.
#[tokio::test(start_paused = true)]
async fn what_a_killed_run_took_in_the_second_of_a_change_is_read_again() {
    let world = World::with(&[VAULT, TARGET]);
    world.vaults.set_secret(VAULT, "apple", "first");
    let options = options(&world);
    let mut last = 0;
    while !world.blobs().await.iter().any(|blob| blob.contains("/items/")) {
        let stopped = attempt(&world, &options, &Steps::stopped_at(last, Stop::KilledAfter)).await;
        assert!(stopped.is_none(), "it is killed as soon as it has written the item");
        last += 1;
    }
    world.vaults.set_secret(VAULT, "apple", "second");
    world.pass(SETTLED);
    attempt(&world, &options, &Steps::counted()).await.unwrap().unwrap();
    assert_backup_is_complete(&world).await;
}

/// A queue message is delivered a few times only: each attempt must bring the work on.
#[tokio::test(start_paused = true)]
async fn a_backup_that_is_killed_again_and_again_comes_to_an_end() {
    let world = World::with(&[VAULT, TARGET]);
    world.vaults.seed(VAULT, 30);
    let options = options(&world);
    let mut attempts = 1;
    while attempt(&world, &options, &Steps::stopped_at(55, Stop::KilledAfter)).await.is_none() {
        world.pass(SETTLED);
        attempts += 1;
        assert!(attempts <= 5, "no progress");
    }
    assert!(attempts > 1, "it was never killed");
    let read = backups_taken(&world);
    assert!(read <= 30 + (attempts * PLACES) as u64, "{read} items read in {attempts} attempts");
    assert_backup_is_complete(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_stops_answering_at_any_step_is_never_reported_as_backed_up() {
    for last in 0.. {
        let world = changed_since_the_last_backup().await;
        let before = world.newest(VAULT).await;
        let steps = Steps::stopped_at(last, Stop::FailsBefore);
        let vault = world.vault_through(VAULT, &steps.transport(&world.door), Pacing::new(10_000.0));
        let result = world.back_up_from(&vault, &world.repository(), &options(&world)).await;
        assert_no_committed_backup_is_damaged(&world).await;
        if steps.count() <= last {
            assert!(last > 10 && result.unwrap().status == Status::Succeeded);
            break;
        }
        let manifest = world.newest(VAULT).await;
        match result {
            Err(_) => assert_eq!(manifest, before, "at {last}"),
            Ok(header) => {
                assert_eq!(header.status, Status::PartiallySucceeded, "at {last}");
                assert_eq!(header.counts.items(), manifest.items.len() as u64);
                for kept in ["secrets/changed", "secrets/unchanged"] {
                    assert!(names(&manifest).iter().any(|name| name == kept), "at {last}: {kept} was lost");
                }
            }
        }
        world.pass(DAY);
        assert_eq!(world.back_up(VAULT).await.unwrap().status, Status::Succeeded, "at {last}");
        assert_backup_is_complete(&world).await;
    }
}

/// A backup, an empty target, and the plan that every attempt follows.
async fn before_a_restore() -> (World, Plan) {
    let world = World::with(&[VAULT, TARGET]);
    world.vaults.set_secret_versions(VAULT, "apple", 3);
    world.vaults.set_secret(VAULT, "pear", "value");
    world.vaults.create_key(VAULT, "key", "EC");
    world.vaults.create_certificate(VAULT, "certificate");
    world.vaults.set_secret(VAULT, "deleted", "value");
    world.back_up(VAULT).await.unwrap();
    // One item comes back by being recovered.
    world.vaults.set_secret(TARGET, "elsewhere", "value");
    let manifest = world.newest(VAULT).await;
    let deleted = manifest.items.iter().map(Result::unwrap).find(|item| item.id.name.as_str() == "deleted").unwrap();
    let sealed = world.repository().read_item(&deleted).await.unwrap();
    world.vault(TARGET).restore(&deleted.id, &sealed).await.unwrap();
    world.vaults.delete_now(TARGET, Kind::Secret, "deleted");
    world.vaults.purge_now(TARGET, Kind::Secret, "elsewhere");
    let plan = world.plan(&manifest, TARGET).await;
    (world, plan)
}

#[tokio::test(start_paused = true)]
async fn a_restore_stopped_at_any_step_claims_nothing_that_is_not_there_and_the_next_attempt_completes_it() {
    for stop in Stop::ALL {
        for last in 0.. {
            let (world, plan) = before_a_restore().await;
            let manifest = world.newest(VAULT).await;
            let options = restore::Options { concurrency: PLACES, ..world.restore_options() };
            let steps = Steps::stopped_at(last, stop);
            let vault = world.vault_through(TARGET, &steps.transport(&world.door), Pacing::new(10_000.0));
            let repository = Repository::new(steps.store(world.backups.clone()), Arc::new(world.state.clone()));
            let progress = Progress::default();
            let run = restore::execute(&plan, &manifest, &repository, &vault, &options, false, &progress);
            let reports = steps.run(run).await.map(|reports| reports.unwrap().to_vec().unwrap());
            let (source, target) = (world.vaults.snapshot(VAULT), world.vaults.snapshot(TARGET));
            for report in reports.iter().flatten().filter(|report| report.outcome.is_good()) {
                let is_there = target.items.iter().any(|((_, name), state)| {
                    state.active
                        && *name == report.item.name.as_str()
                        && Some(&*state.current) == report.version.as_deref()
                });
                assert!(is_there, "{stop:?} at {last}: {} is not there", report.item);
            }
            if steps.count() <= last {
                assert!(last > 10 && source.differences(&target).is_empty(), "{stop:?}: only {last} steps");
                break;
            }
            assert!(reports.is_none_or(|reports| crate::restore::status_of(&reports) != Status::Succeeded));

            let (repository, vault) = (world.repository(), world.vault(TARGET));
            let again = restore::execute(&plan, &manifest, &repository, &vault, &options, true, &progress)
                .await
                .unwrap()
                .to_vec()
                .unwrap();
            for report in &again {
                let wanted =
                    if report.item.name.as_str() == "deleted" { Outcome::Recovered } else { Outcome::Restored };
                assert_eq!(report.outcome, wanted, "{stop:?} at {last}: {report:?}");
            }
            assert_eq!(again.len(), 5);
            assert_eq!(source.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new(), "{stop:?} at {last}");
        }
    }
}
