//! Every way in which Key Vault says no: what is made of it, how often it is asked again, and what a person is told.

mod limits;
mod table;
mod told;

use std::time::Duration;

use futures::TryStreamExt as _;
use keyvault_backup::{
    error::{Error, ErrorKind, Result},
    model::{ItemId, Kind, Sealed},
    vault::{DEADLINE, Vault},
};
use simulator::key_vault::{Effect, Fault, Kind as SimulatedKind, Verb};
use tokio::time::Instant;

use self::table::{Row, rows};
use crate::world::World;

const VAULT: &str = "contoso-prod";

fn item() -> ItemId {
    ItemId { kind: Kind::Secrets, name: "apple".parse().unwrap() }
}

async fn ask(vault: &Vault, verb: Verb) -> Result<()> {
    match verb {
        Verb::List => vault.list(Kind::Secrets).try_collect::<Vec<_>>().await.map(drop),
        Verb::Backup => vault.back_up(&item()).await.map(drop),
        Verb::Restore => vault.restore(&item(), &Sealed::new(b"a backup".to_vec())).await.map(drop),
        verb => panic!("no row is about {verb:?}"),
    }
}

/// Meets the row's answer for as long as it is asked; how often and how long that was.
async fn meet(row: &Row, fault: Fault) -> (Error, u64, Duration) {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "apple", "1");
    let operation = row.operation(SimulatedKind::Secret);
    world.vaults.add_fault(fault.on(operation));
    let start = Instant::now();
    let error = ask(&world.vault(VAULT), row.verb).await.unwrap_err();
    (error, world.vaults.count(operation), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_a_sentence_that_says_what_why_and_what_to_do() {
    for row in rows() {
        let (error, ..) = meet(&row, row.fault.clone()).await;
        let message = error.message();
        assert_eq!(error.kind(), row.kind, "{}: {message}", row.name);
        let doing = match row.verb {
            Verb::List => "Could not list the secrets of vault contoso-prod: ",
            Verb::Backup => "Could not back up secrets/apple of vault contoso-prod: ",
            _ => "Could not restore secrets/apple into vault contoso-prod: ",
        };
        assert!(message.starts_with(doing), "{}: {message}", row.name);
        for words in row.says {
            assert!(message.contains(words), "{} does not say {words:?}: {message}", row.name);
        }
        assert!(message.contains("(Request "), "{}: no support without it: {message}", row.name);
        assert_eq!(message.lines().count(), 1, "{}: {message}", row.name);
        assert_eq!(error.target(), (row.verb != Verb::List).then_some("secrets/apple"), "{}", row.name);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_asked_once_and_what_passes_until_the_deadline() {
    for row in rows() {
        let (_, requests, took) = meet(&row, row.fault.clone()).await;
        if row.again {
            assert!(requests >= 5, "{}: {requests}", row.name);
            assert!(requests <= 200, "{}: {requests} is hammering", row.name);
            assert!(took <= DEADLINE + Duration::from_secs(60), "{}: {took:?}", row.name);
            assert!(took >= DEADLINE / 2, "{}: given up after {took:?}", row.name);
        } else {
            assert_eq!(requests, 1, "{}", row.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_not_even_mentioned() {
    for row in rows().iter().filter(|row| row.again && row.verb != Verb::Restore) {
        let world = World::with(&[VAULT]);
        let operation = row.operation(SimulatedKind::Secret);
        world.vaults.add_fault(row.fault.clone().on(operation).times(4));
        ask(&world.vault(VAULT), row.verb).await.unwrap();
        assert_eq!(world.vaults.count(operation), 5, "{}", row.name);
    }
}

/// The pauses between the requests that a throttling vault sees, in whole seconds.
async fn pauses(retry_after: Option<u32>) -> Vec<i64> {
    let world = World::with(&[VAULT]);
    let throttled = Effect::Answer { status: 429, code: "Throttled".to_owned(), retry_after };
    world.vaults.add_fault(Fault::new(throttled));
    let error = ask(&world.vault(VAULT), Verb::List).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    let requests = world.vaults.requests().into_iter().filter(|request| request.status == 429);
    let times: Vec<i64> = requests.map(|request| request.at_millis).collect();
    times.windows(2).map(|pair| (pair[1] - pair[0]) / 1000).collect()
}

#[tokio::test(start_paused = true)]
async fn a_throttling_vault_is_left_alone_for_as_long_as_it_asks_or_ever_longer() {
    let doubling = pauses(None).await;
    // Three quarters of 1, 2, 4, 8 and 16 seconds at least, and at random up to five quarters, so that many instances do
    // not come back together.
    for (pause, least) in doubling.iter().zip([0, 1, 3, 6, 12, 12, 12]) {
        assert!(*pause >= least, "{doubling:?}");
    }
    let asked = pauses(Some(7)).await;
    assert!(asked.len() >= 5 && asked.iter().all(|pause| *pause >= 7), "{asked:?}");
    // More than a minute is not believed: the run would sleep through its time.
    let absurd = pauses(Some(86_400)).await;
    assert!(!absurd.is_empty() && absurd.iter().all(|pause| (60..=75).contains(pause)), "{absurd:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_on_the_way_is_renewed_and_the_call_repeated_once() {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "apple", "1");
    let vault = world.vault(VAULT);
    ask(&vault, Verb::Backup).await.unwrap();
    // The client's clock says that the token is good for another day; the vault's says that it has expired.
    world.pass(Duration::from_secs(25 * 3600));
    world.vaults.reset_log();
    ask(&vault, Verb::Backup).await.unwrap();
    let statuses: Vec<u16> = world.vaults.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [401, 200]);
}
