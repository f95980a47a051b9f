//! What a prune removes, and what it leaves alone whatever it is told.

mod command;
mod crash;
mod immutability;
mod months;
mod named;
mod together;

use std::time::Duration;

use bytes::Bytes;
use keyvault_backup::{
    backup,
    error::ErrorKind,
    model::{BackupId, VaultName, filter::ItemFilter},
    prune::{self, Choice, Options, Plan, Prune, Report, Row},
    report::Status,
    repository::{
        BackupRef, Repository, Selector,
        guard::{ACKNOWLEDGEMENT_VERSION, Acknowledgement},
        manifest::{Guard, Header, Manifest},
    },
    restore,
    store::{Create, Store as _},
};
use simulator::key_vault::{Fault, Kind, Snapshot};

use crate::{
    backup::{DAY, SETTLED},
    verify::verify,
    world::World,
};

pub(super) const VAULT: &str = "contoso-prod";
pub(super) const TARGET: &str = "contoso-dr";

pub(super) fn by_policy(policy: &str) -> Options {
    Options { choice: Choice::ByPolicy(policy.parse().unwrap()), immutable_for: None }
}

pub(super) fn vault() -> VaultName {
    VAULT.parse().unwrap()
}

pub(super) async fn plan(world: &World, options: &Options) -> Plan {
    prune::plan(&world.repository(), &vault(), options, world.now()).await.unwrap()
}

pub(super) async fn prune_now(world: &World, options: &Options) -> (Plan, Report) {
    prune_in(world, &world.repository(), options).await
}

pub(super) async fn prune_in(world: &World, repository: &Repository, options: &Options) -> (Plan, Report) {
    match prune::run(repository, &vault(), options, world.now()).await.unwrap() {
        Prune::Done(plan, report) => (*plan, report),
        Prune::Busy => panic!("nobody else is at work"),
    }
}

/// A vault of three items, one of which changes every day, backed up every day.
pub(super) async fn world_with_backups(days: usize) -> World {
    let world = World::with(&[VAULT, TARGET]);
    for name in ["apple", "pear", "plum"] {
        world.vaults.set_secret(VAULT, name, "value");
    }
    for day in 0..days {
        world.vaults.set_secret(VAULT, "apple", &format!("value {day}"));
        world.pass(SETTLED);
        world.back_up(VAULT).await.unwrap();
        world.pass(DAY);
    }
    world
}

pub(super) async fn backups(world: &World) -> Vec<BackupRef> {
    world.repository().backups(&vault()).await.unwrap()
}

/// The ids of the backups there are, oldest first.
pub(super) async fn ids(world: &World) -> Vec<BackupId> {
    backups(world).await.into_iter().map(|backup| backup.id).collect()
}

pub(super) async fn item_blobs(world: &World) -> Vec<String> {
    world.blobs().await.into_iter().filter(|blob| blob.contains("/items/")).collect()
}

/// Every backup there is can be read in full, and all blobs there are are named by one of them. How many there are.
pub(super) async fn assert_whole_and_tidy(world: &World) -> usize {
    assert_whole(world).await;
    let mut named = Vec::new();
    for backup in backups(world).await {
        let manifest = world.repository().open(&backup).await.unwrap();
        named.extend(manifest.items.to_vec().unwrap().into_iter().map(|item| item.blob.to_string()));
    }
    named.sort();
    named.dedup();
    assert_eq!(item_blobs(world).await, named);
    backups(world).await.len()
}

/// Every backup there is can be read in full.
pub(super) async fn assert_whole(world: &World) {
    let repository = world.repository();
    for backup in backups(world).await {
        for item in repository.open(&backup).await.unwrap().items.to_vec().unwrap() {
            repository.read_item(&item).await.unwrap_or_else(|error| panic!("{backup}: {error}"));
        }
    }
}

/// A backup brings back what was in the vault when it was taken.
pub(super) async fn assert_restores(world: &World, backup: &BackupId, expected: &Snapshot) {
    let repository = world.repository();
    let backup = repository.find(&vault(), &Selector::Id(backup.clone())).await.unwrap();
    let manifest = repository.open(&backup).await.unwrap();
    world.vaults.lose_everything(TARGET);
    let plan = world.plan(&manifest, TARGET).await;
    let (target, options) = (world.vault(TARGET), world.restore_options());
    restore::execute(&plan, &manifest, &repository, &target, &options, false, &Default::default()).await.unwrap();
    assert_eq!(expected.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new(), "{backup}");
}

pub(super) fn reasons(row: &Row) -> String {
    row.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The reasons of one backup.
pub(super) fn why(plan: &Plan, id: &BackupId) -> String {
    reasons(plan.backups.iter().find(|row| row.backup.id == *id).unwrap())
}

/// Puts other bytes, or none, in the place of a blob.
pub(super) async fn tamper(world: &World, name: &str, bytes: Option<Bytes>) {
    world.backups.delete(name).await.unwrap();
    if let Some(bytes) = bytes {
        assert_eq!(world.backups.create(name, bytes.into()).await.unwrap(), Create::Created);
    }
}

pub(super) fn manifest_name(backup: &BackupRef) -> String {
    let label = backup.label.as_ref().map(|label| format!(".{label}")).unwrap_or_default();
    format!("vaults/{}/backups/{}{label}.json", backup.vault, backup.id)
}

/// Rewrites the header of a backup, with a hash that fits.
async fn rewrite(world: &World, backup: &BackupRef, change: impl FnOnce(&mut Header)) {
    let mut manifest: Manifest = world.repository().open(backup).await.unwrap();
    change(&mut manifest.header);
    tamper(world, &manifest_name(backup), Some(manifest.encode().unwrap().to_vec().unwrap().into())).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_gives_up_goes_with_the_blobs_that_only_it_named() {
    let world = world_with_backups(10).await;
    let before = ids(&world).await;
    let (plan, report) = prune_now(&world, &by_policy("daily=3")).await;
    assert_eq!(ids(&world).await, before[7..]);
    assert_eq!(report.backups, 7);
    assert_eq!((report.blobs, report.bytes), (plan.unnamed.blobs, plan.unnamed.bytes));
    // Seven versions of the apple, and the pear and the plum of the first week: they were read anew on the eighth day.
    assert_eq!(report.blobs, 7 + 2);
    assert_eq!(assert_whole_and_tidy(&world).await, 3);
    let (plan, report) = prune_now(&world, &by_policy("daily=3")).await;
    assert_eq!((plan.removed().count(), report), (0, Report::default()), "a second prune has nothing to do");
    world.assert_all_known();
}

#[tokio::test(start_paused = true)]
async fn a_plan_changes_nothing_and_gives_every_reason() {
    let world = world_with_backups(5).await;
    let before = world.blobs().await;
    let plan = plan(&world, &by_policy("last=2,daily=3")).await;
    assert_eq!(world.blobs().await, before);
    let shown: Vec<String> =
        plan.backups.iter().map(|row| format!("{} {}", &row.backup.id.as_str()[..8], reasons(row))).collect();
    assert_eq!(
        shown,
        [
            "20261125 newest, newest complete, last, daily 2026-11-25",
            "20261124 last, daily 2026-11-24",
            "20261123 daily 2026-11-23",
            "20261122 ",
            "20261121 ",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_newest_complete_backup_stays_when_newer_ones_are_incomplete() {
    let world = world_with_backups(3).await;
    let complete = ids(&world).await.pop().unwrap();
    world.vaults.add_fault(Fault::answer(403, "Forbidden").named("apple"));
    for day in 0..3 {
        world.vaults.set_secret(VAULT, "apple", &format!("newer value {day}"));
        world.pass(DAY);
        world.back_up(VAULT).await.unwrap();
    }
    let newest = ids(&world).await.pop().unwrap();
    let (plan, _) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(ids(&world).await, [complete.clone(), newest.clone()]);
    assert_eq!(why(&plan, &complete), "newest complete, last");
    assert_eq!(why(&plan, &newest), "newest, last (incomplete)");
    assert_whole(&world).await;
}

/// The apple was removed, and comes back in a form that cannot be read: what the older backup holds may be all there is.
#[tokio::test(start_paused = true)]
async fn the_last_copy_of_an_item_that_could_not_be_read_stays() {
    let world = world_with_backups(3).await;
    let holds_it = ids(&world).await.pop().unwrap();
    world.vaults.delete_now(VAULT, Kind::Secret, "apple");
    world.back_up(VAULT).await.unwrap();
    world.vaults.purge_now(VAULT, Kind::Secret, "apple");
    world.vaults.set_secret(VAULT, "apple", "back");
    world.vaults.add_fault(Fault::answer(403, "Forbidden").named("apple"));
    world.pass(DAY);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.counts.missing, 1);

    let (plan, _) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(why(&plan, &holds_it), "last copy of secrets/apple");
    assert_eq!(ids(&world).await.len(), 3, "it, the newest, and the newest complete one");

    world.vaults.clear_faults();
    world.pass(DAY);
    world.back_up(VAULT).await.unwrap();
    prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(ids(&world).await.len(), 1, "now the newest holds it");
}

#[tokio::test(start_paused = true)]
async fn a_last_copy_whose_blob_is_gone_is_none() {
    let world = world_with_backups(3).await;
    let all = backups(&world).await;
    world.vaults.delete_now(VAULT, Kind::Secret, "apple");
    world.back_up(VAULT).await.unwrap();
    world.vaults.purge_now(VAULT, Kind::Secret, "apple");
    world.vaults.set_secret(VAULT, "apple", "back");
    world.vaults.add_fault(Fault::answer(403, "Forbidden").named("apple"));
    world.pass(DAY);
    world.back_up(VAULT).await.unwrap();
    let third = world.repository().open(&all[2]).await.unwrap();
    tamper(&world, &third.items.to_vec().unwrap()[0].blob, None).await;
    let (plan, _) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(why(&plan, &all[1].id), "last copy of secrets/apple");
    assert_eq!(why(&plan, &all[2].id), "");
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_really_deleted_holds_no_backup_back() {
    let world = world_with_backups(2).await;
    world.vaults.delete_now(VAULT, Kind::Secret, "plum");
    world.back_up(VAULT).await.unwrap();
    prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(ids(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_copy_of_what_a_narrower_filter_leaves_out_stays() {
    let world = world_with_backups(3).await;
    let holds_all = ids(&world).await.pop().unwrap();
    for _ in 0..2 {
        let filter = ItemFilter::new(["secrets/a*"]).unwrap();
        let options = backup::Options { filter, ..world.backup_options() };
        world.back_up_with(VAULT, &options).await.unwrap();
        world.pass(DAY);
    }
    let (plan, _) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(why(&plan, &holds_all), "last copy of secrets/pear and 1 more");
    assert_eq!(ids(&world).await.len(), 2);
    let (again, _) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(why(&again, &holds_all), "last copy of secrets/pear and 1 more");
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_manifest_stays_and_so_does_every_blob_it_may_name() {
    let world = world_with_backups(6).await;
    let all = backups(&world).await;
    let text = world.backups.read(&manifest_name(&all[1])).await.unwrap();
    tamper(&world, &manifest_name(&all[1]), Some(text.slice(..text.len() / 4))).await;
    let before = item_blobs(&world).await;
    let (plan, report) = prune_now(&world, &by_policy("daily=2")).await;
    assert_eq!(why(&plan, &all[1].id), "unreadable");
    assert_eq!((report.backups, report.blobs), (3, 0));
    assert_eq!(item_blobs(&world).await, before);
    assert!(plan.unnamed.doubtful > 0 && plan.describe(&report).contains("cannot be read may name them"));

    // A person has looked at it.
    let named = Options { choice: Choice::Named(vec![all[1].id.clone()]), immutable_for: None };
    prune_now(&world, &named).await;
    assert_eq!(assert_whole_and_tidy(&world).await, 2);
}

/// The hash of a manifest is not looked at when backups are listed; before anything is removed it is.
#[tokio::test(start_paused = true)]
async fn a_manifest_whose_items_are_damaged_takes_no_place_from_a_sound_one() {
    let world = world_with_backups(4).await;
    let all = backups(&world).await;
    let mut text = world.backups.read(&manifest_name(&all[3])).await.unwrap().to_vec();
    let place = text.len() - 300;
    text[place] ^= 1;
    tamper(&world, &manifest_name(&all[3]), Some(text.into())).await;
    let (plan, report) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(why(&plan, &all[3].id), "newest, unreadable");
    assert_eq!(why(&plan, &all[2].id), "newest complete, last");
    assert_eq!((report.backups, report.blobs), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_lacks_a_blob_takes_no_place_from_a_whole_one() {
    let world = world_with_backups(4).await;
    let all = backups(&world).await;
    let newest = world.newest(VAULT).await;
    let apple = &newest.items.to_vec().unwrap()[0];
    assert_eq!(apple.id.to_string(), "secrets/apple");
    tamper(&world, &apple.blob, None).await;
    let (plan, _) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(why(&plan, &all[3].id), "newest, last (incomplete)");
    assert_eq!(why(&plan, &all[2].id), "newest complete, last");
    assert_eq!(ids(&world).await.len(), 2);
}

/// The plum came back, and the only backup that knows cannot be read.
#[tokio::test(start_paused = true)]
async fn a_backup_that_a_verification_found_damaged_takes_no_place_from_a_sound_one() {
    let world = world_with_backups(2).await;
    world.vaults.set_secret(VAULT, "plum", "changed");
    world.pass(DAY);
    let header = world.back_up(VAULT).await.unwrap();
    let newest = backups(&world).await.pop().unwrap();
    let sound = ids(&world).await.remove(1);
    let written = item_blobs(&world).await.into_iter().find(|blob| blob.contains(newest.id.as_str())).unwrap();
    let mut bytes = world.backups.read(&written).await.unwrap().to_vec();
    bytes[40] ^= 1;
    tamper(&world, &written, Some(bytes.into())).await;
    assert_eq!(header.status, Status::Succeeded);
    // Nothing but reading every blob can tell.
    assert_eq!(plan(&world, &by_policy("last=1")).await.removed().count(), 2);

    verify(&world, VAULT).await;
    prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(ids(&world).await, [sound, newest.id]);
}

#[tokio::test(start_paused = true)]
async fn while_the_newest_backup_is_damaged_every_last_copy_stays() {
    let world = world_with_backups(2).await;
    let holds_it = ids(&world).await.pop().unwrap();
    world.vaults.delete_now(VAULT, Kind::Secret, "plum");
    world.vaults.purge_now(VAULT, Kind::Secret, "plum");
    world.back_up(VAULT).await.unwrap();
    world.vaults.set_secret(VAULT, "plum", "back");
    world.pass(DAY);
    world.back_up(VAULT).await.unwrap();
    let newest = backups(&world).await.pop().unwrap();
    let whole = world.backups.read(&manifest_name(&newest)).await.unwrap();
    // Without its header it does not say whether the guard is up.
    tamper(&world, &manifest_name(&newest), Some(whole.slice(..whole.len() / 4))).await;
    let refused = prune::plan(&world.repository(), &vault(), &by_policy("last=1"), world.now()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);

    tamper(&world, &manifest_name(&newest), Some(whole.slice(..whole.len() - 100))).await;
    let (plan, _) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(why(&plan, &holds_it), "last copy of secrets/plum");
    assert_eq!(ids(&world).await.len(), 3);

    tamper(&world, &manifest_name(&newest), Some(whole)).await;
    prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(ids(&world).await, [newest.id]);
}

#[tokio::test(start_paused = true)]
async fn while_the_guard_is_up_nothing_is_removed() {
    let world = world_with_backups(5).await;
    let all = backups(&world).await;
    let [.., before, newest] = &all[..] else { unreachable!() };
    let (compared_with, tripped_by) = (before.id.clone(), newest.id.clone());
    let guard = Guard { tripped_by, compared_with, items: 30, deleted: 27, disabled: 0 };
    rewrite(&world, newest, |header| header.guard = Some(guard.clone())).await;
    let blobs = world.blobs().await;
    let (plan, report) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!((plan.removed().count(), report), (0, Report::default()));
    assert_eq!(why(&plan, &all[0].id), "guard");
    assert!(plan.describe(&report).contains("27 of 30 items gone"));
    let named = Options { choice: Choice::Named(vec![all[0].id.clone()]), immutable_for: None };
    prune_now(&world, &named).await;
    assert_eq!(world.blobs().await, blobs);

    let meant = Acknowledgement {
        format_version: ACKNOWLEDGEMENT_VERSION,
        vault: vault(),
        guard,
        acknowledged_at: world.now(),
        acknowledged_by: "ada@contoso.com".into(),
        reason: None,
    };
    world.repository().acknowledge(meant).await.unwrap();
    prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(ids(&world).await, std::slice::from_ref(&newest.id));
}

#[tokio::test(start_paused = true)]
async fn blobs_that_nobody_names_go_when_they_are_a_day_old() {
    let world = world_with_backups(1).await;
    let options = world.backup_options();
    let draft = world.repository().begin(&vault(), &options.id, None).await.unwrap();
    let item = world.newest(VAULT).await.items.to_vec().unwrap().remove(0);
    let sealed = world.repository().read_item(&item).await.unwrap();
    let stored = draft.write(&item.id, &item.attributes, &sealed, world.now()).await.unwrap();
    // Not an item blob: somebody else's.
    let other = format!("vaults/{VAULT}/items/readme.txt");
    world.backups.create(&other, Bytes::new().into()).await.unwrap();
    world.pass(prune::SAFETY_AGE - Duration::from_secs(1));
    let (plan, report) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!((plan.unnamed.young, report.blobs), (1, 0));
    world.pass(Duration::from_secs(1));
    let (_, report) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!((report.blobs, report.bytes), (1, stored.size));
    let left = world.blobs().await;
    assert!(!left.contains(&stored.blob.to_string()) && left.contains(&other));
}

/// A prune beside a restore that goes on after days could take away what its first attempt left.
#[tokio::test(start_paused = true)]
async fn what_an_interrupted_safety_copy_left_is_not_used_again() {
    let world = world_with_backups(1).await;
    let item = world.newest(VAULT).await.items.to_vec().unwrap().remove(0);
    let sealed = world.repository().read_item(&item).await.unwrap();
    for (label, is_used) in [(None, true), (Some("safety-0b6ec4a1".parse().unwrap()), false)] {
        let id = world.backup_options().id;
        for attempt in 0..2 {
            let draft = world.repository().begin(&vault(), &id, label.as_ref()).await.unwrap();
            draft.write(&item.id, &item.attributes, &sealed, world.now()).await.unwrap();
            let leftover = draft.leftover(&item.id, &item.attributes).is_some();
            assert_eq!(leftover, is_used && attempt == 1, "{label:?}");
        }
    }
}
