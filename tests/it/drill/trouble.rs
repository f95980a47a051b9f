//! Drills that do not go well: they say what is wrong, and clean up all the same.

use std::time::Duration;

use azure_core::http::Method;
use keyvault_backup::{
    drill::Options,
    error::ErrorKind,
    report::{Outcome, Status},
    store::Store as _,
    vault::pacing::Pacing,
};
use serde_json::json;
use simulator::key_vault::{Fault, Kind, Operation, Verb};
use uuid::Uuid;

use super::{SOURCE, TARGET, backed_up, drill, drill_from, options, restores};
use crate::world::{World, meanwhile::Meanwhile, storm::storm};

fn said(evidence: &keyvault_backup::drill::Evidence) -> String {
    let of_items = evidence.items.iter().filter_map(|item| item.unwrap().problem);
    let all: Vec<String> = evidence.problems.iter().cloned().chain(of_items).map(|problem| problem.message).collect();
    all.join("\n")
}

async fn lose_blob(world: &World, part: &str) {
    let blobs = world.blobs().await;
    let blob = blobs.iter().find(|blob| blob.contains(part)).unwrap();
    world.backups.delete(blob).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_item_that_does_not_come_back_is_told_and_all_others_are_removed_again() {
    let world = backed_up().await;
    lose_blob(&world, "/secrets/apple.").await;
    let before = world.vaults.snapshot(TARGET);
    let evidence = drill(&world, &options()).await.unwrap();
    assert_eq!(evidence.status, Status::PartiallySucceeded);
    let [report] = &evidence.items.to_vec().unwrap()[..] else { panic!("{evidence:?}") };
    assert_eq!((report.item.to_string().as_str(), report.outcome), ("secrets/apple", Outcome::Failed));
    assert_eq!(report.problem.as_ref().unwrap().code, "Corrupt");
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_backup_of_which_nothing_comes_back_fails() {
    let world = backed_up().await;
    for kind in Kind::ALL {
        world.vaults.add_fault(Fault::answer(400, "BadParameter").on(Operation::new(kind, Verb::Restore)));
    }
    let before = world.vaults.snapshot(TARGET);
    let evidence = drill(&world, &options()).await.unwrap();
    assert_eq!((evidence.status, evidence.items.len()), (Status::Failed, 3));
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_newest_manifest_that_is_damaged_is_passed_over_and_told() {
    let world = backed_up().await;
    let good = world.newest(SOURCE).await.header.backup_id;
    world.pass(Duration::from_secs(86_400));
    let newest = world.back_up(SOURCE).await.unwrap().backup_id;
    let name = format!("vaults/{SOURCE}/backups/{newest}.json");
    world.backups.delete(&name).await.unwrap();
    world.backups.create(&name, "{}".into()).await.unwrap();
    let evidence = drill(&world, &options()).await.unwrap();
    assert_eq!((evidence.backup_id.clone(), evidence.status), (good, Status::PartiallySucceeded));
    assert!(said(&evidence).contains(newest.as_str()), "{evidence:?}");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changed_in_the_drill_vault_fails_the_drill_and_is_left_alone() {
    let world = backed_up().await;
    let (vaults, clock) = (world.vaults.clone(), world.vaults.clock().clone());
    let transport = Meanwhile::transport(&world.door, "/secrets/restore", 1, move || {
        clock.advance(Duration::from_secs(5));
        vaults.set_secret(TARGET, "apple", "somebody's own");
    });
    let target = world.vault_through(TARGET, &transport, Pacing::new(10_000.0));
    let evidence = drill_from(&world, &target, Uuid::new_v4(), &options()).await.unwrap();
    assert_eq!(evidence.status, Status::Failed);
    assert!(said(&evidence).contains("The drill left 1 item in vault contoso-drill: secrets/apple."), "{evidence:?}");
    assert!(said(&evidence).contains("which the drill did not restore"), "{evidence:?}");
    let after = world.vaults.snapshot(TARGET);
    assert_eq!(after.items.keys().cloned().collect::<Vec<_>>(), [(Kind::Secret, "apple".to_owned())]);
    assert_eq!(after.items.values().next().unwrap().versions.len(), 4);

    let error = drill(&world, &options()).await.unwrap_err();
    assert!(error.message().contains("The drill left 1 item"), "{error}");
    assert_eq!(after.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
    // A person tidies up.
    world.vaults.delete_now(TARGET, Kind::Secret, "apple");
    world.vaults.purge_now(TARGET, Kind::Secret, "apple");
    assert_eq!(drill(&world, &options()).await.unwrap().status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_not_as_it_was_backed_up_fails_the_drill_and_is_removed() {
    let world = backed_up().await;
    let vaults = world.vaults.clone();
    let transport = Meanwhile::transport(&world.door, "/secrets/restore", 1, move || {
        vaults.set_enabled(TARGET, Kind::Secret, "apple", false);
    });
    let before = world.vaults.snapshot(TARGET);
    let target = world.vault_through(TARGET, &transport, Pacing::new(10_000.0));
    let evidence = drill_from(&world, &target, Uuid::new_v4(), &options()).await.unwrap();
    assert_eq!(evidence.status, Status::PartiallySucceeded);
    assert!(said(&evidence).contains("enabled differs"), "{evidence:?}");
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

/// The name of what was purged is taken for some seconds more (recorded: up to eleven).
#[tokio::test(start_paused = true)]
async fn a_drill_right_after_another_waits_until_the_names_are_free() {
    let world = backed_up().await;
    for _ in 0..3 {
        assert_eq!(drill(&world, &options()).await.unwrap().status, Status::Succeeded);
    }
    assert!(world.vaults.count_status(409) > 0, "no name was still taken: this shows nothing");
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_that_is_refused_fails_the_drill_and_the_next_one_does_it() {
    for verb in [Verb::Delete, Verb::Purge] {
        let world = backed_up().await;
        let before = world.vaults.snapshot(TARGET);
        // The drill has found out that it may, and then its right is taken away.
        let refused = Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, verb)).named("apple");
        world.vaults.add_fault(refused);
        let evidence = drill(&world, &options()).await.unwrap();
        assert_eq!((evidence.status, evidence.items.len()), (Status::Failed, 0), "{verb:?}");
        assert!(said(&evidence).contains("The drill left 1 item in vault contoso-drill: secrets/apple."));
        let left = world.vaults.snapshot(TARGET);
        assert_eq!(left.items.keys().cloned().collect::<Vec<_>>(), [(Kind::Secret, "apple".to_owned())]);

        world.vaults.clear_faults();
        assert_eq!(drill(&world, &options()).await.unwrap().status, Status::Succeeded, "{verb:?}");
        assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new(), "{verb:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_that_fails_for_now_is_taken_up_by_the_next_attempt() {
    let world = backed_up().await;
    let before = world.vaults.snapshot(TARGET);
    world
        .vaults
        .add_fault(Fault::answer(503, "ServiceUnavailable").on(Operation::new(Kind::Key, Verb::Purge)).named("key"));
    let operation = Uuid::new_v4();
    let error = drill_from(&world, &world.vault(TARGET), operation, &options()).await.unwrap_err();
    assert!(error.kind().is_transient() && error.message().contains("keys/key"), "{error:?}");
    world.vaults.clear_faults();
    let restored = restores(&world);
    let evidence = drill_from(&world, &world.vault(TARGET), operation, &options()).await.unwrap();
    assert_eq!((evidence.status, restores(&world)), (Status::Succeeded, restored));
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_restore_leaves_nothing_behind() {
    let world = backed_up().await;
    let before = world.vaults.snapshot(TARGET);
    let lost = simulator::key_vault::Effect::After(simulator::mishap::Mishap::Reset);
    world.vaults.add_fault(Fault::new(lost).on(Operation::new(Kind::Secret, Verb::Restore)).times(1));
    assert_eq!(drill(&world, &options()).await.unwrap().status, Status::Succeeded);
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn of_two_drills_in_one_vault_the_second_waits_its_turn() {
    let world = backed_up().await;
    let before = world.vaults.snapshot(TARGET);
    let (options, target) = (options(), world.vault(TARGET));
    let (first, second) = tokio::join!(
        drill_from(&world, &target, Uuid::from_u128(1), &options),
        drill_from(&world, &target, Uuid::from_u128(2), &options),
    );
    assert_eq!([first.unwrap().status, second.unwrap().status], [Status::Succeeded; 2]);
    assert_eq!(restores(&world), 6 + world.vaults.count_status(409));
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_drill_gives_up_for_now_when_another_takes_very_long() {
    let world = backed_up().await;
    let lock = world.repository().lock(&TARGET.parse().unwrap(), Uuid::new_v4()).await.unwrap();
    let error = drill(&world, &Options { sample: Some(1), ..options() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(restores(&world), 0);
    drop(lock);
}

/// Between two drills a person uses the vault, against all advice: an item of the same name is theirs.
#[tokio::test(start_paused = true)]
async fn an_item_with_a_name_of_an_unfinished_drill_is_not_taken_for_what_it_restored() {
    let world = backed_up().await;
    world
        .vaults
        .add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Delete)).named("apple"));
    assert_eq!(drill(&world, &options()).await.unwrap().status, Status::Failed);
    world.vaults.clear_faults();
    world.vaults.purge_now(TARGET, Kind::Secret, "apple");
    world.pass(Duration::from_secs(3600));
    world.ask(Method::Put, "contoso-drill/secrets/apple", json!({ "value": "theirs" })).await;
    let before = world.vaults.snapshot(TARGET);
    let error = drill(&world, &options()).await.unwrap_err();
    assert!(error.message().contains("which the drill did not restore"), "{error}");
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_drill_that_lost_its_lease_stops_and_its_next_attempt_goes_on() {
    // While it restores, and while it removes.
    for path in ["/secrets/restore", "/secrets/apple"] {
        let world = backed_up().await;
        let before = world.vaults.snapshot(TARGET);
        let state = world.state.clone();
        let act = move || state.break_lease(&format!("leases/{TARGET}"));
        let transport = Meanwhile::transport(&world.door, path, 1, act);
        let target = world.vault_through(TARGET, &transport, Pacing::new(10_000.0));
        let operation = Uuid::new_v4();
        let error = drill_from(&world, &target, operation, &options()).await.unwrap_err();
        assert!(error.kind().is_transient() && error.message().contains("lost its lease"), "{path}: {error}");
        let evidence = drill_from(&world, &world.vault(TARGET), operation, &options()).await.unwrap();
        assert_eq!(evidence.status, Status::Succeeded, "{path}");
        assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drill_in_a_storm_claims_nothing_that_is_not_so_and_cleans_up() {
    for seed in 0..5 {
        let world = World::with(&[SOURCE, TARGET]);
        world.vaults.seed(SOURCE, 60);
        world.back_up(SOURCE).await.unwrap();
        let before = world.vaults.snapshot(TARGET);
        storm(seed).into_iter().for_each(|fault| world.vaults.add_fault(fault));
        let target = world.vault_through(TARGET, &world.door.transport(), Pacing::new(1_000.0));
        let evidence = drill_from(&world, &target, Uuid::new_v4(), &options()).await.unwrap();
        assert_eq!((evidence.status, evidence.measured.items), (Status::Succeeded, 60), "seed {seed}: {evidence:#?}");
        assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new(), "seed {seed}");
    }
}

/// Deleting goes on for seconds after its answer; one item after the other, that would be ten minutes here.
#[tokio::test(start_paused = true)]
async fn many_items_are_deleted_together_and_not_one_after_the_other() {
    let world = World::with(&[SOURCE, TARGET]);
    world.vaults.seed(SOURCE, 400);
    world.back_up(SOURCE).await.unwrap();
    let evidence = drill(&world, &options()).await.unwrap();
    assert_eq!((evidence.status, evidence.measured.items), (Status::Succeeded, 400));
    assert!(evidence.measured.clean_up_seconds <= 60, "{:?}", evidence.measured);
    assert_eq!(world.vaults.snapshot(TARGET).items.len(), 0);
}
