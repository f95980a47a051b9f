//! The guard against mass deletion and mass disabling, over days: what trips it, what keeps it up, and what alone takes
//! it down.

mod boundary;

use std::ops::Range;

use azure_core::http::Method;
use futures::TryStreamExt as _;
use keyvault_backup::{
    backup,
    error::{ErrorKind, Result},
    jobs::acknowledge_guard,
    model::{VaultName, filter::ItemFilter},
    report::Status,
    repository::{
        Repository, Selector,
        guard::Acknowledgement,
        manifest::{Guard, Header},
    },
    store::Store as _,
    vault::pacing::Pacing,
};
use serde_json::Value;
use simulator::key_vault::{Fault, Kind, Operation, Verb};

use crate::{
    backup::DAY,
    world::{
        World,
        interruption::{Steps, Stop},
    },
};

const VAULT: &str = "contoso-prod";

/// A vault of so many secrets that was backed up yesterday.
async fn world_of(secrets: usize) -> (World, Header) {
    let world = World::with(&[VAULT, "contoso-dr"]);
    for number in 0..secrets {
        world.vaults.set_secret(VAULT, &name(number), "value");
    }
    world.pass(DAY);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.counts.items(), &header.guard), (secrets as u64, &None));
    (world, header)
}

fn name(number: usize) -> String {
    format!("secret-{number:03}")
}

fn delete(world: &World, numbers: Range<usize>) {
    numbers.for_each(|number| world.vaults.delete_now(VAULT, Kind::Secret, &name(number)));
}

fn set_enabled(world: &World, numbers: Range<usize>, enabled: bool) {
    numbers.for_each(|number| world.vaults.set_enabled(VAULT, Kind::Secret, &name(number), enabled));
}

/// The next day's backup.
async fn next_day(world: &World) -> Header {
    world.pass(DAY);
    world.back_up(VAULT).await.unwrap()
}

fn found(guard: Option<&Guard>) -> (u64, u64, u64) {
    let guard = guard.expect("the guard is up");
    (guard.items, guard.deleted, guard.disabled)
}

fn vault() -> VaultName {
    VAULT.parse().unwrap()
}

async fn up(repository: &Repository) -> Option<Guard> {
    repository.guard(&vault()).await.unwrap()
}

async fn acknowledge(world: &World, guard: &Guard) -> Result<Acknowledgement> {
    let backup = Some(&guard.tripped_by);
    acknowledge_guard(&world.repository(), &vault(), backup, "ada", Some("meant"), world.now()).await
}

fn manifest_of(header: &Header) -> String {
    format!("vaults/{VAULT}/backups/{}.json", header.backup_id)
}

/// Cuts a manifest short.
async fn damage(world: &World, header: &Header) {
    world.backups.replace(&manifest_of(header), "{\n  \"formatVersion\": 1".into()).await.unwrap();
}

async fn lose_the_state(world: &World) {
    let names: Vec<String> = world.state.list("", None).map_ok(|entry| entry.name).try_collect().await.unwrap();
    for name in names {
        world.state.delete(&name).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn mass_deletion_trips_it_and_the_backup_is_made_all_the_same() {
    let (world, before) = world_of(100).await;
    delete(&world, 0..21);
    let header = next_day(&world).await;
    assert_eq!((header.status, header.counts.items()), (Status::Succeeded, 79));
    let guard = header.guard.clone().unwrap();
    assert_eq!((&guard.tripped_by, &guard.compared_with), (&header.backup_id, &before.backup_id));
    assert_eq!(found(header.guard.as_ref()), (100, 21, 0));
    assert_eq!(up(&world.repository()).await, Some(guard));
    assert_eq!(world.newest(VAULT).await.header, header, "the mark is in the manifest");
}

#[tokio::test(start_paused = true)]
async fn mass_disabling_trips_it() {
    let (world, _) = world_of(100).await;
    set_enabled(&world, 0..20, false);
    assert_eq!(next_day(&world).await.guard, None, "twenty percent are allowed");
    set_enabled(&world, 20..41, false);
    assert_eq!(found(next_day(&world).await.guard.as_ref()), (100, 0, 21));
}

#[tokio::test(start_paused = true)]
async fn a_handful_does_not_trip_it_in_however_small_a_vault() {
    let (world, _) = world_of(5).await;
    delete(&world, 0..5);
    assert_eq!(next_day(&world).await.guard, None);
    let (world, _) = world_of(6).await;
    delete(&world, 0..6);
    let header = next_day(&world).await;
    assert_eq!((header.counts.items(), found(header.guard.as_ref())), (0, (6, 6, 0)), "an emptied vault");
}

#[tokio::test(start_paused = true)]
async fn the_limits_are_those_of_the_settings() {
    let (world, _) = world_of(100).await;
    delete(&world, 0..40);
    set_enabled(&world, 40..60, false);
    world.pass(DAY);
    let mut options = world.backup_options();
    options.guard.deleted_percent = 40.0;
    options.guard.disabled_percent = 19.0;
    let header = world.back_up_with(VAULT, &options).await.unwrap();
    assert_eq!(found(header.guard.as_ref()), (100, 40, 20));
    options.guard.disabled_percent = 20.0;
    let (world, _) = world_of(100).await;
    delete(&world, 0..40);
    set_enabled(&world, 40..60, false);
    options.id = world.backup_options().id;
    assert_eq!(world.back_up_with(VAULT, &options).await.unwrap().guard, None);
}

#[tokio::test(start_paused = true)]
async fn neither_time_nor_other_backups_take_it_down() {
    let (world, _) = world_of(100).await;
    delete(&world, 0..30);
    let tripped = next_day(&world).await.guard;
    for _ in 0..10 {
        assert_eq!(next_day(&world).await.guard, tripped);
    }
    world.pass(DAY);
    let mut labelled = world.backup_options();
    labelled.label = Some("before-upgrade".parse().unwrap());
    assert_eq!(world.back_up_with(VAULT, &labelled).await.unwrap().guard, tripped);
    world.pass(DAY);
    let mut full = world.backup_options();
    full.full = true;
    assert_eq!(world.back_up_with(VAULT, &full).await.unwrap().guard, tripped);
    // Bringing everything back is not a word of a person either.
    for number in 0..30 {
        world.ask(Method::Post, &format!("{VAULT}/deletedsecrets/{}/recover", name(number)), Value::Null).await;
    }
    let header = next_day(&world).await;
    assert_eq!((header.counts.items(), &header.guard), (100, &tripped));
    assert_eq!(up(&world.repository()).await, tripped);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_takes_it_down_at_once_and_the_next_backup_carries_no_mark() {
    let (world, _) = world_of(100).await;
    delete(&world, 0..30);
    next_day(&world).await;
    let guard = next_day(&world).await.guard.unwrap();
    let said = acknowledge(&world, &guard).await.unwrap();
    assert_eq!((said.acknowledged_by.as_str(), said.reason.as_deref(), &said.guard), ("ada", Some("meant"), &guard));
    assert_eq!(up(&world.repository()).await, None);
    assert_eq!(next_day(&world).await.guard, None);
    assert_eq!(up(&world.repository()).await, None);

    // The same trip again: from now on it is measured against what was acknowledged.
    delete(&world, 30..45);
    let tripped = next_day(&world).await;
    assert_eq!(found(tripped.guard.as_ref()), (70, 15, 0));
    assert_eq!(up(&world.repository()).await, tripped.guard, "the old word does not cover it");
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_once_stays_as_it_was_said_first() {
    let (world, _) = world_of(100).await;
    delete(&world, 0..30);
    let guard = next_day(&world).await.guard.unwrap();
    let first = acknowledge(&world, &guard).await.unwrap();
    world.pass(DAY);
    assert_eq!(acknowledge(&world, &guard).await.unwrap(), first);
    let of_any = acknowledge_guard(&world.repository(), &vault(), None, "eve", None, world.now()).await.unwrap_err();
    assert_eq!(of_any.kind(), ErrorKind::NotFound);
    let foreign = Guard { tripped_by: guard.compared_with.clone(), ..guard };
    assert_eq!(acknowledge(&world, &foreign).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn steps_below_the_limit_add_up_while_it_is_up_and_need_a_word_of_their_own() {
    let (world, before) = world_of(100).await;
    delete(&world, 0..30);
    let first = next_day(&world).await.guard.unwrap();
    for (gone, step) in [(40, 30..40), (50, 40..50)] {
        delete(&world, step);
        assert_eq!(next_day(&world).await.guard.as_ref(), Some(&first), "{gone} are gone");
    }
    delete(&world, 50..59);
    let header = next_day(&world).await;
    let second = header.guard.unwrap();
    assert_eq!((&second.tripped_by, &second.compared_with), (&header.backup_id, &before.backup_id));
    assert_eq!(found(Some(&second)), (100, 59, 0));

    let refused = acknowledge(&world, &first).await.unwrap_err();
    assert_eq!((refused.kind(), refused.target()), (ErrorKind::Conflict, Some("backup")));
    assert!(refused.message().contains("59 are gone"), "{refused:?}");
    assert_eq!(up(&world.repository()).await.as_ref(), Some(&second));
    acknowledge(&world, &second).await.unwrap();
    assert_eq!(up(&world.repository()).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_listed_or_is_out_of_scope_has_not_vanished() {
    let (world, _) = world_of(100).await;
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::List)));
    delete(&world, 0..30);
    let header = next_day(&world).await;
    assert_eq!((header.status, header.counts.stale, header.guard), (Status::PartiallySucceeded, 100, None));
    // As soon as it can be listed again, what vanished behind the curtain counts.
    world.vaults.clear_faults();
    assert_eq!(found(next_day(&world).await.guard.as_ref()), (100, 30, 0));

    let (world, _) = world_of(100).await;
    world.pass(DAY);
    let mut narrow = world.backup_options();
    narrow.filter = ItemFilter::new(["!secrets/secret-09*"]).unwrap();
    delete(&world, 0..18);
    let header = world.back_up_with(VAULT, &narrow).await.unwrap();
    assert_eq!((header.counts.items(), header.guard), (72, None));
    delete(&world, 18..33);
    world.pass(DAY);
    narrow.id = world.backup_options().id;
    let header = world.back_up_with(VAULT, &narrow).await.unwrap();
    assert_eq!(found(header.guard.as_ref()), (72, 15, 0));
}

#[tokio::test(start_paused = true)]
async fn disabling_behind_a_failed_listing_is_seen_when_it_can_be_listed_again() {
    let (world, _) = world_of(50).await;
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::List)));
    set_enabled(&world, 0..30, false);
    assert_eq!(next_day(&world).await.guard, None);
    world.vaults.clear_faults();
    assert_eq!(found(next_day(&world).await.guard.as_ref()), (50, 0, 30));
}

#[tokio::test(start_paused = true)]
async fn disabled_items_that_cannot_be_read_trip_it_once_and_not_every_day() {
    let (world, _) = world_of(50).await;
    set_enabled(&world, 0..30, false);
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)));
    let header = next_day(&world).await;
    assert_eq!((header.counts.stale, found(header.guard.as_ref())), (30, (50, 0, 30)));
    acknowledge(&world, &header.guard.unwrap()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(next_day(&world).await.guard, None);
    }
}

#[tokio::test(start_paused = true)]
async fn losing_the_state_puts_it_up_again() {
    let (world, _) = world_of(100).await;
    delete(&world, 0..30);
    let guard = next_day(&world).await.guard;
    acknowledge(&world, guard.as_ref().unwrap()).await.unwrap();
    assert_eq!(up(&world.repository()).await, None);
    lose_the_state(&world).await;
    assert_eq!(up(&world.repository()).await, guard);
    assert_eq!(next_day(&world).await.guard, guard);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_newest_backup_leaves_it_unknown_until_the_next_one_compares_anew() {
    let (world, before) = world_of(100).await;
    delete(&world, 0..30);
    let tripped = next_day(&world).await;
    damage(&world, &tripped).await;
    let unknown = world.repository().guard(&vault()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Corrupt);
    assert!(unknown.message().contains("Back the vault up again"), "{unknown:?}");
    let again = next_day(&world).await;
    let guard = again.guard.clone().unwrap();
    assert_eq!((&guard.tripped_by, &guard.compared_with), (&again.backup_id, &before.backup_id));

    // With the last two damaged and the one before them marked, it is known to be up.
    let [one, two] = [next_day(&world).await, next_day(&world).await];
    damage(&world, &one).await;
    damage(&world, &two).await;
    assert_eq!(up(&world.repository()).await, Some(guard.clone()));
    assert_eq!(next_day(&world).await.guard, Some(guard));
}

#[tokio::test(start_paused = true)]
async fn without_the_backup_from_before_it_still_stays_up_and_trips_anew() {
    let (world, before) = world_of(100).await;
    delete(&world, 0..30);
    let first = next_day(&world).await;
    damage(&world, &before).await;
    assert_eq!(next_day(&world).await.guard, first.guard);
    world.backups.delete(&manifest_of(&before)).await.unwrap();
    let last = next_day(&world).await;
    assert_eq!(last.guard, first.guard);
    delete(&world, 30..60);
    let again = next_day(&world).await;
    assert_eq!(found(again.guard.as_ref()), (70, 30, 0));
    assert_eq!(again.guard.unwrap().compared_with, last.backup_id);
}

#[tokio::test(start_paused = true)]
async fn a_safety_copy_is_neither_compared_with_nor_asked() {
    let (world, _) = world_of(100).await;
    world.pass(DAY);
    let mut options = world.backup_options();
    options.label = Some("safety-1f2e3d4c".parse().unwrap());
    options.filter = ItemFilter::new(["secrets/secret-000"]).unwrap();
    assert_eq!(world.back_up_with(VAULT, &options).await.unwrap().counts.items(), 1);
    delete(&world, 0..30);
    let tripped = next_day(&world).await.guard;
    assert_eq!(found(tripped.as_ref()), (100, 30, 0));
    world.pass(DAY);
    options.id = world.backup_options().id;
    options.filter = ItemFilter::new(["secrets/secret-099"]).unwrap();
    world.back_up_with(VAULT, &options).await.unwrap();
    assert_eq!(up(&world.repository()).await, tripped);
}

#[tokio::test(start_paused = true)]
async fn a_first_backup_and_a_vault_that_only_grows_do_not_trip_it() {
    let (world, _) = world_of(10).await;
    for number in 10..200 {
        world.vaults.set_secret(VAULT, &name(number), "value");
    }
    assert_eq!(next_day(&world).await.guard, None);
    assert_eq!(up(&world.repository()).await, None);
    assert_eq!(world.repository().guard(&"contoso-dr".parse().unwrap()).await.unwrap(), None);
    let newest = world.repository().find(&vault(), &Selector::Latest).await.unwrap();
    assert_eq!(world.repository().header(&newest).await.unwrap().counts.items(), 200);
}

/// One attempt at a backup, each of whose requests and store calls is a step. `None` when it was killed.
async fn attempt(world: &World, options: &backup::Options, steps: &Steps) -> Option<Result<Header>> {
    let repository = Repository::new(steps.store(world.backups.clone()), steps.store(world.state.clone()));
    let vault = world.vault_through(VAULT, &steps.transport(&world.door), Pacing::new(10_000.0));
    steps.run(world.back_up_from(&vault, &repository, options)).await
}

#[tokio::test(start_paused = true)]
async fn a_run_killed_at_any_step_trips_it_when_it_goes_on_and_forgets_no_mark() {
    for was_up in [false, true] {
        for last in 0.. {
            let (world, before) = world_of(30).await;
            if was_up {
                delete(&world, 20..30);
                assert_eq!(found(next_day(&world).await.guard.as_ref()), (30, 10, 0));
            } else {
                delete(&world, 20..24);
            }
            delete(&world, 0..3);
            world.vaults.set_secret(VAULT, &name(10), "new");
            world.pass(DAY);
            let tripped = up(&world.repository()).await;
            if !was_up {
                delete(&world, 3..6);
            }
            let options = world.backup_options();
            let steps = Steps::stopped_at(last, Stop::KilledAfter);
            let result = attempt(&world, &options, &steps).await;
            if steps.count() <= last {
                assert!(last >= 10 && result.unwrap().is_ok(), "only {last} steps");
                break;
            }
            let header = attempt(&world, &options, &Steps::counted()).await.unwrap().unwrap();
            if was_up {
                assert_eq!(header.guard, tripped, "at {last}");
            } else {
                let guard = header.guard.unwrap();
                assert_eq!(found(Some(&guard)), (30, 10, 0), "at {last}");
                assert_eq!((&guard.tripped_by, &guard.compared_with), (&options.id, &before.backup_id), "at {last}");
            }
        }
    }
}
