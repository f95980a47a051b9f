//! What a restore plans, what it does, and what it says when the target is not as it should be.

mod memory;
mod order;
mod replace;
mod selection;
mod trouble;

use std::collections::BTreeMap;

use azure_core::http::Method;
use keyvault_backup::{
    error::{ErrorKind, Result},
    report::{ItemReport, Outcome, Progress, Status},
    repository::manifest::Manifest,
    restore::{self, Action, OnConflict, OnDeleted, Options, Plan},
    vault::Vault,
};
use serde_json::Value;
use simulator::key_vault::{Kind, VaultOptions};

use crate::world::World;

pub(crate) const SOURCE: &str = "contoso-prod";
pub(crate) const TARGET: &str = "contoso-dr";

/// A source with one item of each kind that has a backup, and an empty target.
pub(crate) async fn backed_up() -> (World, Manifest) {
    backed_up_beside(VaultOptions::default()).await
}

/// The same with a target made in this way.
pub(crate) async fn backed_up_beside(target: VaultOptions) -> (World, Manifest) {
    let world = World::with(&[SOURCE]);
    world.add(VaultOptions { name: TARGET.into(), ..target });
    world.vaults.set_secret_versions(SOURCE, "apple", 3);
    world.vaults.create_key(SOURCE, "key", "EC");
    world.vaults.create_certificate(SOURCE, "certificate");
    world.back_up(SOURCE).await.unwrap();
    let manifest = world.newest(SOURCE).await;
    (world, manifest)
}

pub(crate) async fn plan_with(world: &World, manifest: &Manifest, options: &Options) -> Result<Plan> {
    restore::plan(manifest, &world.vault(TARGET), options).await
}

pub(crate) async fn execute(world: &World, manifest: &Manifest, plan: &Plan, target: &Vault) -> Vec<ItemReport> {
    let options = world.restore_options();
    restore::execute(plan, manifest, &world.repository(), target, &options, false, &Progress::default())
        .await
        .unwrap()
        .to_vec()
        .unwrap()
}

/// The actions of a plan by item.
pub(crate) fn actions(plan: &Plan) -> BTreeMap<String, Action> {
    plan.steps.iter().map(Result::unwrap).map(|step| (step.item.to_string(), step.action)).collect()
}

/// The status of a restore that ended so.
pub(crate) fn status_of(reports: &[ItemReport]) -> Status {
    restore::status(reports.iter().map(|report| report.outcome))
}

/// The outcomes of a restore by item.
pub(crate) fn outcomes(reports: &[ItemReport]) -> BTreeMap<String, Outcome> {
    reports.iter().map(|report| (report.item.to_string(), report.outcome)).collect()
}

/// What a report says about an item, such as `secrets/apple`.
pub(crate) fn said<'a>(reports: &'a [ItemReport], item: &str) -> &'a str {
    let report = reports.iter().find(|report| report.item.to_string() == item).unwrap();
    report.problem.as_ref().map(|problem| problem.message.as_str()).unwrap_or_default()
}

fn all<T: Copy>(value: T) -> BTreeMap<String, T> {
    ["certificates/certificate", "keys/key", "secrets/apple"].map(|item| (item.to_owned(), value)).into()
}

fn with<T: Copy>(mut map: BTreeMap<String, T>, item: &str, value: T) -> BTreeMap<String, T> {
    map.insert(item.to_owned(), value);
    map
}

#[tokio::test(start_paused = true)]
async fn a_plan_changes_nothing() {
    let (world, manifest) = backed_up().await;
    world.vaults.set_secret(TARGET, "apple", "another");
    let before = world.vaults.snapshot(TARGET);
    world.vaults.reset_log();
    let plan = world.plan(&manifest, TARGET).await;
    assert_eq!(actions(&plan), with(all(Action::Restore), "secrets/apple", Action::Skip));
    assert!(world.vaults.requests().iter().all(|request| request.method == "GET"));
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
    assert!(world.blobs().await.iter().all(|blob| blob.starts_with("vaults/contoso-prod/")));
}

#[tokio::test(start_paused = true)]
async fn what_changed_since_the_plan_is_left_alone_and_the_report_says_so() {
    let (world, manifest) = backed_up().await;
    let plan = world.plan(&manifest, TARGET).await;
    let version = world.vaults.set_secret(TARGET, "apple", "somebody was faster");
    let reports = execute(&world, &manifest, &plan, &world.vault(TARGET)).await;
    assert_eq!(outcomes(&reports), with(all(Outcome::Restored), "secrets/apple", Outcome::Failed));
    let message = said(&reports, "secrets/apple");
    assert!(message.contains("since the restore was planned") && message.contains(&version), "{message}");
    let apple = &world.vaults.snapshot(TARGET).items[&(Kind::Secret, "apple".to_owned())];
    assert_eq!((&apple.current, apple.versions.len()), (&version, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_vault_comes_back_in_its_own_place() {
    let (world, _) = backed_up().await;
    let before = world.vaults.snapshot(SOURCE);
    world.vaults.lose_everything(SOURCE);
    let reports = world.restore(SOURCE, SOURCE).await;
    assert_eq!(outcomes(&reports), all(Outcome::Restored));
    assert_eq!(before.differences(&world.vaults.snapshot(SOURCE)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_on_the_version_of_the_backup_is_left_and_told() {
    let (world, manifest) = backed_up().await;
    world.vaults.set_enabled(SOURCE, Kind::Secret, "apple", false);
    let plan = world.plan(&manifest, SOURCE).await;
    let step = plan.steps.iter().map(Result::unwrap).find(|step| step.item.to_string() == "secrets/apple").unwrap();
    let reason = step.reason.as_deref().unwrap();
    assert_eq!((step.action, reason.contains("enabled differs")), (Action::AlreadyPresent, true), "{reason}");
    let before = world.vaults.snapshot(SOURCE);
    let reports = world.restore(SOURCE, SOURCE).await;
    let told: Vec<&str> =
        reports.iter().filter_map(|report| report.problem.as_ref()).map(|problem| &*problem.message).collect();
    assert!(matches!(told[..], [only] if only.contains("secrets/apple was left as it is")), "{told:?}");
    assert_eq!(status_of(&reports), Status::Succeeded);
    assert_eq!(before.differences(&world.vaults.snapshot(SOURCE)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_restore_finds_everything_present_and_changes_nothing() {
    let (world, _) = backed_up().await;
    assert_eq!(outcomes(&world.restore(SOURCE, TARGET).await), all(Outcome::Restored));
    world.vaults.reset_log();
    let reports = world.restore(SOURCE, TARGET).await;
    assert_eq!(outcomes(&reports), all(Outcome::AlreadyPresent));
    assert_eq!(status_of(&reports), Status::Succeeded);
    assert!(reports.iter().all(|report| report.version.is_some()));
    assert!(world.vaults.requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test(start_paused = true)]
async fn another_version_in_the_target_is_left_alone_and_named() {
    let (world, _) = backed_up().await;
    let version = world.vaults.set_secret(TARGET, "APPLE", "another");
    let reports = world.restore(SOURCE, TARGET).await;
    assert_eq!(outcomes(&reports), with(all(Outcome::Restored), "secrets/apple", Outcome::Skipped));
    assert_eq!(status_of(&reports), Status::PartiallySucceeded);
    assert!(said(&reports, "secrets/apple").contains(&version), "{reports:?}");
    let state = &world.vaults.snapshot(TARGET).items[&(Kind::Secret, "APPLE".to_owned())];
    assert_eq!((&state.current, state.versions.len()), (&version, 1));
}

#[tokio::test(start_paused = true)]
async fn conflicts_that_are_to_fail_refuse_the_whole_restore() {
    let (world, manifest) = backed_up().await;
    world.vaults.set_secret(TARGET, "apple", "another");
    let options = Options { on_conflict: OnConflict::Fail, ..world.restore_options() };
    let plan = plan_with(&world, &manifest, &options).await.unwrap();
    assert_eq!(actions(&plan), with(all(Action::Restore), "secrets/apple", Action::Blocked));
    let refusal = plan.refusal(&options).unwrap().unwrap();
    assert_eq!((refusal.kind(), refusal.target()), (ErrorKind::Conflict, Some("secrets/apple")));
    assert!(refusal.message().starts_with("Nothing was restored into vault contoso-dr"), "{refusal}");

    world.vaults.purge_now(TARGET, Kind::Secret, "apple");
    let plan = plan_with(&world, &manifest, &options).await.unwrap();
    assert!(plan.refusal(&options).unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_does_not_fail_a_restore_whose_conflicts_are_to_fail() {
    let (world, manifest) = backed_up().await;
    world.restore(SOURCE, TARGET).await;
    let options = Options { on_conflict: OnConflict::Fail, on_deleted: OnDeleted::Fail, ..world.restore_options() };
    let plan = plan_with(&world, &manifest, &options).await.unwrap();
    assert_eq!((actions(&plan), plan.refusal(&options).unwrap().is_none()), (all(Action::AlreadyPresent), true));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_item_is_recovered() {
    let (world, _) = backed_up().await;
    let before = world.vaults.snapshot(SOURCE);
    for (kind, name) in [(Kind::Secret, "apple"), (Kind::Key, "key"), (Kind::Certificate, "certificate")] {
        world.vaults.delete_now(SOURCE, kind, name);
    }
    let reports = world.restore(SOURCE, SOURCE).await;
    assert_eq!(outcomes(&reports), all(Outcome::Recovered));
    assert_eq!(before.differences(&world.vaults.snapshot(SOURCE)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_item_of_another_version_is_a_conflict_and_stays_deleted() {
    let (world, _) = backed_up().await;
    let version = world.vaults.set_secret(TARGET, "apple", "another");
    world.vaults.delete_now(TARGET, Kind::Secret, "apple");
    let reports = world.restore(SOURCE, TARGET).await;
    assert_eq!(outcomes(&reports), with(all(Outcome::Restored), "secrets/apple", Outcome::Skipped));
    assert!(said(&reports, "secrets/apple").contains(&version), "{reports:?}");
}

#[tokio::test(start_paused = true)]
async fn deleted_items_that_are_to_fail_refuse_the_whole_restore() {
    let (world, manifest) = backed_up().await;
    world.vaults.set_secret(TARGET, "apple", "another");
    world.vaults.delete_now(TARGET, Kind::Secret, "apple");
    let options = Options { on_deleted: OnDeleted::Fail, ..world.restore_options() };
    let plan = plan_with(&world, &manifest, &options).await.unwrap();
    assert_eq!(actions(&plan), with(all(Action::Restore), "secrets/apple", Action::Blocked));
    assert_eq!(plan.refusal(&options).unwrap().unwrap().kind(), ErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_belongs_to_a_certificate_is_blocked_with_the_reason() {
    for deleted in [false, true] {
        let (world, _) = backed_up().await;
        world.vaults.create_certificate(TARGET, "apple");
        world.vaults.create_certificate(TARGET, "key");
        if deleted {
            world.vaults.delete_now(TARGET, Kind::Certificate, "apple");
            world.vaults.delete_now(TARGET, Kind::Certificate, "key");
        }
        let before = world.vaults.snapshot(TARGET);
        let reports = world.restore(SOURCE, TARGET).await;
        let wanted = with(all(Outcome::Blocked), "certificates/certificate", Outcome::Restored);
        assert_eq!(outcomes(&reports), wanted);
        assert!(said(&reports, "secrets/apple").contains("belongs to certificates/apple"), "{reports:?}");
        assert!(said(&reports, "keys/key").contains("belongs to certificates/key"), "{reports:?}");
        let after = world.vaults.snapshot(TARGET);
        assert!(before.items.iter().all(|(key, state)| after.items.get(key) == Some(state)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_blocked_by_a_plain_item_of_its_name() {
    for (kind, deleted) in [(Kind::Key, false), (Kind::Secret, false), (Kind::Key, true), (Kind::Secret, true)] {
        let (world, _) = backed_up().await;
        match kind {
            Kind::Key => world.vaults.create_key(TARGET, "certificate", "EC"),
            _ => world.vaults.set_secret(TARGET, "certificate", "plain"),
        };
        if deleted {
            world.vaults.delete_now(TARGET, kind, "certificate");
        }
        let reports = world.restore(SOURCE, TARGET).await;
        let wanted = with(all(Outcome::Restored), "certificates/certificate", Outcome::Blocked);
        assert_eq!(outcomes(&reports), wanted, "{kind:?} {deleted}");
        let in_the_way = format!("{}/certificate", kind.plural());
        assert!(said(&reports, "certificates/certificate").contains(&in_the_way), "{reports:?}");
    }
}

/// Purging answers at once and frees the name only seconds later; until then Key Vault refuses with a bare 409.
#[tokio::test(start_paused = true)]
async fn names_that_are_still_being_purged_are_waited_for() {
    let (world, _) = backed_up().await;
    let before = world.vaults.snapshot(SOURCE);
    for item in ["secrets/apple", "keys/key", "certificates/certificate"] {
        world.ask(Method::Delete, &format!("{SOURCE}/{item}"), Value::Null).await;
    }
    world.pass(std::time::Duration::from_secs(30));
    for item in ["secrets/apple", "keys/key", "certificates/certificate"] {
        world.ask(Method::Delete, &format!("{SOURCE}/deleted{item}"), Value::Null).await;
    }
    let reports = world.restore(SOURCE, SOURCE).await;
    assert_eq!(outcomes(&reports), all(Outcome::Restored), "{reports:?}");
    assert!(world.vaults.count_status(409) >= 3);
    assert_eq!(before.differences(&world.vaults.snapshot(SOURCE)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn versions_of_one_second_that_cannot_be_told_apart_do_not_fail_a_restore() {
    let world = World::with(&[SOURCE, TARGET]);
    for value in ["one", "two", "three"] {
        world.vaults.set_secret(SOURCE, "apple", value);
        world.vaults.create_key(SOURCE, "key", "EC");
    }
    world.back_up(SOURCE).await.unwrap();
    for wanted in [Outcome::Restored, Outcome::AlreadyPresent] {
        let reports = world.restore(SOURCE, TARGET).await;
        assert!(reports.iter().all(|report| report.outcome == wanted), "{reports:?}");
    }
}
