//! What a drill shows, which vaults it refuses, and that it leaves the drill vault as it found it.

mod command;
mod interruption;
mod rounds;
mod trouble;

use keyvault_backup::{
    drill::{self, Evidence, Options},
    error::{ErrorKind, Result},
    report::{Progress, Status},
    repository::Selector,
    vault::Vault,
};
use simulator::key_vault::{ALL_DATA_ACTIONS, Delays, Kind, Operation, VaultOptions, Verb};
use uuid::Uuid;

use crate::{local_azure::LocalAzure, world::World};

const SOURCE: &str = "contoso-prod";
const TARGET: &str = "contoso-drill";

/// A source with items of each kind that has a backup, and an empty drill vault.
async fn backed_up() -> World {
    backed_up_beside(VaultOptions::default()).await
}

/// The same with a drill vault made in this way.
async fn backed_up_beside(target: VaultOptions) -> World {
    let world = World::with(&[SOURCE]);
    world.add(VaultOptions { name: TARGET.into(), ..target });
    world.vaults.set_secret_versions(SOURCE, "apple", 3);
    world.vaults.create_key(SOURCE, "key", "EC");
    world.vaults.create_certificate(SOURCE, "certificate");
    world.vaults.set_enabled(SOURCE, Kind::Key, "key", false);
    world.back_up(SOURCE).await.unwrap();
    world.vaults.reset_log();
    world
}

/// These vaults for the real binary, and an empty drill vault that forgets at once.
async fn azure_with(names: &[&str]) -> LocalAzure {
    let azure = LocalAzure::with(names).await;
    azure.vaults.add_vault(VaultOptions { name: TARGET.into(), delays: Delays::none(), ..Default::default() });
    azure.vaults.assign(&azure.identity, TARGET, ALL_DATA_ACTIONS);
    azure
}

fn options() -> Options {
    Options { backup: Selector::Latest, sample: None, concurrency: 4 }
}

async fn drill(world: &World, options: &Options) -> Result<Evidence> {
    drill_from(world, &world.vault(TARGET), Uuid::new_v4(), options).await
}

async fn drill_from(world: &World, target: &Vault, operation: Uuid, options: &Options) -> Result<Evidence> {
    let (source, repository, progress) = (SOURCE.parse().unwrap(), world.repository(), Progress::default());
    drill::run(&source, target, &repository, operation, options, &progress, world.now()).await
}

fn restores(world: &World) -> u64 {
    [Kind::Secret, Kind::Key, Kind::Certificate]
        .iter()
        .map(|kind| world.vaults.count(Operation::new(*kind, Verb::Restore)))
        .sum()
}

#[tokio::test(start_paused = true)]
async fn a_drill_restores_everything_compares_it_and_leaves_the_vault_as_it_was() {
    let world = backed_up().await;
    // Not in the way, and not the drill's to remove.
    world.vaults.set_secret(TARGET, "long-gone", "value");
    world.vaults.delete_now(TARGET, Kind::Secret, "long-gone");
    let (source, before) = (world.vaults.snapshot(SOURCE), world.vaults.snapshot(TARGET));
    let evidence = drill(&world, &options()).await.unwrap();
    assert_eq!((evidence.status, evidence.items.len(), evidence.problems.len()), (Status::Succeeded, 0, 0));
    assert_eq!(evidence.backup_id, world.newest(SOURCE).await.header.backup_id);
    assert_eq!((evidence.measured.items, evidence.measured.items_in_backup, restores(&world)), (3, 3, 3));
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
    assert_eq!(source.differences(&world.vaults.snapshot(SOURCE)), Vec::<String>::new());
    world.assert_all_known();
}

#[tokio::test(start_paused = true)]
async fn a_drill_measures_the_recovery_and_each_step() {
    let world = backed_up().await;
    world.vaults.set_latency(std::time::Duration::from_secs(2));
    let measured = drill(&world, &options()).await.unwrap().measured;
    // Finding out what is in the vault alone takes six requests, one after the other.
    assert!(measured.plan_seconds >= 12, "{measured:?}");
    assert!(measured.restore_seconds >= 6 && measured.compare_seconds >= 2, "{measured:?}");
    assert_eq!(measured.recovery_seconds, measured.plan_seconds + measured.restore_seconds);
    // A certificate is deleted for ten seconds (recorded).
    assert!(measured.clean_up_seconds >= 10, "{measured:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sample_has_the_stated_size_and_another_drill_takes_another_one() {
    let world = World::with(&[SOURCE, TARGET]);
    world.vaults.seed(SOURCE, 40);
    world.back_up(SOURCE).await.unwrap();
    let options = Options { sample: Some(5), ..options() };
    let mut samples = Vec::new();
    for operation in [1, 1, 2] {
        world.vaults.reset_log();
        let target = world.vault(TARGET);
        let evidence = drill_from(&world, &target, Uuid::from_u128(operation), &options).await.unwrap();
        assert_eq!(
            (evidence.status, evidence.measured.items, evidence.measured.items_in_backup),
            (Status::Succeeded, 5, 40)
        );
        let all = world.vaults.requests();
        let mut deleted: Vec<String> = all
            .iter()
            .filter(|request| request.operation.is_some_and(|operation| operation.verb == Verb::Purge))
            .map(|request| request.name.clone())
            .filter(|name| !name.starts_with("keyvault-backup-probe"))
            .collect();
        deleted.sort();
        // The second is the repetition of the first, which has ended.
        assert_eq!(deleted.len(), if samples.len() == 1 { 0 } else { 5 });
        samples.push(deleted);
    }
    assert_ne!(samples[0], samples[2]);
    let more = Options { sample: Some(400), ..options };
    assert_eq!(drill(&world, &more).await.unwrap().measured.items, 40);
}

#[tokio::test(start_paused = true)]
async fn a_named_backup_is_drilled_also_when_it_is_not_the_newest() {
    let world = backed_up().await;
    let first = world.newest(SOURCE).await.header.backup_id;
    world.pass(std::time::Duration::from_secs(86_400));
    world.vaults.set_secret(SOURCE, "apple", "changed");
    world.back_up(SOURCE).await.unwrap();
    let evidence = drill(&world, &Options { backup: Selector::Id(first.clone()), ..options() }).await.unwrap();
    assert_eq!((evidence.backup_id, evidence.status), (first, Status::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_vault_without_a_backup_cannot_be_drilled_and_is_said_to_have_none() {
    let world = World::with(&[SOURCE, TARGET]);
    let error = drill(&world, &options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("there is no backup of that vault"), "{error}");
    assert_eq!(world.vaults.requests().len(), 0);
}

/// Nothing was asked for but to look, and to delete what nobody has.
fn assert_nothing_was_touched(world: &World, before: &simulator::key_vault::Snapshot, case: &str) {
    assert_eq!(before.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new(), "{case}");
    let changes = world.vaults.requests().into_iter().filter(|request| request.method != "GET");
    for request in changes {
        assert!(request.name.starts_with("keyvault-backup-probe-"), "{case}: {request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_not_empty_is_refused_whatever_it_holds() {
    for kind in Kind::ALL {
        let world = backed_up().await;
        match kind {
            Kind::Secret => drop(world.vaults.set_secret(TARGET, "theirs", "value")),
            Kind::Key => drop(world.vaults.create_key(TARGET, "theirs", "EC")),
            Kind::Certificate => drop(world.vaults.create_certificate(TARGET, "theirs")),
        }
        let before = world.vaults.snapshot(TARGET);
        let error = drill(&world, &options()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("is not empty") && error.message().contains("/theirs"), "{error}");
        assert_nothing_was_touched(&world, &before, kind.word());
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_item_that_holds_a_name_of_the_drill_is_refused() {
    // A plain secret holds the name of the certificate's own secret.
    for (name, item) in [("apple", "secrets/apple"), ("certificate", "certificates/certificate")] {
        let world = backed_up().await;
        world.vaults.set_secret(TARGET, name, "value");
        world.vaults.delete_now(TARGET, Kind::Secret, name);
        let before = world.vaults.snapshot(TARGET);
        let error = drill(&world, &options()).await.unwrap_err();
        assert_eq!((error.kind(), error.target()), (ErrorKind::Conflict, Some(item)), "{error}");
        assert!(error.message().contains("a name is taken there"), "{error}");
        assert_nothing_was_touched(&world, &before, name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_is_never_drilled_in_itself() {
    let world = backed_up().await;
    let before = world.vaults.snapshot(SOURCE);
    world.vaults.lose_everything(TARGET);
    let error = drill_from(&world, &world.vault(SOURCE), Uuid::new_v4(), &options()).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::InvalidInput, Some("targetVault")));
    assert_eq!(before.differences(&world.vaults.snapshot(SOURCE)), Vec::<String>::new());
    assert_eq!(world.vaults.requests().len(), 0);
}

/// An empty vault does not tell that it has purge protection; the first item in it does.
#[tokio::test(start_paused = true)]
async fn purge_protection_is_refused_after_the_first_item_at_the_latest() {
    let world = backed_up_beside(VaultOptions { purge_protection: true, ..Default::default() }).await;
    let error = drill(&world, &options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("purge protection"), "{error}");
    assert!(error.message().contains("certificates/certificate was there, as the first item"), "{error}");
    assert_eq!(restores(&world), 1);
    let after = world.vaults.snapshot(TARGET);
    assert!(after.items.values().all(|item| !item.active), "{after:?}");

    // From now on a deleted item tells.
    world.vaults.reset_log();
    let error = drill(&world, &options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert_nothing_was_touched(&world, &after, "the second drill");
}
