//! What differs between two backups, or a backup and the live vault: the comparison, the command, and the HTTP API.

mod live;

use std::time::Duration;

use azure_core::http::Method;
use keyvault_backup::{
    backup::Options,
    diff::{Change, Diff, Difference, Side},
    model::{BackupId, filter::ItemFilter},
    repository::{Selector, manifest::Manifest},
    vault::Listed,
};
use serde_json::json;
use simulator::key_vault::{Fault, Kind, Operation, Verb};

use crate::world::World;

const VAULT: &str = "contoso-prod";

/// A vault with items of all kinds that were made a day ago, and a backup of it.
async fn backed_up() -> (World, Manifest) {
    let world = World::with(&[VAULT, "contoso-dr"]);
    for name in ["apple", "cherry", "fig", "plum"] {
        world.vaults.set_secret(VAULT, name, "value");
    }
    world.vaults.create_key(VAULT, "key", "RSA");
    world.vaults.create_certificate(VAULT, "certificate");
    world.pass(Duration::from_secs(86_400));
    let first = back_up(&world, world.backup_options()).await;
    world.pass(Duration::from_secs(3600));
    (world, first)
}

async fn back_up(world: &World, options: Options) -> Manifest {
    let header = world.back_up_with(VAULT, &options).await.unwrap();
    let repository = world.repository();
    let backup = repository.find(&header.vault, &Selector::Id(header.backup_id)).await.unwrap();
    repository.open(&backup).await.unwrap()
}

fn between(from: &Manifest, to: &Manifest) -> Diff {
    Diff::between(&Side::of_backup(from.clone()).unwrap(), &Side::of_backup(to.clone()).unwrap()).unwrap()
}

/// `secrets/apple: rotated, attributes (expires)`
fn rows(diff: &Diff) -> Vec<String> {
    let row = |difference: Difference| {
        let Difference { item, changes, fields, .. } = difference;
        let changes: Vec<&str> = changes.iter().map(|change| change.as_str()).collect();
        let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
        format!("{item}: {}{fields}", changes.join(", "))
    };
    diff.differences.iter().map(Result::unwrap).map(row).collect()
}

#[tokio::test(start_paused = true)]
async fn every_change_between_two_backups_is_named_and_backwards_its_reverse() {
    let (world, first) = backed_up().await;
    world.vaults.set_secret(VAULT, "apple", "new value");
    world.vaults.create_key(VAULT, "key", "RSA");
    world.vaults.set_enabled(VAULT, Kind::Secret, "cherry", false);
    let change = json!({ "contentType": "text/plain", "tags": { "owner": "payments" },
        "attributes": { "nbf": 1_700_000_000, "exp": 1_900_000_000 } });
    world.ask(Method::Patch, "contoso-prod/secrets/fig", change).await;
    world.ask(Method::Delete, "contoso-prod/secrets/plum", json!(null)).await;
    world.vaults.set_secret(VAULT, "quince", "value");
    let second = back_up(&world, world.backup_options()).await;

    let diff = between(&first, &second);
    assert_eq!(
        rows(&diff),
        [
            "keys/key: rotated",
            "secrets/apple: rotated",
            "secrets/cherry: disabled",
            "secrets/fig: attributes (notBefore, expires, contentType, tags.owner)",
            "secrets/plum: removed",
            "secrets/quince: added",
        ]
    );
    assert_eq!((diff.same, diff.filtered_out, diff.not_compared, diff.failures.len()), (1, 0, 0, 0));
    assert_eq!(Change::ALL.map(|change| diff.count(change)), [1, 1, 2, 1, 0, 1, 0]);
    let apple = diff.differences.get(1).unwrap().unwrap();
    assert_ne!(apple.from.as_ref().unwrap().version, apple.to.as_ref().unwrap().version);
    let back = between(&second, &first);
    assert_eq!((back.count(Change::Added), back.count(Change::Removed), back.count(Change::Enabled)), (1, 1, 1));
    assert_eq!((back.count(Change::Rotated), back.count(Change::Attributes), back.same), (2, 1, 1));
    for manifest in [&first, &second] {
        let diff = between(manifest, manifest);
        assert_eq!((rows(&diff), diff.same), (Vec::new(), manifest.items.len() as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_listing_does_not_show_is_told_by_its_time() {
    let (world, first) = backed_up().await;
    for enabled in [false, true] {
        let change = json!({ "attributes": { "enabled": enabled } });
        world.ask(Method::Patch, "contoso-prod/secrets/cherry", change).await;
        world.pass(Duration::from_secs(60));
    }
    let second = back_up(&world, world.backup_options()).await;
    assert_eq!(rows(&between(&first, &second)), ["secrets/cherry: attributes (updated)"]);
}

#[tokio::test(start_paused = true)]
async fn an_older_copy_is_stale_and_what_could_not_be_read_at_all_is_not_called_removed() {
    let (world, first) = backed_up().await;
    world.vaults.set_secret(VAULT, "apple", "new value");
    world.vaults.set_secret(VAULT, "quince", "value");
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::Backup)));
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Key, Verb::List)));
    let second = back_up(&world, world.backup_options()).await;
    assert_eq!(rows(&between(&first, &second)), ["keys/key: stale", "secrets/apple: stale"]);
    world.vaults.clear_faults();
    world.pass(Duration::from_secs(3600));
    let third = back_up(&world, world.backup_options()).await;
    // Whether it is new since the second one cannot be told: that one says it could not read it.
    let diff = between(&second, &third);
    assert_eq!(rows(&diff), ["keys/key: stale", "secrets/apple: rotated, stale"]);
    assert_eq!((diff.not_compared, diff.failures.len()), (1, 1));
    assert_eq!(diff.failures[0].name.as_deref(), Some("quince"));
    assert_eq!(rows(&between(&first, &third)), ["secrets/apple: rotated", "secrets/quince: added"]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_a_backup_could_not_list_is_not_compared() {
    let (world, _) = backed_up().await;
    // Without a backup to keep copies from, nothing of that kind is in the new one.
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Operation::new(Kind::Secret, Verb::List)));
    let other = World { backups: World::with(&[]).backups, ..world };
    let poor = back_up(&other, other.backup_options()).await;
    other.vaults.clear_faults();
    let rich = back_up(&other, other.backup_options()).await;
    for (from, to) in [(&poor, &rich), (&rich, &poor)] {
        let diff = between(from, to);
        assert_eq!((rows(&diff), diff.same, diff.not_compared), (Vec::new(), 2, 4));
        assert_eq!(diff.failures.len(), 1);
        assert!(diff.failures[0].reason.contains("secrets"), "{:?}", diff.failures);
    }
    // Both are as poor: that is told as well.
    assert_eq!(between(&poor, &poor).failures.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn items_that_one_backup_was_not_asked_for_are_neither_added_nor_removed() {
    let (world, first) = backed_up().await;
    world.vaults.set_secret(VAULT, "apple", "new value");
    let filter = ItemFilter::new(["secrets/*", "!secrets/f*"]).unwrap();
    let second = back_up(&world, Options { filter, ..world.backup_options() }).await;
    let diff = between(&first, &second);
    assert_eq!((rows(&diff), diff.same, diff.filtered_out), (vec!["secrets/apple: rotated".to_owned()], 2, 3));
    assert_eq!(between(&second, &first).filtered_out, 3);
}

#[tokio::test(start_paused = true)]
async fn a_restored_vault_is_the_same_as_the_one_it_was_restored_from() {
    let (world, first) = backed_up().await;
    world.restore(VAULT, "contoso-dr").await;
    let options = Options { id: BackupId::new(world.now(), 7), ..world.backup_options() };
    let header = world.back_up_with("contoso-dr", &options).await.unwrap();
    assert_eq!(header.vault.as_str(), "contoso-dr");
    let second = world.newest("contoso-dr").await;
    assert_eq!((rows(&between(&first, &second)), between(&first, &second).same), (Vec::new(), 6));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_a_listing_repeats_counts_once_and_managed_ones_not_at_all() {
    let (_, first) = backed_up().await;
    let listed = |item: &keyvault_backup::repository::manifest::Item, managed| Listed {
        item: item.id.clone(),
        attributes: item.attributes.clone(),
        managed,
    };
    let listing = |kind: &str, managed| {
        let of_kind = first.items.iter().map(Result::unwrap).filter(|item| item.id.kind.as_str() == kind);
        let rows: Vec<Listed> =
            of_kind.rev().flat_map(|item| [listed(&item, managed), listed(&item, managed)]).collect();
        (kind.parse().unwrap(), futures::stream::iter(rows.into_iter().map(Ok)))
    };
    let vault = [listing("secrets", false), listing("keys", true), listing("certificates", false)];
    let (vault, _) = Side::of_listings(vault, ItemFilter::all()).await;
    let diff = Diff::between(&Side::of_backup(first.clone()).unwrap(), &vault).unwrap();
    assert_eq!((rows(&diff), diff.same), (vec!["keys/key: removed".to_owned()], 5));
}
