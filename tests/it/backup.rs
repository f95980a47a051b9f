//! What a backup holds, what it reads again, and what it says about that which could not be read.

mod changes;
mod concurrent;
mod memory;
mod overlap;
mod trouble;

use std::time::Duration;

use keyvault_backup::{
    model::{Kind, filter::ItemFilter},
    report::Status,
    repository::manifest::{Item, Manifest},
};
use simulator::key_vault::{Kind as SimulatedKind, Operation, Verb};

use crate::world::World;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// Long enough that a copy taken now is trusted by the next run.
pub(crate) const SETTLED: Duration = Duration::from_secs(60);

/// The item called so, such as `secrets/apple`.
pub(crate) fn item(manifest: &Manifest, name: &str) -> Item {
    find(manifest, name).unwrap_or_else(|| panic!("{name} is not in the backup"))
}

pub(crate) fn find(manifest: &Manifest, name: &str) -> Option<Item> {
    manifest.items.iter().map(Result::unwrap).find(|item| item.id.to_string() == name)
}

pub(crate) fn names(manifest: &Manifest) -> Vec<String> {
    manifest.items.iter().map(Result::unwrap).map(|item| item.id.to_string()).collect()
}

/// How many items were backed up by their vault.
pub(crate) fn backups_taken(world: &World) -> u64 {
    SimulatedKind::ALL.into_iter().map(|kind| world.vaults.count(Operation::new(kind, Verb::Backup))).sum()
}

#[tokio::test(start_paused = true)]
async fn an_empty_vault_has_an_empty_backup() {
    let world = World::with(&["contoso-prod", "contoso-dr"]);
    let header = world.back_up("contoso-prod").await.unwrap();
    assert_eq!((header.status, header.counts.items()), (Status::Succeeded, 0));
    assert!(world.newest("contoso-prod").await.items.is_empty());
    assert!(world.restore("contoso-prod", "contoso-dr").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_item_is_backed_up_on_both_sides_of_the_page_boundaries() {
    for count in [1, 24, 25, 26, 50, 51, 1_001] {
        let world = World::with(&["contoso-prod"]);
        for number in 0..count {
            world.vaults.set_secret("contoso-prod", &format!("secret-{number:04}"), "value");
        }
        let header = world.back_up("contoso-prod").await.unwrap();
        assert_eq!((header.status, header.counts.secrets), (Status::Succeeded, count), "{header:?}");
        let manifest = world.newest("contoso-prod").await;
        let wanted: Vec<String> = (0..count).map(|number| format!("secrets/secret-{number:04}")).collect();
        assert_eq!(names(&manifest), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_cut_short_by_deleted_items_hide_nothing() {
    let world = World::with(&["contoso-prod"]);
    for number in 0..120 {
        world.vaults.set_secret("contoso-prod", &format!("secret-{number:04}"), "value");
    }
    for number in (0..100).filter(|number| number % 50 != 7) {
        world.vaults.delete_now("contoso-prod", SimulatedKind::Secret, &format!("secret-{number:04}"));
    }
    let header = world.back_up("contoso-prod").await.unwrap();
    assert_eq!((header.status, header.counts.secrets), (Status::Succeeded, 22));
}

#[tokio::test(start_paused = true)]
async fn items_outside_the_filter_are_counted_and_left_out() {
    let world = World::with(&["contoso-prod"]);
    for name in ["db-one", "db-two", "tmp-one"] {
        world.vaults.set_secret("contoso-prod", name, "value");
        world.vaults.create_key("contoso-prod", &format!("key-{name}"), "EC");
    }
    let mut options = world.backup_options();
    options.filter = ItemFilter::new(["secrets/*", "keys/key-DB-*", "!*/tmp-*"]).unwrap();
    let header = world.back_up_with("contoso-prod", &options).await.unwrap();
    assert_eq!((header.status, header.counts.items(), header.counts.filtered_out), (Status::Succeeded, 4, 2));
    assert_eq!(header.filter, ["secrets/*", "keys/key-DB-*", "!*/tmp-*"]);
    let manifest = world.newest("contoso-prod").await;
    assert_eq!(names(&manifest), ["keys/key-db-one", "keys/key-db-two", "secrets/db-one", "secrets/db-two"]);
    assert_eq!(backups_taken(&world), 4);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_a_narrower_filter_leaves_out_is_not_carried_over() {
    let world = World::with(&["contoso-prod"]);
    for name in ["apple", "pear"] {
        world.vaults.set_secret("contoso-prod", name, "value");
    }
    world.back_up("contoso-prod").await.unwrap();
    world.pass(DAY);
    let mut options = world.backup_options();
    options.filter = ItemFilter::new(["secrets/apple"]).unwrap();
    world.back_up_with("contoso-prod", &options).await.unwrap();
    assert_eq!(names(&world.newest("contoso-prod").await), ["secrets/apple"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_certificate_owns_is_skipped_and_counted() {
    let world = World::with(&["contoso-prod"]);
    for name in ["web", "api"] {
        world.vaults.create_certificate("contoso-prod", name);
    }
    world.vaults.set_secret("contoso-prod", "plain", "value");
    let header = world.back_up("contoso-prod").await.unwrap();
    let counts = header.counts;
    assert_eq!((counts.certificates, counts.keys, counts.secrets, counts.managed_skipped), (2, 0, 1, 4));
    assert_eq!(names(&world.newest("contoso-prod").await), ["certificates/api", "certificates/web", "secrets/plain"]);
    assert_eq!(backups_taken(&world), 3);
}

#[tokio::test(start_paused = true)]
async fn disabled_and_expired_items_are_backed_up() {
    let world = World::with(&["contoso-prod"]);
    world.vaults.set_secret("contoso-prod", "off", "value");
    world.vaults.set_enabled("contoso-prod", SimulatedKind::Secret, "off", false);
    world.vaults.set_secret("contoso-prod", "expired", "value");
    let attributes = serde_json::json!({"attributes": {"exp": 1_000_000_000}});
    world.ask(azure_core::http::Method::Patch, "contoso-prod/secrets/expired", attributes).await;
    let header = world.back_up("contoso-prod").await.unwrap();
    assert_eq!((header.status, header.counts.secrets), (Status::Succeeded, 2));
    assert!(!item(&world.newest("contoso-prod").await, "secrets/off").attributes.enabled);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_unchanged_items_cost_the_pages_and_at_most_ten_requests_more() {
    let world = World::with(&["contoso-prod"]);
    for number in 0..10_000 {
        world.vaults.set_secret("contoso-prod", &format!("secret-{number:05}"), "value");
    }
    world.pass(DAY);
    let mut options = world.backup_options();
    options.concurrency = 64;
    let first = world.back_up_with("contoso-prod", &options).await.unwrap();
    assert_eq!((first.status, first.counts.read), (Status::Succeeded, 10_000));

    world.pass(DAY);
    let before = world.door.requests();
    let second = world.back_up("contoso-prod").await.unwrap();
    assert_eq!((second.status, second.counts.read, second.counts.carried_over), (Status::Succeeded, 0, 10_000));
    // 400 pages of secrets, and one of keys and of certificates.
    let requests = world.door.requests() - before;
    assert!(requests <= 402 + 10, "{requests} requests");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_says_where_every_item_stands() {
    let world = World::with(&["contoso-prod"]);
    world.vaults.set_secret_versions("contoso-prod", "apple", 3);
    world.vaults.create_key("contoso-prod", "pear", "RSA");
    let started = world.now();
    let header = world.back_up("contoso-prod").await.unwrap();
    let manifest = world.newest("contoso-prod").await;
    assert_eq!(manifest.header, header);
    assert_eq!((header.started_at, header.full, header.previous_backup), (started, true, None));
    let snapshot = world.vaults.snapshot("contoso-prod");
    for (name, kind) in [("apple", SimulatedKind::Secret), ("pear", SimulatedKind::Key)] {
        let state = &snapshot.items[&(kind, name.to_owned())];
        let stored = manifest.items.iter().map(Result::unwrap).find(|item| item.id.name.as_str() == name).unwrap();
        assert_eq!((&*stored.version, stored.versions as usize), (&*state.current, state.versions.len()));
        assert!(stored.ties.is_empty() && stored.stale.is_none());
        let sealed = world.repository().read_item(&stored).await.unwrap();
        assert_eq!((sealed.bytes().len() as u64, &*sealed.sha256()), (stored.size, &*stored.sha256));
    }
    assert_eq!(header.counts.bytes, manifest.items.iter().map(Result::unwrap).map(|item| item.size).sum::<u64>());
    assert!(manifest.items.iter().map(Result::unwrap).all(|item| item.id.kind != Kind::Certificates));
}

/// The exact bytes that Key Vault handed out are stored, so that every other tool can restore them.
#[tokio::test(start_paused = true)]
async fn an_item_blob_is_accepted_by_key_vault_as_it_is() {
    let world = World::with(&["contoso-prod", "contoso-dr"]);
    world.vaults.seed("contoso-prod", 10);
    world.back_up("contoso-prod").await.unwrap();
    for item in world.newest("contoso-prod").await.items.to_vec().unwrap() {
        let blob = keyvault_backup::store::Store::read(&world.backups, &item.blob).await.unwrap();
        let sealed = keyvault_backup::model::Sealed::new(blob);
        world.vault("contoso-dr").restore(&item.id, &sealed).await.unwrap();
    }
    let (source, target) = (world.vaults.snapshot("contoso-prod"), world.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
}
