//! A verification that is stopped goes on where it was, and says the same in the end.

use std::sync::Arc;

use keyvault_backup::{repository::Repository, store::Store as _};

use super::{VAULT, blobs_of, verify, verify_with};
use crate::{
    backup::{DAY, SETTLED},
    world::{
        World,
        interruption::{Steps, Stop},
    },
};

/// Many blobs, of which one at the beginning and one at the end are damaged.
async fn damaged() -> World {
    let world = World::with(&[VAULT]);
    for number in 0..700 {
        world.vaults.set_secret(VAULT, &format!("secret-{number:04}"), "value");
    }
    world.pass(SETTLED);
    world.back_up(VAULT).await.unwrap();
    for name in ["secret-0003", "secret-0698"] {
        let blob = blobs_of(&world, name).await.remove(0);
        let mut text = world.backups.read(&blob).await.unwrap().to_vec();
        text[9] ^= 0x01;
        world.backups.replace(&blob, text.into()).await.unwrap();
    }
    world.pass(SETTLED);
    world
}

#[tokio::test(start_paused = true)]
async fn stopped_anywhere_it_goes_on_behind_what_it_has_read_and_finds_the_same() {
    let world = damaged().await;
    let expected = verify(&world, VAULT).await;
    assert_eq!(expected.damage(), 2);
    let all = Steps::counted();
    verify_with(&world, &Repository::new(all.store(world.backups.clone()), Arc::new(world.state.clone())), VAULT)
        .await
        .unwrap();
    for stop in Stop::ALL {
        for last in (0..all.count()).step_by(89) {
            let steps = Steps::stopped_at(last, stop);
            let repository = Repository::new(steps.store(world.backups.clone()), Arc::new(world.state.clone()));
            let stopped = steps.run(verify_with(&world, &repository, VAULT)).await;
            assert!(!matches!(stopped, Some(Ok(_))), "{stop:?} at {last}");

            let rest = Steps::counted();
            let repository = Repository::new(rest.store(world.backups.clone()), Arc::new(world.state.clone()));
            let found = verify_with(&world, &repository, VAULT).await.unwrap();
            assert_eq!(found, expected, "{stop:?} at {last}");
            // Read again is at most what was not recorded yet, and what was on its way.
            let read = last + rest.count();
            assert!(read <= all.count() + 256 + 16, "{stop:?} at {last}: {read} calls instead of {}", all.count());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_more_than_a_day_ago_is_begun_anew() {
    let world = damaged().await;
    for (pause, is_resumed) in [(SETTLED, true), (DAY, false)] {
        let steps = Steps::stopped_at(600, Stop::KilledBefore);
        let repository = Repository::new(steps.store(world.backups.clone()), Arc::new(world.state.clone()));
        assert!(steps.run(verify_with(&world, &repository, VAULT)).await.is_none());
        world.pass(pause);
        let rest = Steps::counted();
        let repository = Repository::new(rest.store(world.backups.clone()), Arc::new(world.state.clone()));
        assert_eq!(verify_with(&world, &repository, VAULT).await.unwrap().damage(), 2);
        assert_eq!(rest.count() < 700, is_resumed, "{}", rest.count());
    }
}

/// A slow backup with an earlier id may write blobs whose names stand before that place.
#[tokio::test(start_paused = true)]
async fn what_was_written_since_is_read_wherever_its_name_stands() {
    let world = damaged().await;
    let steps = Steps::stopped_at(600, Stop::KilledBefore);
    let repository = Repository::new(steps.store(world.backups.clone()), Arc::new(world.state.clone()));
    assert!(steps.run(verify_with(&world, &repository, VAULT)).await.is_none());
    world.pass(SETTLED);
    for name in ["secret-0001", "secret-0003"] {
        let blob = blobs_of(&world, name).await.remove(0);
        world.backups.delete(&blob).await.unwrap();
        world.backups.create(&blob, "something else".into()).await.unwrap();
    }
    let found = verify(&world, VAULT).await;
    assert_eq!((found.damage(), found.findings.len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_verification_that_has_ended_is_followed_by_a_whole_one() {
    let world = damaged().await;
    verify(&world, VAULT).await;
    let steps = Steps::counted();
    let repository = Repository::new(steps.store(world.backups.clone()), Arc::new(world.state.clone()));
    verify_with(&world, &repository, VAULT).await.unwrap();
    assert!(steps.count() > 700, "{}", steps.count());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_of_how_far_it_is_costs_the_way_and_nothing_else() {
    let world = damaged().await;
    world
        .state
        .create(&format!("verifications/{VAULT}.json"), "{\"formatVersion\": 1, \"after\"".into())
        .await
        .unwrap();
    assert_eq!(verify(&world, VAULT).await.damage(), 2);
}
