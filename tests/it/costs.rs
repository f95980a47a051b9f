//! What a fleet costs: the table in `docs/operations.md` is computed here from prices and from what a backup was measured
//! to ask for.

mod connections;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Method, Request};
use keyvault_backup::{
    backup::{self, Backup},
    operation::{Attempts, Done, attempt},
    report::{Progress, Status},
    repository::{
        Repository,
        operation::{Operation, OperationKind},
    },
    store::Store as _,
};
use uuid::Uuid;

use crate::{
    azurite::{Container, client},
    world::World,
};

/// Items of each vault of the table.
const ITEMS: usize = 200;

/// How many of them have changed from one night to the next: one in a hundred.
const CHANGED: usize = 2;

/// Requests of one backup, by how Azure charges for them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Requests {
    key_vault: u64,
    /// Put Blob.
    writes: u64,
    /// List Blobs.
    lists: u64,
    /// Get Blob.
    reads: u64,
    /// Leases and the like.
    others: u64,
}

/// A backup that reads every item.
const FULL: Requests = Requests { key_vault: 417, writes: 210, lists: 3, reads: 2, others: 10 };

/// A backup on the following night.
const NIGHTLY: Requests = Requests { key_vault: 21, writes: 11, lists: 3, reads: 3, others: 10 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_asks_for_as_much_as_the_table_of_costs_says() {
    let world = World::with(&["contoso"]);
    world.vaults.seed("contoso", ITEMS);
    let meter = Arc::new(Meter { beyond: client(), counts: Default::default() });
    let backups = Container::create().await;
    let state = backups.create_beside("-state").await;
    let store = |container: &Container| Arc::new(container.store_through(meter.clone()));
    let repository = Repository::new(store(&backups), store(&state));
    for expected in [FULL, NIGHTLY] {
        let start = Instant::now();
        let measured = measure(&world, &repository, &meter).await;
        // Leases are renewed and records are written by the clock, so a slow machine has more of them.
        let by_the_clock = start.elapsed().as_secs();
        assert!((expected.writes..=expected.writes + by_the_clock).contains(&measured.writes), "{measured:?}");
        assert_eq!(Requests { writes: expected.writes, others: expected.others, ..measured }, expected);
        world.pass(Duration::from_secs(86_400));
        for number in 0..CHANGED {
            world.vaults.set_secret("contoso", &format!("secret-{:05}", number * 5), "another value");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nothing_changed_ten_thousand_items_cost_the_pages_of_their_listing_and_little_more() {
    const MANY: u64 = 10_000;
    /// Rows of a page of a listing, as the service gives them (Key Vault, Get Secrets).
    const PAGE: u64 = 25;
    let world = World::with(&["contoso"]);
    for number in 0..MANY {
        world.vaults.set_secret("contoso", &format!("secret-{number:05}"), "value");
    }
    world.pass(Duration::from_secs(86_400));
    let first = world.back_up("contoso").await.unwrap();
    world.pass(Duration::from_secs(86_400));
    let meter = Arc::new(Meter { beyond: client(), counts: Default::default() });
    let backups = Container::create().await;
    let state = backups.create_beside("-state").await;
    // Of the first backup only its manifest is needed.
    let name = format!("vaults/contoso/backups/{}.json", first.backup_id);
    let manifest = world.backups.read(&name).await.unwrap();
    let parts = manifest.len() as u64 / (1024 * 1024) + 1;
    backups.store().create(&name, manifest.into()).await.unwrap();
    let store = |container: &Container| Arc::new(container.store_through(meter.clone()));
    let measured = measure(&world, &Repository::new(store(&backups), store(&state)), &meter).await;
    assert!(measured.key_vault <= MANY / PAGE + 10, "{measured:?}");
    // As of a vault with few items, but that the manifest is read in parts. Records are written by the clock.
    assert_eq!((measured.lists, measured.reads), (NIGHTLY.lists, NIGHTLY.reads - 1 + parts), "{measured:?}");
    assert!(measured.writes < 100, "{measured:?}");
}

#[test]
fn the_tables_of_costs_and_times_in_the_runbook_are_what_prices_and_requests_make() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    let mut expected = Vec::new();
    for vaults in [10.0, 1_000.0, 10_000.0] {
        let Costs { key_vault, operations, data, functions, logs } = Costs::of(vaults);
        let total = key_vault + operations + data + functions + logs;
        let cells = [key_vault, operations, data, functions, logs, total].map(dollars).join(" | ");
        expected.push(format!("| {} | {cells} |", thousands(vaults)));
    }
    for vaults in [10.0, 1_000.0, 10_000.0] {
        let cells = [FULL, NIGHTLY].map(|requests| time(vaults, requests)).join(" | ");
        expected.push(format!("| {} | {} | {cells} |", thousands(vaults), thousands(vaults * FULL.key_vault as f64)));
    }
    let missing: Vec<_> = expected.iter().filter(|row| !document.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/operations.md lacks these rows:\n{}", expected.join("\n"));
}

/// Nights and weeks of a month.
const NIGHTS: f64 = 365.0 / 12.0;
const WEEKS: f64 = NIGHTS / 7.0;

/// `BACKUP_FULL_EVERY_DAYS` is 7: one night in seven reads every item.
const FULLS: f64 = WEEKS;

/// Complete sets of item blobs that `daily=35,weekly=8,monthly=12,yearly=7` holds in the end, and manifests.
const SETS: f64 = 25.0;
const MANIFESTS: f64 = 62.0;

/// Bytes of an item's blob, and of its line in a manifest: of the seeded items, 13.5 kB and 0.6 kB on average.
const BLOB: f64 = 15_000.0;
const LINE: f64 = 600.0;

/// Bytes of a line in the logs of Key Vault, of storage, and of the app, as far as they are charged: an assumption.
const LOG_LINE: f64 = 1_200.0;

/// Lines the app and its host write about one operation.
const LINES: f64 = 20.0;

/// The instances and the pace that the runbook advises: half of what a subscription has in one region.
const INSTANCES: f64 = 40.0;
const REQUESTS_PER_SECOND: f64 = 25.0;

/// Seconds that an operation takes beside its requests to Key Vault: storage, the queue, the start.
const BESIDE: f64 = 0.5;

/// Seconds that a verification takes: 5,000 blobs, 16 at once, 10 ms each, and the rest.
const VERIFICATION: f64 = 4.0;

/// GB of an instance, as `infra` deploys it.
const MEMORY: f64 = 2.0;

/// US dollars, with the sources that docs/operations.md names.
mod price {
    /// Of a request to Key Vault.
    pub(super) const KEY_VAULT: f64 = 0.03 / 10_000.0;
    /// Of requests to the hot tier.
    pub(super) const WRITE: f64 = 0.055 / 10_000.0;
    pub(super) const LIST: f64 = 0.055 / 10_000.0;
    pub(super) const READ: f64 = 0.0044 / 10_000.0;
    pub(super) const OTHER: f64 = 0.0044 / 10_000.0;
    /// Of a request to a queue.
    pub(super) const QUEUE: f64 = 0.004 / 10_000.0;
    /// Of a GB in the hot tier for a month.
    pub(super) const HOT: f64 = 0.0208;
    /// Of a GB-second and an execution, and how many are free each month.
    pub(super) const GB_SECOND: f64 = 0.000_026;
    pub(super) const FREE_GB_SECONDS: f64 = 100_000.0;
    pub(super) const EXECUTION: f64 = 0.40 / 1_000_000.0;
    pub(super) const FREE_EXECUTIONS: f64 = 250_000.0;
    /// Of a GB of logs, and how many GB are free each month.
    pub(super) const LOG: f64 = 2.30;
    pub(super) const FREE_LOGS: f64 = 5.0;
}

/// Of one month, in US dollars.
struct Costs {
    key_vault: f64,
    operations: f64,
    data: f64,
    functions: f64,
    logs: f64,
}

impl Costs {
    fn of(vaults: f64) -> Self {
        let month = |count: fn(&Requests) -> u64| {
            vaults * (FULLS * count(&FULL) as f64 + (NIGHTS - FULLS) * count(&NIGHTLY) as f64)
        };
        let (key_vault, writes, lists) = (month(|it| it.key_vault), month(|it| it.writes), month(|it| it.lists));
        let others = month(|it| it.others);
        // A verification reads everything once.
        let reads = month(|it| it.reads) + vaults * WEEKS * (SETS * ITEMS as f64 + MANIFESTS);
        let executions = vaults * (NIGHTS + WEEKS);
        // Each message is put, got and deleted.
        let queue = executions * 3.0;
        let seconds = vaults * (FULLS * seconds(FULL) + (NIGHTS - FULLS) * seconds(NIGHTLY) + WEEKS * VERIFICATION);
        let stored = vaults * ITEMS as f64 * (SETS * BLOB + MANIFESTS * LINE);
        let lines = key_vault + writes + lists + reads + others + executions * LINES;
        Self {
            key_vault: key_vault * price::KEY_VAULT,
            operations: writes * price::WRITE
                + lists * price::LIST
                + reads * price::READ
                + others * price::OTHER
                + queue * price::QUEUE,
            data: stored / 1e9 * price::HOT,
            functions: (seconds * MEMORY - price::FREE_GB_SECONDS).max(0.0) * price::GB_SECOND
                + (executions - price::FREE_EXECUTIONS).max(0.0) * price::EXECUTION,
            logs: (lines * LOG_LINE / 1e9 - price::FREE_LOGS).max(0.0) * price::LOG,
        }
    }
}

/// How long one backup takes at the advised pace.
fn seconds(requests: Requests) -> f64 {
    requests.key_vault as f64 / REQUESTS_PER_SECOND + BESIDE
}

/// How long a night takes.
fn time(vaults: f64, requests: Requests) -> String {
    let seconds = seconds(requests) * (vaults / INSTANCES).max(1.0);
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

fn dollars(amount: f64) -> String {
    if amount < 10.0 { format!("{amount:.2}") } else { format!("{amount:.0}") }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// What one backup asks for, with the record of its operation, as `BackupWorker` does it.
async fn measure(world: &World, repository: &Repository, meter: &Meter) -> Requests {
    let (before, asked) = (meter.read(), world.door.requests());
    let vault = world.vault("contoso");
    let (id, now, progress) = (Uuid::new_v4(), world.now(), Progress::default());
    let operation = Operation::new(id, OperationKind::Backup, vault.name().clone(), serde_json::json!({}), now);
    repository.create_operation(&operation).await.unwrap();
    let work = async {
        let id_of_backup = repository.backup_id(vault.name(), id, now).await?;
        let options = backup::Options { id: id_of_backup, concurrency: 16, ..world.backup_options() };
        let Backup::Committed(header) = backup::run(&vault, repository, id, &options, &progress, now).await? else {
            panic!("nobody else is backing this vault up");
        };
        Ok(Done {
            status: header.status,
            backup_id: Some(header.backup_id),
            counts: Default::default(),
            drill: None,
            message: String::new(),
            problems: Vec::new(),
            items: Default::default(),
        })
    };
    let ended = attempt(repository, operation, Attempts::MoreToCome, &progress, now, work).await.unwrap();
    assert_eq!(ended.status, Status::Succeeded);
    let after = meter.read();
    Requests {
        key_vault: world.door.requests() - asked,
        writes: after.writes - before.writes,
        lists: after.lists - before.lists,
        reads: after.reads - before.reads,
        others: after.others - before.others,
    }
}

/// Counts requests to Blob Storage by how they are charged (Microsoft Learn, "Map each REST operation to a price").
#[derive(Debug)]
struct Meter {
    beyond: Arc<dyn HttpClient>,
    /// Writes, lists, reads, others.
    counts: [AtomicU64; 4],
}

impl Meter {
    fn read(&self) -> Requests {
        let [writes, lists, reads, others] = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Requests { key_vault: 0, writes, lists, reads, others }
    }
}

#[async_trait]
impl HttpClient for Meter {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let what = request.url().query_pairs().find_map(|(name, value)| (name == "comp").then(|| value.into_owned()));
        let class = match (request.method(), what.as_deref()) {
            (Method::Put, None) => Some(0),
            (Method::Get, Some("list")) => Some(1),
            (Method::Get, None) => Some(2),
            // Deleting is free.
            (Method::Delete, None) => None,
            _ => Some(3),
        };
        if let Some(class) = class {
            self.counts[class].fetch_add(1, Ordering::Relaxed);
        }
        self.beyond.execute_request(request).await
    }
}
