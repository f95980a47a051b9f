//! Faults by rule, and how the door acts them out.

use std::{sync::Arc, time::Duration};

use azure_core::{
    error::ErrorKind,
    http::{ClientOptions, RetryOptions},
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use simulator::{
    identity::Credential,
    key_vault::{Effect, Fault, Kind, Operation, Verb},
    mishap::Mishap,
    transport::Door,
};

use crate::bench::Bench;

const BACKUP: Operation = Operation::new(Kind::Key, Verb::Backup);

#[tokio::test(start_paused = true)]
async fn fault_hits_what_it_names_as_often_as_it_says() {
    let bench = Bench::new();
    for name in ["apple", "apricot", "banana"] {
        bench.vaults.create_key("contoso", name, "EC");
    }
    bench.vaults.add_fault(Fault::answer(500, "InternalServerError").on(BACKUP).named("ap*").skip(1).times(2));
    let mut seen = Vec::new();
    for name in ["apple", "banana", "apricot", "apple", "apple", "banana"] {
        seen.push(bench.ask("POST", &format!("contoso/keys/{name}/backup"), None).await.status.as_u16());
    }
    assert_eq!(seen, [200, 200, 500, 500, 200, 200]);
    bench.vaults.add_fault(Fault::answer(500, "InternalServerError").in_vault("elsewhere"));
    assert_eq!(bench.ask("GET", "contoso/keys", None).await.status, 200);
    bench.vaults.add_fault(Fault::new(Effect::Answer { status: 503, code: "Busy".to_owned(), retry_after: Some(3) }));
    let busy = bench.ask("GET", "contoso/keys", None).await;
    assert_eq!(
        (busy.status.as_u16(), busy.code(), &busy.headers["retry-after"]),
        (503, "Busy", &"3".parse().expect("ASCII"))
    );
    bench.vaults.clear_faults();
    assert_eq!(bench.ask("GET", "contoso/keys", None).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_seed_chooses_the_same_requests_each_time_about_as_many_as_asked_for() {
    let hits = async |seed| {
        let bench = Bench::new();
        bench.vaults.add_fault(Fault::answer(500, "InternalServerError").percent(20, seed));
        let mut seen = Vec::new();
        for _ in 0..200 {
            seen.push(bench.ask("GET", "contoso/keys", None).await.status == 500);
        }
        seen
    };
    let first = hits(7).await;
    let count = first.iter().filter(|hit| **hit).count();
    assert!((20..=60).contains(&count), "{count} of 200");
    assert_eq!(hits(7).await, first);
    assert_ne!(hits(8).await, first);
}

/// A new client asks without a token first. What goes wrong there goes wrong in Azure too.
#[tokio::test(start_paused = true)]
async fn a_fault_hits_the_request_without_a_token_only_when_told_to() {
    let bench = Bench::new();
    bench.vaults.create_key("contoso", "apple", "EC");
    let client = keys(&bench, &Door::new(&bench.vaults));
    let gateway = Fault::new(Effect::Gateway { status: 502, retry_after: None });
    bench.vaults.add_fault(gateway.without_token().times(1));
    let error = client.backup_key("apple", None).await.expect_err("the gateway answers");
    assert_eq!(error.http_status().map(u16::from), Some(502));
    client.backup_key("apple", None).await.expect("the fault is over");
    // A client that has a token gets another one and asks again; half a body is waited for.
    for effect in [Effect::Expired, Effect::After(Mishap::Trickle(Duration::from_secs(5)))] {
        bench.vaults.add_fault(Fault::new(effect).times(1));
        client.backup_key("apple", None).await.expect("it goes well at last");
    }
}

#[tokio::test(start_paused = true)]
async fn mishap_after_the_work_leaves_it_done() {
    let bench = Bench::new();
    let client = keys(&bench, &Door::new(&bench.vaults));
    let delete = Operation::new(Kind::Key, Verb::Delete);
    bench.vaults.create_key("contoso", "apple", "EC");
    bench.vaults.add_fault(Fault::new(Effect::Before(Mishap::Reset)).on(delete).times(1));
    let error = client.delete_key("apple", None).await.expect_err("the connection is reset");
    assert!(matches!(error.kind(), ErrorKind::Io), "{error:?}");
    assert!(bench.vaults.snapshot("contoso").items.values().all(|it| it.active));
    bench.vaults.add_fault(Fault::new(Effect::After(Mishap::Reset)).on(delete).times(1));
    client.delete_key("apple", None).await.expect_err("the connection is reset");
    assert!(bench.vaults.snapshot("contoso").items.values().all(|it| !it.active));
}

#[tokio::test(start_paused = true)]
async fn door_cuts_delays_and_hangs() {
    let bench = Bench::new();
    let client = keys(&bench, &Door::new(&bench.vaults));
    bench.vaults.create_key("contoso", "apple", "EC");
    bench.vaults.add_fault(Fault::new(Effect::After(Mishap::Truncate(10))).on(BACKUP).times(1));
    client.backup_key("apple", None).await.expect_err("the body ends too early");
    let start = tokio::time::Instant::now();
    bench.vaults.add_fault(Fault::new(Effect::After(Mishap::Delay(Duration::from_secs(5)))).on(BACKUP).times(1));
    bench.vaults.add_fault(Fault::new(Effect::Before(Mishap::Delay(Duration::from_secs(5)))).on(BACKUP).times(1));
    client.backup_key("apple", None).await.expect("late is not wrong");
    client.backup_key("apple", None).await.expect("late is not wrong");
    assert!(start.elapsed() >= Duration::from_secs(10));
    bench.vaults.add_fault(Fault::new(Effect::Before(Mishap::Hang)).on(BACKUP));
    let hung = tokio::time::timeout(Duration::from_secs(600), client.backup_key("apple", None)).await;
    assert!(hung.is_err());
    bench.vaults.clear_faults();
    bench.vaults.set_latency(Duration::from_millis(20));
    let start = tokio::time::Instant::now();
    client.backup_key("apple", None).await.expect("the backup");
    assert_eq!(start.elapsed().as_millis(), 20);
}

fn keys(bench: &Bench, door: &Door) -> KeyClient {
    let credential = Arc::new(Credential::new(bench.vaults.directory(), &bench.admin));
    let client_options =
        ClientOptions { transport: Some(door.transport()), retry: RetryOptions::none(), ..Default::default() };
    let options = KeyClientOptions { client_options, ..Default::default() };
    KeyClient::new("https://contoso.vault.azure.net", credential, Some(options)).expect("the URL is good")
}
