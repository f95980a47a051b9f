//! Stop after step n, for all n: the target is a sound repository, the source is as it was, and the next attempt copies
//! only what is missing.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use keyvault_backup::{
    backup,
    copy::{self, Copy, Fate},
    error::ErrorKind,
    model::{VaultName, counted},
    prune::{self, Choice, Prune},
    report::Progress,
    repository::{Lock, Repository, Selector},
    store::{Create, Store as _, memory::MemoryStore},
};
use uuid::Uuid;

use super::{Noting, PLACES, Place, VAULT, content, copy_to, fates, try_copy};
use crate::{
    backup::DAY,
    verify::{
        ids, manifest_of,
        meanwhile::{Acted, Acting},
        three_days,
    },
    world::{
        World,
        interruption::{Steps, Stop},
    },
};

static PROD: LazyLock<VaultName> = LazyLock::new(|| VAULT.parse().unwrap());

/// Three backups, of which the target has the oldest.
async fn begun() -> (World, Place) {
    let world = three_days().await;
    let place = Place::in_world(&world);
    let oldest = Selector::Id(ids(&world).await.remove(0));
    try_copy(&world.repository(), &place.repository(), &[oldest]).await.unwrap();
    (world, place)
}

#[tokio::test(start_paused = true)]
async fn a_copy_stopped_at_any_step_leaves_a_sound_repository_and_the_next_one_completes_it() {
    for stop in Stop::ALL {
        for last in 0.. {
            let (world, place) = begun().await;
            let before = content(&world.backups).await;
            let from = Noting::new(&world.backups);
            let steps = Steps::stopped_at(last, stop);
            let source = Repository::new(steps.store(world.backups.clone()), steps.store(world.state.clone()));
            let target = Repository::new(steps.store(place.backups.clone()), steps.store(place.state.clone()));
            let progress = Progress::default();
            let run = copy::run(&source, &target, &PROD, &[], PLACES, &progress);
            let result = steps.run(run).await;
            let sound = place.assert_sound(&format!("{stop:?} at {last}")).await;
            if steps.count() <= last {
                assert!(last >= 20 && matches!(result, Some(Ok(Copy::Done(_)))), "{stop:?}: only {last} steps");
                break;
            }
            assert!(!matches!(result, Some(Ok(_))) || sound == 3, "{stop:?} at {last}: stopped, and nobody was told");
            let there = place.names().await;

            world.pass(Duration::from_secs(60));
            let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
            let report = try_copy(&source, &place.repository(), &[]).await.unwrap();
            let copied = report.count(Fate::Copied);
            assert_eq!((copied, report.count(Fate::Present)), (3 - sound, sound), "{stop:?} at {last}");
            assert_eq!(content(&place.backups).await, before, "{stop:?} at {last}");
            let missing = before.iter().filter(|(name, _)| name.contains("/items/") && !there.contains(name));
            assert_eq!(from.notes("read", "/items/"), missing.count(), "{stop:?} at {last}");
            assert_eq!(content(&world.backups).await, before, "{stop:?} at {last}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_killed_again_and_again_comes_to_an_end() {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 30);
    world.back_up(VAULT).await.unwrap();
    let place = Place::in_world(&world);
    let mut attempts = 1;
    loop {
        let steps = Steps::stopped_at(30, Stop::KilledAfter);
        let target = Repository::new(steps.store(place.backups.clone()), Arc::new(place.state.clone()));
        let (source, progress) = (world.repository(), Progress::default());
        if steps.run(copy::run(&source, &target, &PROD, &[], PLACES, &progress)).await.is_some() {
            break;
        }
        attempts += 1;
        assert!(attempts <= 3, "no progress");
    }
    assert!(attempts > 1, "it was never killed");
    assert_eq!(content(&place.backups).await, content(&world.backups).await);
}

#[tokio::test(start_paused = true)]
async fn of_two_copies_at_once_one_does_the_work_and_the_other_says_so() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    let (source, target, progress) = (world.repository(), place.repository(), Progress::default());
    let run = || copy::run(&source, &target, &PROD, &[], PLACES, &progress);
    let (first, second) = tokio::join!(run(), run());
    let done = [first.unwrap(), second.unwrap()];
    let done: Vec<_> = done.iter().map(|copy| matches!(copy, Copy::Done(_))).collect();
    assert!(done.contains(&true), "{done:?}");
    assert_eq!(content(&place.backups).await, content(&world.backups).await);
    assert_eq!(copy_to(&world, &place).await.count(Fate::Present), 3);
}

/// A prune of the target could remove an old blob that the copy is about to name, and a backup into it is at work on the
/// same names.
#[tokio::test(start_paused = true)]
async fn while_another_run_is_at_work_on_the_target_nothing_is_copied() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    let target = place.repository();
    let Lock::Taken(lease) = target.lock(&PROD, Uuid::nil()).await.unwrap() else { unreachable!() };
    let copy = copy::run(&world.repository(), &target, &PROD, &[], PLACES, &Progress::default()).await.unwrap();
    assert!(matches!(copy, Copy::Busy));
    assert_eq!(content(&place.backups).await, Vec::new());
    // What is at work on the source does not matter.
    let Lock::Taken(other) = world.repository().lock(&PROD, Uuid::nil()).await.unwrap() else { unreachable!() };
    lease.release().await;
    assert_eq!(copy_to(&world, &place).await.count(Fate::Copied), 3);
    other.release().await;
}

/// What an interrupted copy left days ago is without a name, and a prune may take it: never while a copy counts on it.
#[tokio::test(start_paused = true)]
async fn a_prune_of_the_target_beside_a_copy_takes_nothing_that_the_copy_names() {
    for at in 0.. {
        let (world, place) = begun().await;
        // What an interrupted copy left.
        for (name, bytes) in content(&world.backups).await {
            if name.contains("/items/") {
                place.backups.create(&name, bytes.into()).await.unwrap();
            }
        }
        world.pass(DAY * 2);
        let (there, now) = (place.repository(), world.now());
        let gone_before = Arc::new(AtomicU64::new(0));
        let gone = gone_before.clone();
        let act = move || -> Acted {
            let (there, gone) = (there.clone(), gone.clone());
            Box::pin(async move {
                let options = prune::Options { choice: Choice::Named(Vec::new()), immutable_for: None };
                if let Prune::Done(_, report) = prune::run(&there, &PROD, &options, now).await.unwrap() {
                    gone.fetch_add(report.blobs, Relaxed);
                }
            })
        };
        let from = Acting::new(&world.backups, at, act);
        let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
        let report = try_copy(&source, &place.repository(), &[]).await.unwrap();
        assert_eq!((report.count(Fate::Copied), report.count(Fate::Present)), (2, 1), "at {at}");
        assert_eq!(place.assert_sound(&format!("at {at}")).await, 3);
        // What is removed before the copy holds the lease is copied again; later the prune gives way.
        let gone = gone_before.load(Relaxed);
        assert_eq!((gone, report.total().0), if at == 0 { (2, 2) } else { (0, 0) }, "at {at}");
        if from.calls() <= at {
            assert!(at >= 6, "only {at} calls");
            break;
        }
    }
}

/// The lease is lost before each backup in turn, as by a network outage: nothing comes to exist from then on.
#[tokio::test(start_paused = true)]
async fn a_copy_that_loses_its_lease_makes_no_backup_exist() {
    let world = three_days().await;
    for at in 0.. {
        let place = Place::in_world(&world);
        let state = place.state.clone();
        let lose = move || {
            let state = state.clone();
            Box::pin(async move { state.break_lease(&format!("leases/{VAULT}")) }) as Acted
        };
        let from = Acting::new(&world.backups, at, lose);
        let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
        let result = try_copy(&source, &place.repository(), &[]).await;
        let sound = place.assert_sound(&format!("at {at}")).await;
        if from.calls() <= at {
            assert!(at >= 10 && result.is_ok(), "only {at} calls");
            break;
        }
        match result {
            Ok(report) => assert_eq!((at, fates(&report)), (0, vec![Fate::Copied; 3]), "it had no lease yet"),
            Err(error) => {
                assert!(sound < 3, "at {at}");
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.message().contains("lost its lease"), "{error}");
                assert!(
                    error.message().contains(&format!("stopped after {}", counted(sound as u64, "backup"))),
                    "{error}"
                );
            }
        }
        assert_eq!(copy_to(&world, &place).await.count(Fate::Copied), 3 - sound);
    }
}

/// The answer to the writing of the manifest was lost, and another copy looks at once.
#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_there_already_is_taken_for_what_it_is() {
    let world = three_days().await;
    let newest = ids(&world).await.pop().unwrap();
    let manifest = manifest_of(&newest);
    let text = world.backups.read(&manifest).await.unwrap();
    for same in [true, false] {
        let (manifest, text) = (manifest.clone(), text.clone());
        let target = Place { backups: MemoryStore::new(), state: MemoryStore::new() };
        let other = target.backups.clone();
        let act = move || {
            let (other, manifest) = (other.clone(), manifest.clone());
            let text = if same { text.clone() } else { text.slice(..text.len() - 1) };
            Box::pin(async move { assert_eq!(other.create(&manifest, text.into()).await.unwrap(), Create::Created) })
                as Acted
        };
        // A listing and two readings make the plan; the third is of what is copied.
        let from = Acting::new(&world.backups, 3, act);
        let source = Repository::new(from, Arc::new(world.state.clone()));
        let result = try_copy(&source, &target.repository(), &[Selector::Latest]).await;
        if same {
            assert_eq!(fates(&result.unwrap()), [Fate::Copied]);
        } else {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.message().contains("holds another backup under the name"), "{error}");
        }
    }
}

/// The way back: a copy fills the container of the app again, and the next backup goes on from it.
#[tokio::test(start_paused = true)]
async fn what_was_lost_is_copied_back_and_backups_go_on() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    copy_to(&world, &place).await;
    for (name, _) in content(&world.backups).await {
        world.backups.delete(&name).await.unwrap();
    }
    try_copy(&place.repository(), &world.repository(), &[]).await.unwrap();
    world.vaults.reset_log();
    let options = backup::Options { full: false, ..world.backup_options() };
    let header = world.back_up_with(VAULT, &options).await.unwrap();
    assert_eq!((header.counts.carried_over, header.counts.read), (5, 0));
}
