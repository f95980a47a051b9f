//! What [`Store`] promises, checked against every store.

pub(crate) mod azure_only;
mod local_only;

use std::collections::BTreeSet;
use std::future::Future;
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::{join_all, poll_fn};
use keyvault_backup::error::ErrorKind;
use keyvault_backup::spool::Spool;
use keyvault_backup::store::local::LocalStore;
use keyvault_backup::store::memory::MemoryStore;
use keyvault_backup::store::{Content, Create, Entry, Store, check_name};

use crate::azurite::Container;

/// A store under test: two handles on the same, empty container, and what has to outlive them.
struct Subject {
    store: Box<dyn Store>,
    other: Box<dyn Store>,
    _place: Option<tempfile::TempDir>,
}

async fn local() -> Subject {
    let place = tempfile::tempdir().unwrap();
    let open = || Box::new(LocalStore::open(place.path().join("store")).unwrap());
    Subject { store: open(), other: open(), _place: Some(place) }
}

async fn memory() -> Subject {
    let store = MemoryStore::new();
    Subject { store: Box::new(store.clone()), other: Box::new(store), _place: None }
}

/// Against Azurite, with pages so small that every listing of the suite has several.
async fn azure() -> Subject {
    let container = Container::create().await;
    let open = || Box::new(container.store().with_page(NonZero::new(3).unwrap()));
    Subject { store: open(), other: open(), _place: None }
}

/// Runs each part of the contract against each store.
macro_rules! contract {
    ($($promise:ident)*) => {
        contract!(@store local $($promise)*);
        contract!(@store memory $($promise)*);
        contract!(@store azure $($promise)*);
    };
    (@store $store:ident $($promise:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::$promise(super::$store().await).await;
                }
            )*
        }
    };
}

contract! {
    what_is_created_is_read_back_byte_for_byte
    create_never_replaces
    one_of_many_concurrent_creates_wins
    replace_writes_whether_the_blob_is_there_or_not
    reading_what_is_missing_is_not_found
    the_parts_of_a_blob_are_read_however_long_it_is
    a_listing_is_complete_and_in_byte_order
    a_listing_starts_after_a_name
    a_listing_keeps_to_its_prefix
    a_listing_of_nothing_is_empty
    folders_are_the_first_segments_below_a_prefix
    a_folder_vanishes_with_its_last_blob
    deleting_twice_is_deleting
    creating_and_deleting_in_one_folder_do_not_disturb_each_other
    an_abandoned_write_shows_nothing_or_everything
    names_that_could_be_taken_for_others_are_refused
    a_lease_excludes_everybody_else_until_it_is_released
    a_dropped_lease_is_given_back
    leases_on_different_names_do_not_meet
    a_leased_blob_is_neither_replaced_nor_deleted
    one_of_many_concurrent_leases_wins
    the_two_handles_see_the_same_blobs
    describe_and_debug_show_no_contents
}

async fn what_is_created_is_read_back_byte_for_byte(Subject { store, .. }: Subject) {
    let large: Bytes = (0..5 * 1024 * 1024_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, bytes) in [
        ("empty.json", Bytes::new()),
        ("one", "\0".into()),
        ("deep/ly/nested~1/blob_2.bin", "text".into()),
        ("large", large),
    ] {
        assert_eq!(store.create(name, bytes.clone().into()).await.unwrap(), Create::Created, "{name}");
        assert!(store.read(name).await.unwrap() == bytes, "{name} differs");
        let (created, replaced) = (format!("spooled/{name}"), format!("replaced/{name}"));
        assert_eq!(store.create(&created, spooled(&bytes)).await.unwrap(), Create::Created, "{name}");
        store.replace(&replaced, "something else".into()).await.unwrap();
        store.replace(&replaced, spooled(&bytes)).await.unwrap();
        for name in [created, replaced] {
            assert!(store.read(&name).await.unwrap() == bytes, "{name} differs");
        }
    }
}

/// The same content in a spool, appended in pieces that end nowhere in particular.
pub(crate) fn spooled(bytes: &[u8]) -> Content {
    let mut spool = Spool::default();
    bytes.chunks(99_991).for_each(|piece| spool.append(piece).unwrap());
    Arc::new(spool).into()
}

async fn create_never_replaces(Subject { store, other, .. }: Subject) {
    assert_eq!(store.create("a/b", "first".into()).await.unwrap(), Create::Created);
    assert_eq!(store.create("a/b", "second".into()).await.unwrap(), Create::Exists);
    assert_eq!(other.create("a/b", Bytes::new().into()).await.unwrap(), Create::Exists);
    assert_eq!(store.read("a/b").await.unwrap(), "first");
}

async fn one_of_many_concurrent_creates_wins(Subject { store, other, .. }: Subject) {
    let contents: Vec<_> = (0..16).map(|writer| Bytes::from(vec![writer; 10_000])).collect();
    let writes = contents.iter().enumerate().map(|(writer, bytes)| {
        let store = if writer % 2 == 0 { &store } else { &other };
        store.create("new/folder/blob", bytes.clone().into())
    });
    let found: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = (0..found.len()).filter(|writer| found[*writer] == Create::Created).collect();
    assert_eq!(winners.len(), 1, "{found:?}");
    assert!(store.read("new/folder/blob").await.unwrap() == contents[winners[0]]);
}

async fn replace_writes_whether_the_blob_is_there_or_not(Subject { store, .. }: Subject) {
    for text in ["a longer first text", "second", ""] {
        store.replace("state/operation.json", text.into()).await.unwrap();
        assert_eq!(store.read("state/operation.json").await.unwrap(), text);
    }
    assert_eq!(names(&*store, "", None).await, ["state/operation.json"]);
}

async fn reading_what_is_missing_is_not_found(Subject { store, .. }: Subject) {
    store.create("there/blob", "x".into()).await.unwrap();
    for name in ["missing", "missing/too", "there", "there/blob2"] {
        for read in [store.read(name).await, store.read_part(name, 0..4).await, store.read_part(name, 4..8).await] {
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
            assert!(error.message().contains(name), "{error:?}");
            assert_eq!(error.target(), Some(name));
        }
    }
}

async fn the_parts_of_a_blob_are_read_however_long_it_is(Subject { store, .. }: Subject) {
    store.create("blob", "0123456789".into()).await.unwrap();
    store.create("empty", Bytes::new().into()).await.unwrap();
    for (range, part) in [
        (0..0, ""),
        (0..1, "0"),
        (0..9, "012345678"),
        (0..10, "0123456789"),
        (0..11, "0123456789"),
        (0..u64::MAX, "0123456789"),
        (3..3, ""),
        (3..4, "3"),
        (3..10, "3456789"),
        (9..10, "9"),
        (9..u64::MAX, "9"),
        (10..11, ""),
        (10..u64::MAX, ""),
        (4_000_000..8_000_000, ""),
    ] {
        assert_eq!(store.read_part("blob", range.clone()).await.unwrap(), part, "{range:?}");
        assert_eq!(store.read_part("empty", range.clone()).await.unwrap(), "", "{range:?}");
    }
    let large: Bytes = (0..5 * 1024 * 1024_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    store.create("large", large.clone().into()).await.unwrap();
    let (mut read, step) = (Vec::new(), 1_000_000);
    for start in (0..large.len() as u64 + step).step_by(step as usize) {
        read.extend(store.read_part("large", start..start + step).await.unwrap());
    }
    assert!(read == large, "the parts together differ from the blob");
}

async fn a_listing_is_complete_and_in_byte_order(Subject { store, .. }: Subject) {
    let created = sample(&*store).await;
    let before = time::OffsetDateTime::now_utc();
    let entries: Vec<Entry> = store.list("", None).try_collect().await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), created);
    for entry in entries {
        assert_eq!(entry.size, entry.name.len() as u64, "{}", entry.name);
        assert!((before - entry.created).abs() < time::Duration::minutes(5), "{entry:?}");
    }
}

async fn a_listing_starts_after_a_name(Subject { store, .. }: Subject) {
    let created = sample(&*store).await;
    for after in created.iter().copied().chain(["", "a", "b-0", "b/", "b/1/0", "zzz", "~"]) {
        let expected: Vec<_> = created.iter().copied().filter(|name| *name > after).collect();
        assert_eq!(names(&*store, "", Some(after)).await, expected, "after {after:?}");
    }
    assert_eq!(names(&*store, "b/", Some("b/1")).await, ["b/1/x", "b/2", "b/_", "b/~"]);
    assert_eq!(names(&*store, "b/", Some("a")).await, names(&*store, "b/", None).await);
    assert_eq!(names(&*store, "b/", Some("c")).await, [""; 0]);
}

async fn a_listing_keeps_to_its_prefix(Subject { store, .. }: Subject) {
    let created = sample(&*store).await;
    for prefix in ["a", "b", "b/", "b/1", "b/1/", "b/1/x", "b/1/x/", "B", "c.", "nothing", "../", "./", "b//"] {
        let expected: Vec<_> = created.iter().copied().filter(|name| name.starts_with(prefix)).collect();
        assert_eq!(names(&*store, prefix, None).await, expected, "below {prefix:?}");
    }
}

async fn a_listing_of_nothing_is_empty(Subject { store, .. }: Subject) {
    assert_eq!(names(&*store, "", None).await, [""; 0]);
    assert_eq!(names(&*store, "a/", Some("a/b")).await, [""; 0]);
    assert_eq!(folders(&*store, "").await, [""; 0]);
    assert_eq!(folders(&*store, "a/").await, [""; 0]);
}

async fn folders_are_the_first_segments_below_a_prefix(Subject { store, .. }: Subject) {
    for vault in ["contoso", "contoso-prod", "contoso0", "fabrikam"] {
        for backup in ["20260101", "20260102", "20260103"] {
            for item in ["one", "two"] {
                store.create(&format!("vaults/{vault}/{backup}/{item}"), "x".into()).await.unwrap();
            }
        }
    }
    store.create("vaults/a-blob", "x".into()).await.unwrap();
    assert_eq!(folders(&*store, "").await, ["vaults"]);
    assert_eq!(folders(&*store, "vaults/").await, ["contoso-prod", "contoso", "contoso0", "fabrikam"]);
    assert_eq!(folders(&*store, "vaults/contoso/").await, ["20260101", "20260102", "20260103"]);
    assert_eq!(folders(&*store, "vaults/contoso/20260101/").await, [""; 0]);
}

async fn a_folder_vanishes_with_its_last_blob(Subject { store, other, .. }: Subject) {
    store.create("a/b/one", "x".into()).await.unwrap();
    store.create("a/b/two", "x".into()).await.unwrap();
    other.delete("a/b/one").await.unwrap();
    assert_eq!(folders(&*store, "a/").await, ["b"]);
    other.delete("a/b/two").await.unwrap();
    assert_eq!(folders(&*store, "a/").await, [""; 0]);
    assert_eq!(folders(&*store, "").await, [""; 0]);
    assert_eq!(store.create("a/b/one", "again".into()).await.unwrap(), Create::Created);
    assert_eq!(folders(&*store, "a/").await, ["b"]);
}

async fn deleting_twice_is_deleting(Subject { store, .. }: Subject) {
    store.create("a/b", "x".into()).await.unwrap();
    for name in ["a/b", "a/b", "a", "never/there"] {
        store.delete(name).await.unwrap();
    }
    assert_eq!(store.read("a/b").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.create("a/b", "y".into()).await.unwrap(), Create::Created);
}

async fn creating_and_deleting_in_one_folder_do_not_disturb_each_other(Subject { store, other, .. }: Subject) {
    let turns = (0..40).map(|turn| {
        let (store, other) = (&store, &other);
        async move {
            let name = format!("busy/folder/{turn}");
            assert_eq!(store.create(&name, "x".into()).await.unwrap(), Create::Created);
            assert_eq!(other.read(&name).await.unwrap(), "x");
            other.delete(&name).await.unwrap();
        }
    });
    join_all(turns).await;
    assert_eq!(names(&*store, "", None).await, [""; 0]);
}

async fn an_abandoned_write_shows_nothing_or_everything(Subject { store, other, .. }: Subject) {
    let bytes = Bytes::from(vec![7; 5 * 1024 * 1024]);
    for polls in 1..12 {
        let name = format!("abandoned/{polls}");
        poll_at_most(polls, store.create(&name, bytes.clone().into())).await;
        match other.read(&name).await {
            Ok(read) => assert!(read == bytes, "{name} is in part there"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}"),
        }
        for entry in other.list("", None).try_collect::<Vec<_>>().await.unwrap() {
            assert_eq!(entry.size, bytes.len() as u64, "{entry:?}");
        }
        store.create(&name, bytes.clone().into()).await.unwrap();
        assert!(store.read(&name).await.unwrap() == bytes);
    }
}

async fn names_that_could_be_taken_for_others_are_refused(Subject { store, .. }: Subject) {
    let long = "a".repeat(1025);
    for name in [
        "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a.", "a./b", "...", "a b", "a%2Fb", "a\\b", "ä",
        "a?b", "a+b", &long,
    ] {
        assert!(check_name(name).is_err(), "{name:?}");
        let errors = [
            store.create(name, Bytes::new().into()).await.map(drop).unwrap_err(),
            store.replace(name, Bytes::new().into()).await.unwrap_err(),
            store.read(name).await.map(drop).unwrap_err(),
            store.read_part(name, 0..1).await.map(drop).unwrap_err(),
            store.delete(name).await.unwrap_err(),
            store.lease(name).await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        }
    }
    assert_eq!(names(&*store, "", None).await, [""; 0]);
}

async fn a_lease_excludes_everybody_else_until_it_is_released(Subject { store, other, .. }: Subject) {
    let lease = store.lease("leases/vault").await.unwrap();
    assert!(lease.is_held());
    for handle in [&store, &other] {
        let error = handle.lease("leases/vault").await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
        assert!(error.message().contains("leases/vault"), "{error:?}");
    }
    assert!(lease.is_held());
    lease.release().await;
    let lease = other.lease("leases/vault").await.unwrap();
    assert!(lease.is_held());
    lease.release().await;
    assert_eq!(names(&*store, "", None).await, ["leases/vault"]);
    assert_eq!(store.read("leases/vault").await.unwrap(), "");
}

async fn a_dropped_lease_is_given_back(Subject { store, other, .. }: Subject) {
    drop(store.lease("lease").await.unwrap());
    // Dropping does not wait: the next holder may have to ask more than once, but far less long than a lease lasts.
    let asked = std::time::Instant::now();
    let lease = loop {
        match other.lease("lease").await {
            Ok(lease) => break lease,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}"),
        }
        assert!(asked.elapsed().as_secs() < 10, "the lease outlived its holder");
    };
    assert!(lease.is_held());
}

async fn leases_on_different_names_do_not_meet(Subject { store, .. }: Subject) {
    let first = store.lease("leases/a").await.unwrap();
    let second = store.lease("leases/b").await.unwrap();
    assert!(first.is_held() && second.is_held());
}

async fn a_leased_blob_is_neither_replaced_nor_deleted(Subject { store, other, .. }: Subject) {
    store.create("blob", "kept".into()).await.unwrap();
    let lease = store.lease("blob").await.unwrap();
    assert_eq!(other.replace("blob", "lost".into()).await.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(other.delete("blob").await.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(other.create("blob", "lost".into()).await.unwrap(), Create::Exists);
    assert_eq!(other.read("blob").await.unwrap(), "kept");
    lease.release().await;
    other.replace("blob", "new".into()).await.unwrap();
    other.delete("blob").await.unwrap();
}

async fn one_of_many_concurrent_leases_wins(Subject { store, other, .. }: Subject) {
    let attempts = (0..12).map(|turn| if turn % 2 == 0 { store.lease("lease") } else { other.lease("lease") });
    let answers = join_all(attempts).await;
    let held = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(held, 1, "{answers:?}");
    for error in answers.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    }
}

async fn the_two_handles_see_the_same_blobs(Subject { store, other, .. }: Subject) {
    store.create("a/b", "one".into()).await.unwrap();
    assert_eq!(other.read("a/b").await.unwrap(), "one");
    other.replace("a/b", "two".into()).await.unwrap();
    assert_eq!(store.read("a/b").await.unwrap(), "two");
    assert_eq!(names(&*other, "", None).await, names(&*store, "", None).await);
}

async fn describe_and_debug_show_no_contents(Subject { store, .. }: Subject) {
    store.create("blob", "canary".into()).await.unwrap();
    assert!(!store.describe().contains('?'), "{}", store.describe());
    assert!(!format!("{store:?}{:?}", store.lease("lease").await).contains("canary"));
}

/// Blobs whose names differ in ways that sorting by folder, by case or by length gets wrong. Each holds its name.
async fn sample(store: &dyn Store) -> Vec<&'static str> {
    let names =
        ["B", "a-b/c", "a.b", "a/b", "a0", "b-0", "b/0", "b/1/x", "b/2", "b/_", "b/~", "b0", "c.json", "c/1", "z", "~"];
    join_all(names.iter().rev().map(|name| store.create(name, (*name).into()))).await;
    assert_eq!(BTreeSet::from(names).into_iter().collect::<Vec<_>>(), names, "the sample is in byte order");
    names.into()
}

async fn names(store: &dyn Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    store.list(prefix, after).map_ok(|entry| entry.name).try_collect().await.unwrap()
}

async fn folders(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.folders(prefix).try_collect().await.unwrap()
}

/// Polls a future a number of times, then drops it.
async fn poll_at_most<T>(mut polls: usize, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    poll_fn(|context| {
        polls -= 1;
        if future.as_mut().poll(context).is_ready() || polls == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

mod memory_only {
    use super::*;

    #[tokio::test]
    async fn a_broken_lease_is_lost_and_can_be_taken_again() {
        let store = MemoryStore::new();
        let lost = store.lease("lease").await.unwrap();
        store.break_lease("lease");
        assert!(!lost.is_held());
        let next = store.lease("lease").await.unwrap();
        drop(lost);
        assert!(next.is_held());
        assert_eq!(store.lease("lease").await.map(drop).unwrap_err().kind(), ErrorKind::Busy);
    }
}
