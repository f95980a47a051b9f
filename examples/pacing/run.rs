//! One vault that is backed up without end next to its applications, in virtual time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use azure_core::http::{HttpClient as _, Method, Request};
use keyvault_backup::{
    model::{Cloud, ItemId, Kind},
    vault::{
        Vault,
        pacing::{Pacing, Traffic},
    },
};
use simulator::{
    clock::Clock,
    identity::{Credential, Directory},
    key_vault::{ALL_DATA_ACTIONS, KeyVaults, RESOURCE, Throttling, VaultOptions, Window},
    transport::Door,
};
use tokio::{task::JoinSet, time::Instant};

const NAME: &str = "contoso-prod";

/// As in Azure: 20 ms per request.
const LATENCY: Duration = Duration::from_millis(20);

/// Items of the vault, and how many of them are dealt with at once.
const ITEMS: usize = 200;
const CONCURRENCY: usize = 16;

/// 2026-11-21T02:00:00Z, and some seconds: windows do not begin when a run does.
const BEGINNING: i64 = 1_795_226_403;

/// What is tried.
#[derive(Clone)]
pub(crate) struct Scenario {
    /// The setting.
    pub(crate) requests_per_second: f64,
    /// How long it goes on.
    pub(crate) seconds: u64,
    /// How the documented quota is counted.
    pub(crate) window: Window,
    /// What a 429 says, in seconds.
    pub(crate) retry_after: Option<u32>,
    /// How many requests per second the vault can deal with before a queue grows.
    pub(crate) capacity: Option<f64>,
    /// The load of the applications in each second, in requests.
    pub(crate) production: fn(u64) -> u64,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    /// Requests per second that were allowed at its end.
    pub(crate) allowed: f64,
    /// Requests of the backup, refused ones included.
    pub(crate) sent: u64,
    /// Those that were refused.
    pub(crate) refused: u64,
    /// Requests of the applications.
    pub(crate) production: u64,
    /// Those that were refused.
    pub(crate) production_refused: u64,
}

/// Plays it; panics when a call fails. Needs a paused clock.
pub(crate) async fn play(scenario: &Scenario) -> Vec<Second> {
    let vaults = KeyVaults::new(Clock::starting_at(BEGINNING), Directory::new(Clock::starting_at(BEGINNING)));
    let identity = vaults.directory().identity("operator");
    vaults.add_vault(VaultOptions { name: NAME.to_owned(), ..Default::default() });
    vaults.assign(&identity, NAME, ALL_DATA_ACTIONS);
    vaults.directory().set_token_lifetime(Duration::from_secs(24 * 3600));
    for number in 0..ITEMS {
        vaults.set_secret(NAME, &format!("secret-{number:03}"), "value");
    }
    vaults.set_latency(LATENCY);
    vaults.set_throttling(NAME, Some(Throttling { scale: 1.0, retry_after: scenario.retry_after }));
    vaults.set_window(NAME, scenario.window);
    vaults.set_capacity(NAME, scenario.capacity);

    let pacing = Pacing::new(scenario.requests_per_second);
    let credential = Arc::new(Credential::new(vaults.directory(), &identity));
    let door = Door::new(&vaults);
    let name = NAME.parse().expect("a name");
    let vault =
        Arc::new(Vault::new(name, Cloud::Public, credential, &door.transport(), pacing.clone()).expect("a vault"));
    let mut tasks = JoinSet::new();
    for worker in 0..CONCURRENCY {
        tasks.spawn(back_up_without_end(vault.clone(), worker));
    }
    let production = Production::default();
    let url = format!("https://{NAME}.vault.azure.net/secrets/secret-000?api-version=7.6");
    let mut request = Request::new(url.parse().expect("a URL"), Method::Get);
    request.insert_header("authorization", format!("Bearer {}", vaults.directory().mint(&identity, RESOURCE)));
    tasks.spawn(production.clone().run(door, request, scenario.production));

    let (start, mut before) = (Instant::now(), (Traffic::default(), 0, 0));
    let mut series = Vec::new();
    for second in 1..=scenario.seconds {
        tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => ended.expect("a task panicked"),
            () = tokio::time::sleep_until(start + Duration::from_secs(second)) => {}
        }
        let look = pacing.look();
        let now = (look.traffic, production.sent.load(Ordering::Relaxed), production.refused.load(Ordering::Relaxed));
        series.push(Second {
            allowed: look.requests_per_second,
            sent: now.0.requests - before.0.requests,
            refused: now.0.throttled - before.0.throttled,
            production: now.1 - before.1,
            production_refused: now.2 - before.2,
        });
        before = now;
    }
    series
}

async fn back_up_without_end(vault: Arc<Vault>, worker: usize) {
    for number in (worker..).step_by(CONCURRENCY) {
        let item =
            ItemId { kind: Kind::Secrets, name: format!("secret-{:03}", number % ITEMS).parse().expect("a name") };
        vault.back_up(&item).await.expect("a backup");
        vault.current(&item, None).await.expect("its versions");
    }
}

/// The applications.
#[derive(Clone, Default)]
struct Production {
    sent: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Production {
    async fn run(self, door: Door, request: Request, load: fn(u64) -> u64) {
        let mut random = fastrand::Rng::with_seed(7);
        let (start, mut requests) = (Instant::now(), JoinSet::new());
        for second in 0.. {
            // Spread over the second at random, as requests come.
            let mut moments: Vec<u64> = (0..load(second)).map(|_| random.u64(..1_000_000)).collect();
            moments.sort_unstable();
            for micros in moments {
                tokio::time::sleep_until(start + Duration::from_secs(second) + Duration::from_micros(micros)).await;
                requests.spawn(self.clone().ask(door.clone(), request.clone()));
                while requests.try_join_next().is_some() {}
            }
            tokio::time::sleep_until(start + Duration::from_secs(second + 1)).await;
        }
    }

    async fn ask(self, door: Door, request: Request) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let answer = door.execute_request(&request).await.expect("an answer");
        match u16::from(answer.status()) {
            200 => {}
            429 => _ = self.refused.fetch_add(1, Ordering::Relaxed),
            status => panic!("the applications got {status}"),
        }
    }
}
