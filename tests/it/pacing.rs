//! How a vault's quota is respected by whole runs: what it refuses is waited for, and it is seldom made to refuse.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use keyvault_backup::{
    backup,
    report::{Outcome, Progress, Status},
    restore,
    vault::{
        Vault,
        pacing::{DEFAULT_REQUESTS_PER_SECOND, Pacing, Traffic},
    },
};
use simulator::key_vault::Throttling;
use tokio::time::Instant;

use crate::world::World;

const SOURCE: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";

/// A vault in which a request takes as long as in Azure.
fn world(items: usize) -> World {
    let world = World::with(&[SOURCE, TARGET]);
    world.vaults.seed(SOURCE, items);
    world.vaults.set_latency(Duration::from_millis(20));
    world
}

fn vault(world: &World, name: &str, pacing: &Arc<Pacing>) -> Vault {
    world.vault_through(name, &world.door.transport(), pacing.clone())
}

fn options(world: &World) -> backup::Options {
    backup::Options { concurrency: 16, ..world.backup_options() }
}

#[tokio::test(start_paused = true)]
async fn the_default_pace_is_never_refused_by_the_quota_and_leaves_most_of_it_to_others() {
    let world = world(600);
    world.vaults.set_throttling(SOURCE, Some(Throttling::default()));
    let pacing = Pacing::new(DEFAULT_REQUESTS_PER_SECOND);
    let start = Instant::now();
    let vault = vault(&world, SOURCE, &pacing);
    let header = world.back_up_from(&vault, &world.repository(), &options(&world)).await.unwrap();
    assert_eq!((header.status, pacing.traffic().throttled), (Status::Succeeded, 0));
    let rate = pacing.traffic().requests as f64 / start.elapsed().as_secs_f64();
    assert!((90.0..=105.0).contains(&rate), "{rate} requests per second");
}

#[tokio::test(start_paused = true)]
async fn a_vault_with_little_quota_left_is_backed_up_whole_with_few_refusals() {
    for retry_after in [None, Some(2)] {
        let world = world(300);
        // 80 requests in ten seconds, and keys in hardware count twice.
        world.vaults.set_throttling(SOURCE, Some(Throttling { scale: 0.02, retry_after }));
        let pacing = Pacing::new(DEFAULT_REQUESTS_PER_SECOND);
        let start = Instant::now();
        let vault = vault(&world, SOURCE, &pacing);
        let header = world.back_up_from(&vault, &world.repository(), &options(&world)).await.unwrap();
        assert_eq!((header.status, header.counts.read), (Status::Succeeded, 300), "{:?}", header.failures);
        let (traffic, took) = (pacing.traffic(), start.elapsed());
        assert!(traffic.throttled > 0 && traffic.throttled * 4 <= traffic.requests, "{traffic:?} in {took:?}");
        // 650 requests of which a sixth count twice take 95 seconds at the very least.
        assert!(took <= Duration::from_secs(600), "{traffic:?} in {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_with_little_quota_left_is_restored_into_whole_with_few_refusals() {
    for retry_after in [None, Some(2)] {
        let world = world(150);
        world.back_up(SOURCE).await.unwrap();
        let manifest = world.newest(SOURCE).await;
        // 15 restores in ten seconds.
        world.vaults.set_throttling(TARGET, Some(Throttling { scale: 0.05, retry_after }));
        let pacing = Pacing::new(DEFAULT_REQUESTS_PER_SECOND);
        let target = vault(&world, TARGET, &pacing);
        let options = restore::Options { concurrency: 16, ..world.restore_options() };
        let start = Instant::now();
        let plan = restore::plan(&manifest, &target, &options).await.unwrap();
        let (repository, progress) = (world.repository(), Progress::default());
        let reports = restore::execute(&plan, &manifest, &repository, &target, &options, false, &progress)
            .await
            .unwrap()
            .to_vec()
            .unwrap();
        let bad: Vec<_> = reports.iter().filter(|report| report.outcome != Outcome::Restored).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        let (traffic, took) = (pacing.traffic(), start.elapsed());
        assert!(traffic.throttled > 0 && traffic.throttled * 3 <= traffic.requests, "{traffic:?} in {took:?}");
        assert!(took <= Duration::from_secs(600), "{traffic:?} in {took:?}");
    }
}

/// Waiting for one's turn is not waiting for an answer.
#[tokio::test(start_paused = true)]
async fn a_pace_slower_than_any_time_out_backs_up_everything() {
    let world = world(20);
    let pacing = Pacing::new(0.1);
    let vault = vault(&world, SOURCE, &pacing);
    let header = world.back_up_from(&vault, &world.repository(), &options(&world)).await.unwrap();
    assert_eq!((header.status, header.counts.read), (Status::Succeeded, 20), "{:?}", header.failures);
    assert_eq!(world.door.requests(), pacing.traffic().requests);
}

/// A whole vault, as after a disaster: restores have the smaller quota, and nothing may be lost to it.
#[tokio::test(start_paused = true)]
async fn five_thousand_items_are_restored_under_the_documented_quota_without_one_refusal() {
    let world = world(5000);
    world.back_up(SOURCE).await.unwrap();
    let manifest = world.newest(SOURCE).await;
    world.vaults.set_throttling(TARGET, Some(Throttling::default()));
    let pacing = Pacing::new(DEFAULT_REQUESTS_PER_SECOND);
    let target = vault(&world, TARGET, &pacing);
    let options = restore::Options { concurrency: 16, ..world.restore_options() };
    let start = Instant::now();
    let plan = restore::plan(&manifest, &target, &options).await.unwrap();
    assert_eq!(plan.estimated_seconds, 200);
    let (repository, progress) = (world.repository(), Progress::default());
    let reports = restore::execute(&plan, &manifest, &repository, &target, &options, false, &progress)
        .await
        .unwrap()
        .to_vec()
        .unwrap();
    let good = reports.iter().filter(|report| report.outcome == Outcome::Restored).count();
    assert_eq!((good, pacing.traffic().throttled), (5000, 0));
    // 25 restores in a second, which is five sixths of the quota.
    let took = start.elapsed();
    assert!((Duration::from_secs(200)..Duration::from_secs(230)).contains(&took), "{took:?}");
    assert_eq!(world.vaults.snapshot(SOURCE).differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

/// A fleet of instances on eighty vaults of one subscription and region, which together may be asked five times as much
/// as one vault: at the default pace by twenty instances. Everything is a tenth of what Azure and the setting say, so
/// that the proportions are theirs.
#[tokio::test(start_paused = true)]
async fn more_instances_than_a_subscription_has_quota_for_lose_no_item_but_time() {
    let enough = fleet(20).await;
    assert!(enough.throttled * 50 <= enough.requests, "{enough:?}");
    assert!(enough.took <= Duration::from_secs(50), "{enough:?}");
    let too_many = fleet(40).await;
    assert!(too_many.throttled > 0 && too_many.throttled * 5 <= too_many.requests, "{too_many:?}");
    assert!(too_many.took > enough.took && too_many.took <= enough.took * 4, "{too_many:?} after {enough:?}");
}

/// What the backup of eighty vaults took.
#[derive(Debug)]
struct Fleet {
    took: Duration,
    requests: u64,
    throttled: u64,
}

/// Backs eighty vaults of fifty secrets up, so many at once.
async fn fleet(instances: usize) -> Fleet {
    const ITEMS: usize = 50;
    let names: Vec<String> = (0..80).map(|number| format!("contoso-{number:02}")).collect();
    let world = World::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    world.vaults.set_latency(Duration::from_millis(20));
    for name in &names {
        for number in 0..ITEMS {
            world.vaults.set_secret(name, &format!("secret-{number:02}"), "value");
        }
        world.vaults.set_throttling(name, Some(Throttling { scale: 0.1, retry_after: None }));
    }
    let (world, start) = (&world, Instant::now());
    let traffic: Vec<Traffic> = stream::iter(&names)
        .map(async |name| {
            let pacing = Pacing::new(DEFAULT_REQUESTS_PER_SECOND / 10.0);
            let vault = vault(world, name, &pacing);
            let header = world.back_up_from(&vault, &world.repository(), &options(world)).await.unwrap();
            let outcome = (header.status, header.counts.read);
            assert_eq!(outcome, (Status::Succeeded, ITEMS as u64), "{name}: {:?}", header.failures);
            pacing.traffic()
        })
        .buffer_unordered(instances)
        .collect()
        .await;
    Fleet {
        took: start.elapsed(),
        requests: traffic.iter().map(|traffic| traffic.requests).sum(),
        throttled: traffic.iter().map(|traffic| traffic.throttled).sum(),
    }
}
