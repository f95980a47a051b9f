//! Replacing what holds a name: what is planned, what is kept safe, and that no path loses an item.

use std::{sync::Arc, time::Duration};

use azure_core::http::Method;
use keyvault_backup::{
    error::ErrorKind,
    model::{BackupId, Label, filter::ItemFilter},
    report::{ItemReport, Outcome, Progress, Status},
    repository::{Repository, Selector, items::Items, manifest::Manifest},
    restore::{self, Action, OnConflict, OnDeleted, Options, Plan},
    vault::pacing::Pacing,
};
use serde_json::Value;
use simulator::{
    key_vault::{Fault, Kind, Operation, VaultOptions, Verb},
    mishap::Mishap,
};

use super::{SOURCE, TARGET, actions, backed_up, backed_up_beside, outcomes, plan_with, said, status_of};
use crate::world::{
    World,
    interruption::{Steps, Stop},
};

const KINDS: [(Kind, &str, &str); 3] = [
    (Kind::Secret, "apple", "secrets/apple"),
    (Kind::Key, "key", "keys/key"),
    (Kind::Certificate, "certificate", "certificates/certificate"),
];

fn options(world: &World, on_conflict: OnConflict, on_deleted: OnDeleted) -> Options {
    Options { on_conflict, on_deleted, ..world.restore_options() }
}

/// Another item of that name, or a version more of the one that is there.
fn add(world: &World, vault: &str, kind: Kind, name: &str) {
    match kind {
        Kind::Secret => drop(world.vaults.set_secret(vault, name, "another")),
        Kind::Key => drop(world.vaults.create_key(vault, name, "EC")),
        Kind::Certificate => drop(world.vaults.create_certificate(vault, name)),
    }
}

async fn planned(world: &World, manifest: &Manifest, options: &Options) -> Plan {
    let mut plan = plan_with(world, manifest, options).await.unwrap();
    if options.may_replace() {
        plan.safety_backup = Some(BackupId::new(world.now(), 7));
    }
    plan
}

async fn carried_out(world: &World, manifest: &Manifest, options: &Options, plan: &Plan) -> Vec<ItemReport> {
    let (repository, target) = (world.repository(), world.vault(TARGET));
    restore::execute(plan, manifest, &repository, &target, options, false, &Progress::default())
        .await
        .unwrap()
        .to_vec()
        .unwrap()
}

/// The active version of an item in the target, if it is there.
fn version(world: &World, kind: Kind, name: &str) -> Option<String> {
    let snapshot = world.vaults.snapshot(TARGET);
    snapshot.items.get(&(kind, name.to_owned())).filter(|item| item.active).map(|item| item.current.clone())
}

async fn safety_copy(world: &World) -> Option<Manifest> {
    let repository = world.repository();
    let backups = repository.backups(&TARGET.parse().unwrap()).await.unwrap();
    let safety = backups.iter().find(|backup| backup.is_safety_copy())?;
    Some(repository.open(safety).await.unwrap())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Absent,
    Same,
    /// The target has an earlier state of the item, without the newest version.
    Older,
    /// The target has a version more.
    Newer,
    /// Something unrelated has the name.
    Other,
    DeletedSame,
    DeletedOther,
    /// A delete of the same item is under way.
    BeingDeleted,
    /// The name is not free yet after a purge.
    BeingPurged,
    /// A recovery of the same item is under way.
    BeingRecovered,
    /// A certificate owns the name; for a certificate, a plain secret has it.
    HeldByAnotherKind,
    /// Something unrelated has the name, in a vault with purge protection.
    PurgeProtected,
}

/// Every situation of a name in the target, under every choice, for every kind: what is planned, what comes of it, and
/// that the plan alone changes nothing.
#[tokio::test(start_paused = true)]
async fn every_situation_of_a_name_has_one_outcome() {
    use Before::*;
    let conflicts = [OnConflict::Skip, OnConflict::Fail, OnConflict::Replace];
    let deletions = [OnDeleted::Recover, OnDeleted::Fail, OnDeleted::Purge];
    let situations = [
        Absent,
        Same,
        Older,
        Newer,
        Other,
        DeletedSame,
        DeletedOther,
        BeingDeleted,
        BeingPurged,
        BeingRecovered,
        HeldByAnotherKind,
        PurgeProtected,
    ];
    for (kind, name, item) in KINDS {
        for before in situations {
            for on_conflict in conflicts {
                for on_deleted in deletions {
                    let case = format!("{item}, {before:?}, {on_conflict:?}, {on_deleted:?}");
                    let expected = match (before, on_conflict, on_deleted) {
                        (Absent | BeingPurged | BeingRecovered, ..) => (Action::Restore, Outcome::Restored),
                        (Same, ..) => (Action::AlreadyPresent, Outcome::AlreadyPresent),
                        (Older | Newer | Other | PurgeProtected, OnConflict::Skip, _)
                        | (DeletedOther, OnConflict::Skip, OnDeleted::Recover) => (Action::Skip, Outcome::Skipped),
                        (Older | Newer | Other, OnConflict::Replace, _)
                        | (DeletedOther, OnConflict::Replace, OnDeleted::Recover)
                        | (DeletedSame | DeletedOther, _, OnDeleted::Purge) => (Action::Replace, Outcome::Replaced),
                        (DeletedSame, _, OnDeleted::Recover) => (Action::Recover, Outcome::Recovered),
                        // A delete under way shows in no listing; what it leaves is found while restoring.
                        (BeingDeleted, _, OnDeleted::Recover) => (Action::Restore, Outcome::Recovered),
                        (BeingDeleted, ..) => (Action::Restore, Outcome::Failed),
                        (HeldByAnotherKind | PurgeProtected, ..)
                        | (Older | Newer | Other | DeletedOther, OnConflict::Fail, _)
                        | (DeletedSame | DeletedOther, _, OnDeleted::Fail) => (Action::Blocked, Outcome::Blocked),
                    };
                    let purge_protection = before == PurgeProtected;
                    let target = VaultOptions { purge_protection, ..Default::default() };
                    let (world, manifest) = backed_up_beside(target).await;
                    let manifest = arrange(&world, manifest, kind, name, before).await;
                    let filter = ItemFilter::new([item]).unwrap();
                    let options = Options { filter, ..options(&world, on_conflict, on_deleted) };
                    let untouched = world.vaults.snapshot(TARGET);
                    let plan = planned(&world, &manifest, &options).await;
                    assert_eq!(actions(&plan)[item], expected.0, "{case}: {plan:?}");
                    assert_eq!(untouched.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new(), "{case}");

                    let reports = carried_out(&world, &manifest, &options, &plan).await;
                    assert_eq!(outcomes(&reports)[item], expected.1, "{case}: {}", said(&reports, item));
                    world.assert_all_known();
                    if expected.1.is_good() {
                        let wanted = manifest
                            .items
                            .iter()
                            .map(Result::unwrap)
                            .find(|wanted| wanted.id.to_string() == item)
                            .unwrap();
                        assert_eq!(version(&world, kind, name).as_deref(), Some(&*wanted.version), "{case}");
                    } else if before != BeingDeleted {
                        assert_eq!(
                            untouched.differences(&world.vaults.snapshot(TARGET)),
                            Vec::<String>::new(),
                            "{case}"
                        );
                    } else {
                        assert!(said(&reports, item).contains("the name is in use"), "{case}");
                    }
                    let replaced = expected.1 == Outcome::Replaced && before != DeletedSame;
                    let copy = safety_copy(&world).await;
                    assert_eq!(copy.is_some_and(|copy| copy.items.len() == 1), replaced, "{case}");
                }
            }
        }
    }
}

/// Brings the target into the situation. Returns the manifest to restore, which is a newer one where the target is to be
/// older than it.
async fn arrange(world: &World, manifest: Manifest, kind: Kind, name: &str, before: Before) -> Manifest {
    use Before::*;
    let path = format!("{TARGET}/{}/{name}", kind.plural());
    match before {
        Absent => (),
        Same | Older | Newer | DeletedSame | BeingDeleted | BeingPurged | BeingRecovered => {
            let item = manifest.items.iter().map(Result::unwrap).find(|item| item.id.name.as_str() == name).unwrap();
            let sealed = world.repository().read_item(&item).await.unwrap();
            world.vault(TARGET).restore(&item.id, &sealed).await.unwrap();
        }
        Other | DeletedOther | PurgeProtected => add(world, TARGET, kind, name),
        HeldByAnotherKind if kind == Kind::Certificate => add(world, TARGET, Kind::Secret, name),
        HeldByAnotherKind => add(world, TARGET, Kind::Certificate, name),
    }
    match before {
        DeletedSame | DeletedOther => world.vaults.delete_now(TARGET, kind, name),
        BeingDeleted => world.ask(Method::Delete, &path, Value::Null).await,
        BeingPurged => {
            world.vaults.delete_now(TARGET, kind, name);
            world
                .ask(Method::Delete, &path.replace(kind.plural(), &format!("deleted{}", kind.plural())), Value::Null)
                .await;
        }
        BeingRecovered => {
            world.vaults.delete_now(TARGET, kind, name);
            let deleted = format!("deleted{}", kind.plural());
            world.ask(Method::Post, &format!("{}/recover", path.replace(kind.plural(), &deleted)), Value::Null).await;
        }
        Newer => {
            world.pass(Duration::from_secs(60));
            add(world, TARGET, kind, name);
        }
        Older => {
            world.pass(Duration::from_secs(60));
            add(world, SOURCE, kind, name);
            world.pass(Duration::from_secs(60));
            world.back_up(SOURCE).await.unwrap();
            return world.newest(SOURCE).await;
        }
        _ => (),
    }
    manifest
}

#[tokio::test(start_paused = true)]
async fn where_purge_protection_forbids_it_nothing_is_touched() {
    let world = World::with(&[SOURCE]);
    world.add(VaultOptions { name: TARGET.into(), purge_protection: true, ..Default::default() });
    world.vaults.set_secret(SOURCE, "apple", "value");
    world.vaults.create_key(SOURCE, "key", "EC");
    world.vaults.create_certificate(SOURCE, "certificate");
    world.back_up(SOURCE).await.unwrap();
    let manifest = world.newest(SOURCE).await;
    KINDS.iter().for_each(|(kind, name, _)| add(&world, TARGET, *kind, name));
    world.vaults.delete_now(TARGET, Kind::Key, "key");
    let before = world.vaults.snapshot(TARGET);

    let options = options(&world, OnConflict::Replace, OnDeleted::Purge);
    let plan = planned(&world, &manifest, &options).await;
    assert!(plan.steps.iter().all(|step| step.unwrap().action == Action::Blocked), "{plan:?}");
    let reports = carried_out(&world, &manifest, &options, &plan).await;
    for (_, _, item) in KINDS {
        assert!(said(&reports, item).contains("purge protection"), "{}", said(&reports, item));
    }
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_found_out_before_anything_is_deleted() {
    for missing in ["delete", "purge/action"] {
        let (world, manifest) = backed_up().await;
        KINDS.iter().for_each(|(kind, name, _)| add(&world, TARGET, *kind, name));
        let actions: Vec<&str> = simulator::key_vault::DATA_ACTIONS
            .iter()
            .copied()
            .filter(|action| !action.ends_with(&format!("/{missing}")))
            .collect();
        world.vaults.unassign(&world.identity, TARGET);
        world.vaults.assign(&world.identity, TARGET, &actions);
        let before = world.vaults.snapshot(TARGET);
        let options = options(&world, OnConflict::Replace, OnDeleted::Purge);
        let plan = planned(&world, &manifest, &options).await;
        let reports = carried_out(&world, &manifest, &options, &plan).await;
        for (_, _, item) in KINDS {
            assert_eq!(outcomes(&reports)[item], Outcome::Blocked);
            assert!(said(&reports, item).contains(missing), "{}", said(&reports, item));
        }
        assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
    }
}

/// The safety copy is a backup like any other, except that it is never the newest one of its vault.
#[tokio::test(start_paused = true)]
async fn the_safety_copy_can_be_restored_and_is_never_the_latest_backup() {
    let (world, manifest) = backed_up().await;
    add(&world, TARGET, Kind::Secret, "apple");
    world.back_up(TARGET).await.unwrap();
    let ordinary = world.newest(TARGET).await.header.backup_id;
    let old = version(&world, Kind::Secret, "apple").unwrap();
    world.pass(Duration::from_secs(60));
    let options = options(&world, OnConflict::Replace, OnDeleted::Recover);
    let plan = planned(&world, &manifest, &options).await;
    carried_out(&world, &manifest, &options, &plan).await;

    assert_eq!(world.newest(TARGET).await.header.backup_id, ordinary);
    let copy = safety_copy(&world).await.unwrap();
    assert_eq!(copy.header.label.as_ref().unwrap().as_str(), "safety-00000007");
    let selector: Selector = copy.header.backup_id.as_str().parse().unwrap();
    assert!(world.repository().find(&TARGET.parse().unwrap(), &selector).await.is_ok());

    let mut back = planned(&world, &copy, &options).await;
    back.safety_backup = Some(BackupId::new(world.now(), 8));
    let reports = carried_out(&world, &copy, &options, &back).await;
    assert_eq!(outcomes(&reports)["secrets/apple"], Outcome::Replaced);
    assert_eq!(version(&world, Kind::Secret, "apple"), Some(old));
}

#[tokio::test(start_paused = true)]
async fn what_was_there_is_put_back_when_the_restore_is_refused() {
    for (kind, name, item) in KINDS {
        let (world, manifest) = backed_up().await;
        add(&world, TARGET, kind, name);
        let before = world.vaults.snapshot(TARGET);
        let filter = ItemFilter::new([item]).unwrap();
        let options = Options { filter, ..options(&world, OnConflict::Replace, OnDeleted::Recover) };
        let plan = planned(&world, &manifest, &options).await;
        world.vaults.add_fault(Fault::answer(400, "BadParameter").on(Operation::new(kind, Verb::Restore)).times(1));
        let reports = carried_out(&world, &manifest, &options, &plan).await;
        assert_eq!(outcomes(&reports)[item], Outcome::Failed);
        assert!(said(&reports, item).contains("is in place again"), "{}", said(&reports, item));
        assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_is_recovered_when_the_purge_is_refused() {
    let (world, manifest) = backed_up().await;
    add(&world, TARGET, Kind::Secret, "apple");
    let before = version(&world, Kind::Secret, "apple");
    let options = options(&world, OnConflict::Replace, OnDeleted::Recover);
    let plan = planned(&world, &manifest, &options).await;
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Purge)));
    let reports = carried_out(&world, &manifest, &options, &plan).await;
    assert_eq!(outcomes(&reports)["secrets/apple"], Outcome::Failed);
    assert_eq!(version(&world, Kind::Secret, "apple"), before);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_backup_is_found_out_before_anything_is_deleted() {
    let (world, manifest) = backed_up().await;
    add(&world, TARGET, Kind::Secret, "apple");
    let options = options(&world, OnConflict::Replace, OnDeleted::Recover);
    let mut damaged = manifest.clone();
    let mut items = damaged.items.to_vec().unwrap();
    items.iter_mut().find(|item| item.id.name.as_str() == "apple").unwrap().size += 1;
    damaged.items = Items::of(&items).unwrap();
    let plan = planned(&world, &damaged, &options).await;
    let before = world.vaults.snapshot(TARGET);
    let reports = carried_out(&world, &damaged, &options, &plan).await;
    assert_eq!(outcomes(&reports)["secrets/apple"], Outcome::Failed);
    let apple = |(kind, name): &(Kind, String)| *kind == Kind::Secret && name == "apple";
    let state =
        |snapshot: &simulator::key_vault::Snapshot| snapshot.items.iter().find(|(id, _)| apple(id)).unwrap().1.clone();
    assert_eq!(state(&before), state(&world.vaults.snapshot(TARGET)));
}

/// Somebody changed the item after the plan, and after the safety copy: it is in no copy, so it is left alone.
#[tokio::test(start_paused = true)]
async fn an_item_that_changed_since_its_safety_copy_is_left_alone() {
    let (world, manifest) = backed_up().await;
    add(&world, TARGET, Kind::Secret, "apple");
    let options = options(&world, OnConflict::Replace, OnDeleted::Recover);
    let plan = planned(&world, &manifest, &options).await;
    // The first attempt dies when the safety copy is committed and nothing is deleted.
    world.vaults.add_fault(
        Fault::new(simulator::key_vault::Effect::Before(Mishap::Hang)).on(Operation::new(Kind::Secret, Verb::Delete)),
    );
    let attempt = carried_out(&world, &manifest, &options, &plan);
    assert!(tokio::time::timeout(Duration::from_secs(30), attempt).await.is_err());
    world.vaults.clear_faults();
    world.pass(Duration::from_secs(10));
    world.vaults.set_secret(TARGET, "apple", "newer");
    let newer = version(&world, Kind::Secret, "apple");
    let reports = carried_out(&world, &manifest, &options, &plan).await;
    assert_eq!(outcomes(&reports)["secrets/apple"], Outcome::Failed);
    assert!(said(&reports, "secrets/apple").contains("in no safety copy"), "{}", said(&reports, "secrets/apple"));
    assert_eq!(version(&world, Kind::Secret, "apple"), newer);
}

/// Killed after each of its requests, for all of them, and repeated: the new item is in place and the safety copy
/// exists. In between, the old item is in the vault, active or deleted, or in the safety copy: never nowhere.
#[tokio::test(start_paused = true)]
async fn a_replacement_that_is_killed_anywhere_loses_nothing_and_the_next_attempt_completes_it() {
    for (kind, name, item) in KINDS {
        for stop in [Stop::KilledBefore, Stop::KilledAfter] {
            for last in 0.. {
                let (world, manifest) = backed_up().await;
                add(&world, TARGET, kind, name);
                let old = version(&world, kind, name).unwrap();
                let filter = ItemFilter::new([item]).unwrap();
                let options = Options { filter, ..options(&world, OnConflict::Replace, OnDeleted::Recover) };
                let plan = planned(&world, &manifest, &options).await;

                let steps = Steps::stopped_at(last, stop);
                let target = world.vault_through(TARGET, &steps.transport(&world.door), Pacing::new(10_000.0));
                let repository = Repository::new(steps.store(world.backups.clone()), Arc::new(world.state.clone()));
                let progress = Progress::default();
                let run = restore::execute(&plan, &manifest, &repository, &target, &options, false, &progress);
                steps.run(run).await;
                let complete = steps.count() <= last;

                let copied =
                    safety_copy(&world).await.is_some_and(|copy| *copy.items.to_vec().unwrap()[0].version == *old);
                assert!(
                    copied || version(&world, kind, name) == Some(old),
                    "{item}, {stop:?} at {last}: it is nowhere"
                );

                let reports = restore::execute(
                    &plan,
                    &manifest,
                    &world.repository(),
                    &world.vault(TARGET),
                    &options,
                    true,
                    &Progress::default(),
                )
                .await
                .unwrap()
                .to_vec()
                .unwrap();
                assert_eq!(outcomes(&reports)[item], Outcome::Replaced, "{stop:?} at {last}: {}", said(&reports, item));
                assert_eq!(status_of(&reports), Status::Succeeded);
                let wanted =
                    manifest.items.iter().map(Result::unwrap).find(|wanted| wanted.id.to_string() == item).unwrap();
                assert_eq!(version(&world, kind, name).as_deref(), Some(&*wanted.version), "{stop:?} at {last}");
                assert!(safety_copy(&world).await.is_some());
                if complete {
                    assert!(last > 10, "only {last} steps");
                    break;
                }
            }
        }
    }
}

#[test]
fn the_labels_of_safety_copies_are_not_for_people() {
    let refused = Label::chosen("safety-first").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.message().contains("safety-"));
}
