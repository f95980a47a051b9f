//! Listing, backing up and writing go on at the same time, and so do the three kinds: told by the order in which a vault
//! and a store were asked.

use std::time::Duration;

use futures::TryStreamExt as _;
use keyvault_backup::{backup::Options, repository::Repository, store::Store as _, vault::pacing::Pacing};
use simulator::key_vault::{Kind, Operation, Verb};

use crate::world::{
    World,
    faulty::{Flaw, Often, faulty},
};

const VAULT: &str = "contoso-prod";

/// Of each kind: enough for five pages.
const ITEMS: usize = 130;

const AT_ONCE: usize = 8;

fn world() -> World {
    let world = World::with(&[VAULT]);
    for number in 0..ITEMS {
        world.vaults.set_secret(VAULT, &format!("secret-{number:03}"), "value");
        world.vaults.create_key(VAULT, &format!("key-{number:03}"), "EC");
        // Last in the order of names, in which vaults list: their managed keys and secrets are passed over.
        world.vaults.create_certificate(VAULT, &format!("tls-{number:03}"));
    }
    world.vaults.set_latency(Duration::from_millis(20));
    world
}

async fn back_up(world: &World, repository: &Repository) {
    let options = Options { concurrency: AT_ONCE, ..world.backup_options() };
    let vault = world.vault_through(VAULT, &world.door.transport(), Pacing::new(10_000.0));
    let header = world.back_up_from(&vault, repository, &options).await.unwrap();
    assert_eq!(header.counts.read, 3 * ITEMS as u64, "{:?}", header.failures);
}

/// The places in the journal of all good requests of that sort.
fn asked(world: &World, kind: Kind, verb: Verb) -> Vec<usize> {
    let all = world.vaults.requests().into_iter().enumerate();
    let operation = Some(Operation::new(kind, verb));
    all.filter(|(_, it)| it.operation == operation && it.status == 200).map(|(place, _)| place).collect()
}

#[tokio::test(start_paused = true)]
async fn items_are_backed_up_while_their_kind_is_still_listed() {
    let world = world();
    back_up(&world, &world.repository()).await;
    for kind in Kind::ALL {
        let (pages, backups) = (asked(&world, kind, Verb::List), asked(&world, kind, Verb::Backup));
        assert!(pages.len() >= 5, "{kind:?}: {pages:?}");
        // Not a moment before its end, but from the first page on.
        assert!(backups[0] < pages[2], "{kind:?}: backed up at {backups:?}, listed at {pages:?}");
        let meanwhile = backups.iter().filter(|place| **place < pages[pages.len() - 1]).count();
        assert!(meanwhile * 2 >= backups.len(), "{kind:?}: {meanwhile} of {} during the listing", backups.len());
    }
}

#[tokio::test(start_paused = true)]
async fn the_three_kinds_are_listed_and_backed_up_side_by_side() {
    let world = world();
    back_up(&world, &world.repository()).await;
    for verb in [Verb::List, Verb::Backup] {
        let asked = Kind::ALL.map(|kind| asked(&world, kind, verb));
        let last_to_begin = asked.iter().map(|of_kind| of_kind[0]).max().unwrap();
        for (kind, of_kind) in Kind::ALL.iter().zip(&asked) {
            let before = of_kind.iter().filter(|place| **place < last_to_begin).count();
            assert!(before * 3 <= of_kind.len(), "{verb:?}: {before} of {} {kind:?} before others", of_kind.len());
        }
    }
}

/// With a store that takes two seconds for each blob: how many requests came before the first blob was there says how
/// far reading runs ahead of writing.
#[tokio::test(start_paused = true)]
async fn items_are_read_while_others_are_written_and_none_waits_in_memory_for_the_last() {
    let world = world();
    let often = Often { skip: 0, percent: 100, seed: 1 };
    let slow = faulty(world.backups.clone(), Flaw::Slow(Duration::from_secs(2)), often);
    let repository = Repository::new(slow, std::sync::Arc::new(world.state.clone()));
    back_up(&world, &repository).await;

    let entries: Vec<_> = world.backups.list("vaults/contoso-prod/items/", None).try_collect().await.unwrap();
    let mut written: Vec<i64> = entries.iter().map(|entry| entry.created.unix_timestamp()).collect();
    written.sort_unstable();
    assert_eq!(written.len(), 3 * ITEMS);
    let requests = world.vaults.requests();
    let read: Vec<i64> = requests
        .iter()
        .filter(|it| it.status == 200 && it.operation.is_some_and(|operation| operation.verb == Verb::Backup))
        .map(|it| it.at_millis.div_euclid(1000))
        .collect();
    // While the first were written, others were read, and no more than have a place.
    let ahead = read.iter().filter(|at| **at < written[0]).count();
    assert!((2..=AT_ONCE).contains(&ahead), "{ahead} items were read before the first was written");
    // So it is at any time, and blobs are written side by side.
    for (place, at) in written.iter().enumerate() {
        let under_way = read.iter().filter(|read| **read < *at).count() - written.partition_point(|it| it < at);
        assert!(under_way <= AT_ONCE, "{under_way} items wait at blob {place}");
    }
    let side_by_side = written.iter().filter(|at| **at == written[0]).count();
    assert!(side_by_side >= 2, "{side_by_side} blobs were written in the first second with any");
}
