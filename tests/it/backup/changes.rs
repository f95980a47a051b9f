//! What changed since the last backup is read again, what did not is carried over.

use azure_core::http::Method;
use keyvault_backup::{
    model::{BackupId, Timestamp},
    report::Status,
};
use serde_json::json;
use simulator::key_vault::Kind;

use super::{DAY, SETTLED, backups_taken, find, item, names};
use crate::world::World;

const VAULT: &str = "contoso-prod";

/// A vault with a backup that is a day old.
async fn backed_up() -> World {
    let world = World::with(&[VAULT]);
    for name in ["apple", "cherry", "fig"] {
        world.vaults.set_secret(VAULT, name, "value");
    }
    world.vaults.create_key(VAULT, "key", "RSA");
    world.vaults.create_certificate(VAULT, "certificate");
    world.pass(SETTLED);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.read), (Status::Succeeded, 5));
    world.pass(DAY);
    world.vaults.reset_log();
    world
}

#[tokio::test(start_paused = true)]
async fn what_did_not_change_is_carried_over_with_its_old_blob() {
    let world = backed_up().await;
    let before = world.newest(VAULT).await;
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.counts.read, header.counts.carried_over, header.full), (0, 5, false));
    assert_eq!(header.previous_backup.as_ref(), Some(&before.header.backup_id));
    assert_eq!(world.newest(VAULT).await.items, before.items);
    assert_eq!(backups_taken(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_read() {
    let world = backed_up().await;
    let secret = world.vaults.set_secret(VAULT, "apple", "new value");
    let key = world.vaults.create_key(VAULT, "key", "RSA");
    let certificate = world.vaults.create_certificate(VAULT, "certificate");
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.counts.read, header.counts.carried_over), (3, 2));
    let manifest = world.newest(VAULT).await;
    for (name, version) in [("secrets/apple", secret), ("keys/key", key), ("certificates/certificate", certificate)] {
        assert_eq!((&*item(&manifest, name).version, item(&manifest, name).versions), (&*version, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_that_a_listing_shows_is_read() {
    for change in [
        json!({"tags": {"owner": "somebody"}}),
        json!({"attributes": {"enabled": false}}),
        json!({"attributes": {"exp": 2_000_000_000}}),
        json!({"attributes": {"nbf": 1_000_000_000}}),
        json!({"contentType": "text/plain"}),
    ] {
        let world = backed_up().await;
        world.ask(Method::Patch, "contoso-prod/secrets/apple", change.clone()).await;
        let header = world.back_up(VAULT).await.unwrap();
        assert_eq!((header.counts.read, header.counts.carried_over), (1, 4), "{change}");
        let manifest = world.newest(VAULT).await;
        let current = world.vault(VAULT).current(&item(&manifest, "secrets/apple").id, None).await.unwrap().unwrap();
        assert_eq!(item(&manifest, "secrets/apple").attributes, current.attributes, "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_item_is_not_in_the_next_backup_and_stays_in_the_one_before() {
    let world = backed_up().await;
    let before = world.newest(VAULT).await;
    world.vaults.delete_now(VAULT, Kind::Secret, "apple");
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.items()), (Status::Succeeded, 4));
    assert!(find(&world.newest(VAULT).await, "secrets/apple").is_none());
    world.repository().read_item(&item(&before, "secrets/apple")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_item_made_again_in_another_case_is_read_under_its_new_name() {
    let world = backed_up().await;
    world.vaults.purge_now(VAULT, Kind::Secret, "apple");
    let version = world.vaults.set_secret(VAULT, "Apple", "another value");
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.read, header.counts.items()), (Status::Succeeded, 1, 5));
    let manifest = world.newest(VAULT).await;
    assert_eq!(&*item(&manifest, "secrets/Apple").version, &*version);
}

/// Key Vault counts in whole seconds: a change in the second of a copy need not be in it, and looks the same.
#[tokio::test(start_paused = true)]
async fn an_item_changed_within_five_seconds_before_its_copy_is_read_again_once() {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "old", "value");
    world.pass(SETTLED);
    world.vaults.set_secret(VAULT, "fresh", "value");
    world.back_up(VAULT).await.unwrap();
    world.pass(SETTLED);
    let second = world.back_up(VAULT).await.unwrap();
    assert_eq!((second.counts.read, second.counts.carried_over), (1, 1));
    world.pass(SETTLED);
    let third = world.back_up(VAULT).await.unwrap();
    assert_eq!((third.counts.read, third.counts.carried_over), (0, 2));
}

/// The listing cannot show it, the copy must not miss it: a second version in the very second of the first.
#[tokio::test(start_paused = true)]
async fn a_version_made_in_the_second_of_the_last_backup_is_not_missed() {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "apple", "first");
    world.back_up(VAULT).await.unwrap();
    let second = world.vaults.set_secret(VAULT, "apple", "second");
    world.pass(DAY);
    world.back_up(VAULT).await.unwrap();
    let manifest = world.newest(VAULT).await;
    let apple = item(&manifest, "secrets/apple");
    assert_eq!(apple.versions, 2);
    assert!(*apple.version == *second || apple.ties.iter().any(|tie| **tie == *second), "{apple:?}");
    assert_eq!(apple.ties.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn versions_of_one_second_are_told_apart_where_no_value_must_be_read_for_it() {
    let world = World::with(&[VAULT]);
    for kty in ["RSA", "EC"] {
        world.vaults.create_key(VAULT, "key", kty);
    }
    let certificates = [(); 2].map(|()| world.vaults.create_certificate(VAULT, "certificate"));
    let secrets = [(); 2].map(|()| world.vaults.set_secret(VAULT, "secret", "value"));
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.status, Status::Succeeded);
    let manifest = world.newest(VAULT).await;
    let snapshot = world.vaults.snapshot(VAULT);
    let key = &snapshot.items[&(Kind::Key, "key".to_owned())];
    assert_eq!((&*item(&manifest, "keys/key").version, item(&manifest, "keys/key").ties.len()), (&*key.current, 0));
    let certificate = item(&manifest, "certificates/certificate");
    assert_eq!((&*certificate.version, certificate.ties.len()), (&*certificates[1], 0));
    let secret = item(&manifest, "secrets/secret");
    let mut both = vec![secret.version.to_string()];
    both.extend(secret.ties.iter().map(ToString::to_string));
    both.sort();
    let mut wanted = secrets.to_vec();
    wanted.sort();
    assert_eq!(both, wanted, "both are recorded, since only the value tells");
}

#[tokio::test(start_paused = true)]
async fn a_full_backup_on_demand_reads_everything() {
    let world = backed_up().await;
    let before = world.newest(VAULT).await;
    let mut options = world.backup_options();
    options.full = true;
    let header = world.back_up_with(VAULT, &options).await.unwrap();
    assert_eq!((header.counts.read, header.counts.carried_over, header.full), (5, 0, true));
    let after = world.newest(VAULT).await;
    assert_eq!(names(&after), names(&before));
    assert!(
        after
            .items
            .iter()
            .map(Result::unwrap)
            .zip(before.items.iter().map(Result::unwrap))
            .all(|(after, before)| after.blob != before.blob)
    );
}

/// A change to an older version does not show in a listing: the full interval finds it.
#[tokio::test(start_paused = true)]
async fn a_change_to_an_older_version_is_in_the_backup_after_the_full_interval() {
    let world = World::with(&[VAULT]);
    let older = world.vaults.set_secret(VAULT, "apple", "older");
    world.pass(SETTLED);
    world.vaults.set_secret(VAULT, "apple", "newer");
    world.pass(SETTLED);
    world.back_up(VAULT).await.unwrap();
    let path = format!("contoso-prod/secrets/apple/{older}");
    world.ask(Method::Patch, &path, json!({"tags": {"hidden": "change"}})).await;
    world.pass(7 * DAY);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.counts.read, 1);
    let before = world.vaults.snapshot(VAULT);
    world.vaults.lose_everything(VAULT);
    world.restore(VAULT, VAULT).await;
    assert_eq!(before.differences(&world.vaults.snapshot(VAULT)), Vec::<String>::new());
}

/// An immutability period counts from a blob's creation.
#[tokio::test(start_paused = true)]
async fn no_manifest_of_daily_runs_relies_on_a_blob_older_than_the_full_interval_and_one_run() {
    let world = World::with(&[VAULT]);
    for name in ["apple", "cherry", "fig", "lost", "stale"] {
        world.vaults.set_secret(VAULT, name, "value");
    }
    world.pass(SETTLED);
    for day in 0..30 {
        if day == 3 {
            // From now on this item cannot be read any more: its stale copy must be written anew, too.
            let fault = simulator::key_vault::Fault::answer(403, "Forbidden").named("stale");
            world.vaults.add_fault(fault);
        }
        world.vaults.set_secret(VAULT, "fig", &format!("value of day {day}"));
        world.pass(SETTLED);
        world.back_up(VAULT).await.unwrap();
        let manifest = world.newest(VAULT).await;
        assert_eq!(manifest.items.len(), 5, "day {day}");
        for item in manifest.items.to_vec().unwrap() {
            let created = blob_created(&item.blob);
            let age = manifest.header.started_at.seconds_since(created);
            assert!(age < 7 * 86_400 + 3_600, "on day {day} {} relies on a blob of {age} s", item.id);
            world.repository().read_item(&item).await.unwrap();
        }
        world.pass(DAY - SETTLED);
    }
    let reads = world.vaults.requests().iter().filter(|request| request.name.eq_ignore_ascii_case("apple")).count();
    assert!(reads <= 5 * 2, "an unchanged item is read and looked at on one day of seven only, not {reads} times");
}

fn blob_created(blob: &str) -> Timestamp {
    blob.split('/').nth(3).unwrap().parse::<BackupId>().unwrap().started()
}
