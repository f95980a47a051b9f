//! Stop after step n, for all n: the next attempt finishes the drill, or the next drill removes what it left; either way
//! the drill vault ends as it was.

use keyvault_backup::{
    drill,
    report::{Progress, Status},
    repository::Repository,
    vault::pacing::Pacing,
};
use simulator::key_vault::Kind;
use uuid::Uuid;

use super::{SOURCE, TARGET, options};
use crate::world::{
    World,
    interruption::{Steps, Stop},
};

const OPERATION: Uuid = Uuid::from_u128(1);

/// One attempt, each of whose requests and store calls is a step. `None` when it was killed.
async fn attempt(world: &World, operation: Uuid, steps: &Steps) -> Option<Result<drill::Evidence, String>> {
    let repository = Repository::new(steps.store(world.backups.clone()), steps.store(world.state.clone()));
    let target = world.vault_through(TARGET, &steps.transport(&world.door), Pacing::new(10_000.0));
    let (source, options, progress) = (SOURCE.parse().unwrap(), options(), Progress::default());
    let run = drill::run(&source, &target, &repository, operation, &options, &progress, world.now());
    steps.run(run).await.map(|result| result.map_err(|error| error.chain()))
}

/// A certificate and a secret that have a backup. Somebody's deleted item is there from the beginning to the end.
async fn before_a_drill() -> World {
    let world = World::with(&[SOURCE, TARGET]);
    world.vaults.create_certificate(SOURCE, "certificate");
    world.vaults.set_secret_versions(SOURCE, "apple", 2);
    world.back_up(SOURCE).await.unwrap();
    world.vaults.set_secret(TARGET, "theirs", "value");
    world.vaults.delete_now(TARGET, Kind::Secret, "theirs");
    world
}

/// `next` is the operation that comes after the stopped one.
async fn stopped_at_every_step(stops: &[Stop], next: Uuid) {
    for &stop in stops {
        for last in 0.. {
            let world = before_a_drill().await;
            let before = world.vaults.snapshot(TARGET);
            let steps = Steps::stopped_at(last, stop);
            let result = attempt(&world, OPERATION, &steps).await;
            if steps.count() <= last {
                assert!(last >= 50, "{stop:?}: only {last} steps");
                assert_eq!(result.unwrap().unwrap().status, Status::Succeeded);
                assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
                break;
            }
            if let Some(Ok(evidence)) = &result
                && evidence.status == Status::Succeeded
            {
                assert_eq!(
                    before.differences(&world.vaults.snapshot(TARGET)),
                    Vec::<String>::new(),
                    "{stop:?} at {last}"
                );
            }
            let again = attempt(&world, next, &Steps::counted()).await.unwrap();
            let evidence = again.unwrap_or_else(|error| panic!("{stop:?} at {last}: {error}"));
            // When nothing answered any more, the attempt has noted items as failed, and the drill has failed.
            let noted = next == OPERATION && matches!(stop, Stop::FailsBefore | Stop::FailsAfter);
            assert!(evidence.status == Status::Succeeded || noted, "{stop:?} at {last}: {evidence:?}");
            assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new(), "{stop:?} at {last}");
            world.assert_all_known();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drill_stopped_at_any_step_is_finished_by_its_next_attempt() {
    stopped_at_every_step(&Stop::ALL, OPERATION).await;
}

#[tokio::test(start_paused = true)]
async fn a_drill_stopped_at_any_step_and_never_finished_leaves_nothing_after_the_next_drill() {
    stopped_at_every_step(&[Stop::KilledBefore, Stop::KilledAfter], Uuid::from_u128(2)).await;
}

/// Killed again and again, each time a little later: each attempt brings the drill on.
#[tokio::test(start_paused = true)]
async fn a_drill_that_is_killed_again_and_again_comes_to_an_end() {
    let world = before_a_drill().await;
    let before = world.vaults.snapshot(TARGET);
    let mut attempts = 1;
    let evidence = loop {
        match attempt(&world, OPERATION, &Steps::stopped_at(50, Stop::KilledAfter)).await {
            Some(evidence) => break evidence.unwrap(),
            None => attempts += 1,
        }
        assert!(attempts <= 10, "no progress");
    };
    assert!(attempts > 1, "it was never killed");
    assert_eq!(evidence.status, Status::Succeeded);
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}
