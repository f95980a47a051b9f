//! One bad item never stops the rest, and what could not be looked at is never taken for deleted.

use std::{sync::Arc, time::Duration};

use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};
use keyvault_backup::{
    diff::{Diff, Side},
    error::ErrorKind,
    model::{Kind, filter::ItemFilter},
    report::Status,
    store::Store as _,
    vault::{DEADLINE, pacing::Pacing},
};
use simulator::{
    key_vault::{Effect, Fault, Kind as SimulatedKind, Operation, Verb},
    mishap::Mishap,
    transport::Door,
};
use tokio::time::Instant;

use super::{DAY, SETTLED, find, item, names};
use crate::world::{World, meanwhile::Meanwhile};

const VAULT: &str = "contoso-prod";

async fn backed_up(count: usize) -> World {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, count);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.status, Status::Succeeded, "{header:?}");
    world.pass(DAY);
    world
}

fn backup_of(kind: SimulatedKind) -> Operation {
    Operation::new(kind, Verb::Backup)
}

fn list_of(kind: SimulatedKind) -> Operation {
    Operation::new(kind, Verb::List)
}

#[tokio::test(start_paused = true)]
async fn an_item_that_cannot_be_read_keeps_its_older_copy_marked_stale() {
    let world = backed_up(20).await;
    let before = world.newest(VAULT).await;
    world.vaults.set_secret(VAULT, "secret-00000", "new value");
    world.vaults.set_secret(VAULT, "secret-00001", "new value");
    world.pass(SETTLED);
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(backup_of(SimulatedKind::Secret)).named("secret-00000"));
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.status, Status::PartiallySucceeded);
    assert_eq!((header.counts.read, header.counts.stale, header.counts.missing), (1, 1, 0));
    assert_eq!(header.counts.items(), 20);
    let [failure] = &header.failures[..] else { panic!("{:?}", header.failures) };
    assert_eq!((failure.name.as_deref(), &*failure.code), (Some("secret-00000"), "Forbidden"));
    let manifest = world.newest(VAULT).await;
    let (now, then) = (item(&manifest, "secrets/secret-00000"), item(&before, "secrets/secret-00000"));
    assert_eq!((&now.blob, &now.version, now.taken_at), (&then.blob, &then.version, then.taken_at));
    assert_eq!(&*now.stale.as_ref().unwrap().code, "Forbidden");
    assert!(item(&manifest, "secrets/secret-00001").stale.is_none());

    world.vaults.clear_faults();
    world.pass(DAY);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.read, header.counts.stale), (Status::Succeeded, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_item_that_cannot_be_read_is_missing_and_named() {
    let world = backed_up(10).await;
    world.vaults.set_secret(VAULT, "fresh", "value");
    world.vaults.add_fault(Fault::answer(403, "Forbidden").named("fresh"));
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.missing, header.counts.items()), (Status::PartiallySucceeded, 1, 10));
    assert_eq!(header.failures[0].name.as_deref(), Some("fresh"));
    assert!(find(&world.newest(VAULT).await, "secrets/fresh").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_item_beyond_the_wall_of_versions_is_named_with_the_remedy() {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 10);
    world.vaults.set_secret_versions(VAULT, "full", 500);
    world.vaults.set_secret_versions(VAULT, "too-full", 501);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.read, header.counts.missing), (Status::PartiallySucceeded, 11, 1));
    let [failure] = &header.failures[..] else { panic!("{:?}", header.failures) };
    assert_eq!((failure.name.as_deref(), &*failure.code), (Some("too-full"), "Refused"));
    assert!(failure.reason.contains("500 versions"), "{}", failure.reason);
    assert_eq!(item(&world.newest(VAULT).await, "secrets/full").versions, 500);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_answers_with_errors_for_ever_is_given_up_within_the_deadline() {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 30);
    world
        .vaults
        .add_fault(Fault::answer(500, "InternalServerError").on(backup_of(SimulatedKind::Key)).named("key-00004"));
    let start = Instant::now();
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.read, header.counts.missing), (Status::PartiallySucceeded, 29, 1));
    assert_eq!((header.failures.len(), &*header.failures[0].code), (1, "Unavailable"));
    assert!(start.elapsed() <= DEADLINE + Duration::from_secs(10), "{:?}", start.elapsed());
}

/// A large vault that is down would hold up a run for days.
#[tokio::test(start_paused = true)]
async fn a_vault_that_answers_nothing_any_more_is_given_up_soon() {
    let world = World::with(&[VAULT]);
    for number in 0..1_000 {
        world.vaults.set_secret(VAULT, &format!("secret-{number:04}"), "value");
    }
    world.vaults.add_fault(Fault::new(Effect::Before(Mishap::Hang)).on(backup_of(SimulatedKind::Secret)).skip(100));
    let start = Instant::now();
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.status, Status::PartiallySucceeded);
    assert_eq!((header.counts.read, header.counts.missing), (100, 900), "what was read is kept");
    let given_up = header.failures.iter().filter(|failure| failure.reason.contains("was not tried")).count();
    assert!(given_up >= 850, "{given_up}: {:?}", header.failures.first());
    assert!(start.elapsed() <= DEADLINE * 10, "{:?}", start.elapsed());
}

/// Hands every request to a listing of keys on in many small steps, as a network does.
#[derive(Debug)]
struct Chunked(Door);

#[async_trait::async_trait]
impl HttpClient for Chunked {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        for _ in 0..20 {
            if request.url().path() == "/keys" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        self.0.execute_request(request).await
    }
}

/// As many bad items as there are places must not hold up a listing that is under way: its deadline would end it, and a
/// whole kind would be stale for the sake of two items of another one.
#[tokio::test(start_paused = true)]
async fn bad_items_in_every_place_do_not_stop_the_listing() {
    let world = World::with(&[VAULT]);
    for number in 0..60 {
        world.vaults.set_secret(VAULT, &format!("secret-{number:03}"), "value");
        world.vaults.create_key(VAULT, &format!("key-{number:03}"), "EC");
    }
    let backup = backup_of(SimulatedKind::Secret);
    world.vaults.add_fault(Fault::answer(500, "InternalServerError").on(backup).named("secret-00*"));
    let transport = Transport::new(Arc::new(Chunked(world.door.clone())));
    let vault = world.vault_through(VAULT, &transport, Pacing::new(10_000.0));
    let mut options = world.backup_options();
    options.concurrency = 2;
    let header = world.back_up_from(&vault, &world.repository(), &options).await.unwrap();
    assert_eq!((header.counts.read, header.counts.missing), (110, 10), "{:?}", header.failures);
    assert!(header.failures.iter().all(|failure| failure.name.is_some()), "{:?}", header.failures);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_cannot_be_listed_from_some_page_on_is_carried_over_stale() {
    for good_pages in [0, 2] {
        let world = backed_up(300).await;
        let before = world.newest(VAULT).await;
        // Nobody can know of this one; a failed listing must not be read as its absence either.
        let fault = Fault::answer(500, "InternalServerError").on(list_of(SimulatedKind::Key)).skip(good_pages);
        world.vaults.add_fault(fault);
        let header = world.back_up(VAULT).await.unwrap();
        assert_eq!(header.status, Status::PartiallySucceeded);
        assert_eq!(names(&world.newest(VAULT).await), names(&before), "after {good_pages} good pages");
        let keys: Vec<_> = before.items.iter().map(Result::unwrap).filter(|item| item.id.kind == Kind::Keys).collect();
        assert_eq!(header.counts.keys, keys.len() as u64);
        assert!(header.counts.stale > 0 && header.counts.stale <= keys.len() as u64);
        if good_pages == 0 {
            assert_eq!(header.counts.stale, keys.len() as u64);
        }
        let [failure] = &header.failures[..] else { panic!("{:?}", header.failures) };
        assert_eq!((failure.kind, failure.name.as_deref()), (Kind::Keys, None));
        for item in world.newest(VAULT).await.items.to_vec().unwrap() {
            assert!(item.stale.is_none() || item.id.kind == Kind::Keys);
            world.repository().read_item(&item).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_copy_is_read_anew_as_soon_as_it_can_be_though_nothing_changed() {
    let world = backed_up(20).await;
    world.vaults.add_fault(Fault::answer(500, "InternalServerError").on(list_of(SimulatedKind::Key)));
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.counts.stale, header.counts.keys);
    world.vaults.clear_faults();
    world.pass(SETTLED);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.stale), (Status::Succeeded, 0));
    assert_eq!((header.counts.read, header.counts.items()), (header.counts.keys, 20));
    assert!(world.newest(VAULT).await.items.iter().map(Result::unwrap).all(|item| item.stale.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_cannot_be_listed_carries_over_only_what_the_filter_chooses() {
    let world = backed_up(20).await;
    world.vaults.add_fault(Fault::answer(500, "InternalServerError").on(list_of(SimulatedKind::Key)));
    let mut options = world.backup_options();
    options.filter = ItemFilter::new(["keys/key-00004", "secrets/*"]).unwrap();
    let header = world.back_up_with(VAULT, &options).await.unwrap();
    assert_eq!((header.counts.stale, header.counts.keys), (1, 1));
    assert!(find(&world.newest(VAULT).await, "keys/key-00004").is_some());
}

/// Every page of secrets shows its last row twice, as when an item is made between two pages.
#[derive(Debug)]
struct Repeating(Door);

#[async_trait::async_trait]
impl HttpClient for Repeating {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = self.0.execute_request(request).await?;
        if request.url().path() != "/secrets" || !answer.status().is_success() {
            return Ok(answer);
        }
        let (status, headers, body) = answer.deconstruct();
        let mut page: serde_json::Value = serde_json::from_slice(&body.collect().await?).unwrap();
        let rows = page["value"].as_array_mut().unwrap();
        rows.extend(rows.last().cloned());
        Ok(AsyncRawResponse::from_bytes(status, headers, page.to_string()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_listed_twice_is_one_item() {
    let world = World::with(&[VAULT]);
    for number in 0..60 {
        world.vaults.set_secret(VAULT, &format!("secret-{number:03}"), "value");
    }
    let transport = Transport::new(Arc::new(Repeating(world.door.clone())));
    let vault = world.vault_through(VAULT, &transport, Pacing::new(10_000.0));
    let header = world.back_up_from(&vault, &world.repository(), &world.backup_options()).await.unwrap();
    assert_eq!((header.status, header.counts.items(), header.counts.read), (Status::Succeeded, 60, 60));
    assert_eq!(world.newest(VAULT).await.items.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_may_not_be_listed_does_not_stop_the_others() {
    let world = World::with(&[VAULT]);
    let seeded = world.vaults.seed(VAULT, 50);
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(list_of(SimulatedKind::Certificate)));
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.certificates), (Status::PartiallySucceeded, 0));
    assert_eq!((header.counts.secrets, header.counts.keys), (seeded.secrets as u64, seeded.keys as u64));
    assert_eq!((header.failures.len(), header.failures[0].kind), (1, Kind::Certificates));
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_cannot_be_listed_at_all_has_no_new_backup() {
    let world = backed_up(20).await;
    let before = world.blobs().await;
    world.vaults.unassign(&world.identity, VAULT);
    let error = world.back_up(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.message().contains(VAULT) && error.chain().contains("Microsoft.KeyVault/vaults/"), "{error:?}");
    assert_eq!(world.blobs().await, before);
}

/// Backs up while `act` happens after each of the first so many answers to `path`.
async fn back_up_meanwhile(
    world: &World,
    path: &'static str,
    times: u32,
    act: impl Fn() + Send + Sync + 'static,
) -> keyvault_backup::repository::manifest::Header {
    let transport = Meanwhile::transport(&world.door, path, times, act);
    let vault = world.vault_through(VAULT, &transport, Pacing::new(10_000.0));
    world.back_up_from(&vault, &world.repository(), &world.backup_options()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_item_deleted_between_listing_and_its_turn_is_no_failure() {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "apple", "value");
    world.vaults.set_secret(VAULT, "pear", "value");
    let vaults = world.vaults.clone();
    let header =
        back_up_meanwhile(&world, "/secrets", 1, move || vaults.delete_now(VAULT, SimulatedKind::Secret, "apple"))
            .await;
    assert_eq!((header.status, header.counts.items(), header.failures.len()), (Status::Succeeded, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_item_deleted_after_its_copy_was_taken_is_no_failure() {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "apple", "value");
    world.vaults.set_secret(VAULT, "pear", "value");
    let vaults = world.vaults.clone();
    let act = move || vaults.delete_now(VAULT, SimulatedKind::Secret, "apple");
    let header = back_up_meanwhile(&world, "/secrets/apple/backup", 1, act).await;
    assert_eq!((header.status, header.counts.items(), header.failures.len()), (Status::Succeeded, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_item_that_changes_while_it_is_read_is_read_again() {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "apple", "first");
    world.pass(SETTLED);
    let vaults = world.vaults.clone();
    let header = back_up_meanwhile(&world, "/secrets/apple/backup", 1, move || {
        vaults.set_secret(VAULT, "apple", "second");
    })
    .await;
    assert_eq!((header.status, header.counts.read), (Status::Succeeded, 1));
    let before = world.vaults.snapshot(VAULT);
    let manifest = world.newest(VAULT).await;
    let current = &before.items[&(SimulatedKind::Secret, "apple".to_owned())].current;
    assert_eq!(
        (&*item(&manifest, "secrets/apple").version, item(&manifest, "secrets/apple").versions),
        (&**current, 2)
    );
    world.vaults.lose_everything(VAULT);
    world.restore(VAULT, VAULT).await;
    assert_eq!(before.differences(&world.vaults.snapshot(VAULT)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_item_that_never_stands_still_is_a_failure_that_says_so() {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "apple", "first");
    world.vaults.set_secret(VAULT, "pear", "value");
    let vaults = world.vaults.clone();
    let header = back_up_meanwhile(&world, "/secrets/apple/backup", u32::MAX, move || {
        vaults.clock().advance(Duration::from_secs(1));
        vaults.set_secret(VAULT, "apple", "again");
    })
    .await;
    assert_eq!((header.status, header.counts.items()), (Status::PartiallySucceeded, 1));
    assert!(header.failures[0].reason.contains("changed 3 times"), "{:?}", header.failures);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_newest_manifest_is_passed_over() {
    let world = backed_up(20).await;
    world.back_up(VAULT).await.unwrap();
    let blobs = world.blobs().await;
    let manifests: Vec<_> = blobs.iter().filter(|name| name.contains("/backups/")).collect();
    assert_eq!(manifests.len(), 2);
    for (damaged, read) in [(&manifests[1..], 0), (&manifests[..], 20)] {
        for name in damaged {
            world.backups.replace(name, "{\"formatVersion\": 1, \"backupId\": ".into()).await.unwrap();
        }
        world.pass(SETTLED);
        let header = world.back_up(VAULT).await.unwrap();
        assert_eq!((header.status, header.counts.items(), header.counts.read), (Status::Succeeded, 20, read));
        let vault = VAULT.parse().unwrap();
        let newest = world.repository().backups(&vault).await.unwrap().pop().unwrap();
        for item in world.repository().open(&newest).await.unwrap().items.to_vec().unwrap() {
            world.repository().read_item(&item).await.unwrap();
        }
        // The sound one would otherwise be the base of the next round.
        world.backups.delete(&format!("vaults/{VAULT}/backups/{}.json", newest.id)).await.unwrap();
    }
}

/// An older release must not go on from what it does not understand.
#[tokio::test(start_paused = true)]
async fn a_newest_manifest_of_a_newer_format_stops_the_backup_with_both_versions() {
    let world = backed_up(10).await;
    let newer = format!("vaults/{VAULT}/backups/20301121T020000Z-00000009.json");
    world.backups.replace(&newer, r#"{"formatVersion": 7}"#.into()).await.unwrap();
    let before = world.blobs().await;
    let error = world.back_up(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerFormat);
    assert!(error.message().contains("version 7") && error.message().contains("version 1"), "{error}");
    assert_eq!(world.blobs().await, before);
}

#[tokio::test(start_paused = true)]
async fn every_storm_is_ridden_out_and_nothing_is_lost() {
    let throttled = |retry_after| Fault::new(Effect::Answer { status: 429, code: "Throttled".into(), retry_after });
    let storms = [
        ("429", throttled(None)),
        ("429 with Retry-After", throttled(Some(7))),
        ("429 with an absurd Retry-After", throttled(Some(86_400))),
        ("503", Fault::answer(503, "ServiceUnavailable")),
        ("500", Fault::answer(500, "InternalServerError")),
        ("resets before acting", Fault::new(Effect::Before(Mishap::Reset))),
        ("resets after acting", Fault::new(Effect::After(Mishap::Reset))),
        ("bodies cut short", Fault::new(Effect::After(Mishap::Truncate(20)))),
        ("empty bodies", Fault::new(Effect::After(Mishap::Truncate(0)))),
        ("slow answers", Fault::new(Effect::After(Mishap::Delay(Duration::from_secs(30))))),
    ];
    for (storm, fault) in storms {
        let world = World::with(&[VAULT]);
        world.vaults.seed(VAULT, 60);
        // Two bursts: at the beginning, which hits the listings, and in the midst of the items.
        let size = if storm.contains("absurd") { 3 } else { 15 };
        world.vaults.add_fault(fault.clone().times(size));
        world.vaults.add_fault(fault.skip(40).times(size));
        let header = world.back_up(VAULT).await.unwrap();
        assert_eq!((header.status, header.counts.read), (Status::Succeeded, 60), "{storm}: {:?}", header.failures);
        let before = world.vaults.snapshot(VAULT);
        world.vaults.clear_faults();
        world.vaults.lose_everything(VAULT);
        world.restore(VAULT, VAULT).await;
        assert_eq!(before.differences(&world.vaults.snapshot(VAULT)), Vec::<String>::new(), "{storm}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_never_come_are_not_waited_for_without_end() {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 30);
    world.vaults.add_fault(Fault::new(Effect::After(Mishap::Hang)).on(list_of(SimulatedKind::Secret)).times(1));
    world.vaults.add_fault(Fault::new(Effect::Before(Mishap::Hang)).on(backup_of(SimulatedKind::Key)).skip(3).times(2));
    let start = Instant::now();
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.read), (Status::Succeeded, 30), "{:?}", header.failures);
    assert!(start.elapsed() < Duration::from_secs(600), "{:?}", start.elapsed());
}

/// An identity that may list and not back up, and a vault of the size at which that matters.
#[tokio::test(start_paused = true)]
async fn of_very_many_failures_the_first_are_listed_and_the_others_are_counted() {
    const ITEMS: u64 = 1200;
    let world = World::with(&[VAULT]);
    (0..ITEMS).for_each(|number| drop(world.vaults.set_secret(VAULT, &format!("secret-{number:05}"), "value")));
    world.pass(DAY);
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(backup_of(SimulatedKind::Secret)));
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.missing), (Status::PartiallySucceeded, ITEMS));
    let (counted, listed) = header.failures.split_first().unwrap();
    assert_eq!((counted.kind, &counted.name, counted.more), (Kind::Secrets, &None, Some(200)));
    assert_eq!(&*counted.code, "Forbidden");
    assert!(counted.reason.starts_with("200 more failures of secrets are not listed (200 Forbidden)."), "{counted:?}");
    assert!(listed.len() == 1000 && listed.iter().all(|failure| failure.name.is_some() && failure.more.is_none()));
    assert!(listed.is_sorted_by_key(|failure| &failure.name));
    let before = world.newest(VAULT).await;
    assert_eq!(before.header.failures, header.failures, "it is read as it was written");

    // Nobody may take what was only counted for an item that was not there.
    world.vaults.clear_faults();
    world.pass(DAY);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!((header.status, header.counts.read, header.failures.len()), (Status::Succeeded, ITEMS, 0));
    let [before, after] = [before, world.newest(VAULT).await].map(|manifest| Side::of_backup(manifest).unwrap());
    let diff = Diff::between(&before, &after).unwrap();
    assert_eq!((diff.differences.len(), diff.not_compared), (0, ITEMS));
}
