//! How a vault's quota is respected by whole runs: what it refuses is waited for, and it is seldom made to refuse.

mod process;
#[path = "../../examples/pacing/run.rs"]
mod run;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use keyvault_backup::{
    backup,
    config::{Config, Settings, connect::Connections},
    report::{Outcome, Progress, Status},
    restore,
    vault::{
        Vault,
        pacing::{DEFAULT_REQUESTS_PER_SECOND, Pacing, Total, Traffic},
    },
};
use simulator::key_vault::{Effect, Fault, Kind, Operation, Throttling, Verb, Window};
use tokio::time::Instant;

use self::run::{Scenario, Second, play};
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
    // It begins at a quarter of that, because nobody knows yet who else is there.
    assert!((75.0..=100.0).contains(&rate), "{rate} requests per second");
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
async fn five_thousand_items_are_restored_at_the_documented_quota_with_hardly_a_refusal() {
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
    assert_eq!(good, 5000);
    let (traffic, took) = (pacing.traffic(), start.elapsed());
    assert!(traffic.throttled * 500 <= traffic.requests, "{traffic:?}");
    // It begins with 25 restores in a second, five sixths of the quota, and finds out that there are 30.
    assert!((Duration::from_secs(167)..Duration::from_secs(210)).contains(&took), "{took:?}");
    assert_eq!(world.vaults.snapshot(SOURCE).differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}

/// A fleet of instances on eighty vaults of one subscription and region, which together may be asked five times as much
/// as one vault: at the default pace by twenty instances. Everything is a tenth of what Azure and the setting say, so
/// that the proportions are theirs.
#[tokio::test(start_paused = true)]
async fn more_instances_than_a_subscription_has_quota_for_lose_no_item_but_time() {
    let mut fleets = Vec::new();
    for instances in [20, 25, 30, 40] {
        fleets.push((instances, fleet(instances).await));
    }
    // 200 requests a second and no more.
    let least = Duration::from_secs(fleets[0].1.requests / 200);
    for (instances, fleet) in &fleets {
        let few = if *instances == 20 { 50 } else { 15 };
        assert!(fleet.throttled * few <= fleet.requests, "{instances}: {fleet:?}");
        // Each vault is new to its pace, and is done before the pace has found its part.
        let most = least * if *instances == 40 { 3 } else { 2 };
        assert!(fleet.took <= most, "{instances}: {fleet:?}, at least {least:?}");
    }
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

/// Sums of some seconds.
fn total(series: &[Second], of: fn(&Second) -> u64) -> f64 {
    series.iter().map(of).sum::<u64>() as f64
}

const ALONE: Scenario = Scenario {
    requests_per_second: 1_000.0,
    seconds: 60,
    window: Window::Fixed,
    retry_after: None,
    capacity: None,
    production: |_| 0,
};

#[tokio::test(start_paused = true)]
async fn a_vault_alone_gives_nearly_all_of_its_quota_and_hardly_refuses() {
    for scenario in [ALONE, Scenario { window: Window::Sliding, retry_after: Some(2), ..ALONE }] {
        let series = play(&scenario).await;
        let (sent, refused) = (total(&series, |it| it.sent), total(&series, |it| it.refused));
        let share = (sent - refused) / (400.0 * 60.0);
        assert!(share >= 0.95 && refused <= 0.01 * sent, "{share}, {refused} of {sent} refused");
    }
}

#[tokio::test(start_paused = true)]
async fn applications_that_come_are_given_way_to() {
    for window in [Window::Fixed, Window::Sliding] {
        let production = |second| if second < 20 { 0 } else { 300 };
        let series = play(&Scenario { seconds: 90, window, production, ..ALONE }).await;
        // Nobody can know before they come; a window later it is known.
        let after = &series[50..];
        let (sent, refused) = (total(after, |it| it.sent), total(after, |it| it.refused));
        let hurt = total(after, |it| it.production_refused) / total(after, |it| it.production);
        let all = total(&series, |it| it.production_refused) / total(&series, |it| it.production);
        // How far apart the pauses are is random, so this is wide.
        assert!(hurt <= 0.08 && all <= 0.2, "{window:?}: {hurt} at last, {all} in all");
        assert!((1_200.0..=4_200.0).contains(&sent) && refused <= 0.01 * sent, "{window:?}: {refused} of {sent}");
    }
}

/// The quota is far away, but the vault is slow: with the applications it has more to do than it can.
#[tokio::test(start_paused = true)]
async fn a_vault_whose_latency_rises_is_asked_less_before_it_refuses() {
    let production = |_| 200;
    let scenario = Scenario { requests_per_second: 100.0, capacity: Some(250.0), production, seconds: 150, ..ALONE };
    let series = play(&scenario).await;
    let most = series.iter().map(|it| it.allowed).fold(0.0, f64::max);
    let last = total(&series[90..], |it| it.sent) / 60.0;
    assert!(
        most > 55.0 && (10.0..=55.0).contains(&last),
        "{most} requests per second are allowed at first, {last} sent at last"
    );
    assert_eq!(total(&series, |it| it.refused), 0.0);
}

#[tokio::test(start_paused = true)]
async fn requests_that_had_their_turn_wait_too_when_another_is_refused() {
    for retry_after in [Some(7), None] {
        let world = world(60);
        let effect = Effect::Answer { status: 429, code: "Throttled".to_owned(), retry_after };
        world.vaults.add_fault(Fault::new(effect).on(Operation::new(Kind::Secret, Verb::Backup)).skip(9).times(1));
        let pacing = Pacing::new(DEFAULT_REQUESTS_PER_SECOND);
        let vault = vault(&world, SOURCE, &pacing);
        world.back_up_from(&vault, &world.repository(), &options(&world)).await.unwrap();
        let log = world.vaults.requests();
        let refused = log.iter().find(|entry| entry.status == 429).unwrap().at_millis;
        let wait = retry_after.map_or(750, |seconds| i64::from(seconds) * 1_000);
        // What was under way is under way for 20 ms.
        let meanwhile = |at: i64| (refused + 21..refused + wait).contains(&at);
        let sent: Vec<_> = log.iter().filter(|entry| meanwhile(entry.at_millis)).collect();
        assert!(sent.is_empty(), "{retry_after:?}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_sort_of_request_does_not_slow_the_others_for_long() {
    let world = world(200);
    let effect = Effect::Answer { status: 429, code: "Throttled".to_owned(), retry_after: None };
    world.vaults.add_fault(Fault::new(effect).on(Operation::new(Kind::Key, Verb::Backup)).times(6));
    let pacing = Pacing::new(DEFAULT_REQUESTS_PER_SECOND);
    let vault = vault(&world, SOURCE, &pacing);
    let header = world.back_up_from(&vault, &world.repository(), &options(&world)).await.unwrap();
    assert_eq!((header.status, header.counts.read), (Status::Succeeded, 200), "{:?}", header.failures);
    assert_eq!(pacing.traffic().throttled, 6);
    assert!(pacing.look().requests_per_second > 80.0, "{:?}", pacing.look());
}

#[tokio::test(start_paused = true)]
async fn vaults_that_share_a_total_keep_to_it_together() {
    let world = world(40);
    world.back_up(SOURCE).await.unwrap();
    let before = world.door.requests();
    let (all, start) = (Total::new(20.0), Instant::now());
    let back_up = async |name| {
        let vault = vault(&world, name, &Pacing::sharing(1_000.0, &all));
        let options = backup::Options { full: true, ..options(&world) };
        world.back_up_from(&vault, &world.repository(), &options).await.unwrap();
    };
    futures::future::join(back_up(SOURCE), back_up(TARGET)).await;
    let rate = (world.door.requests() - before) as f64 / start.elapsed().as_secs_f64();
    assert!((18.0..=20.5).contains(&rate), "{rate} requests per second");
}

#[tokio::test(start_paused = true)]
async fn all_work_of_a_process_on_one_vault_has_one_pace() {
    let settings = Settings { backup_store_url: Some("file:///tmp/backups".into()), ..Default::default() };
    let connections = Connections::new(Config::read(&settings).unwrap());
    assert_eq!(connections.config().total_requests_per_second, 500.0);
    let pacing = |name: &str| connections.pacing(&name.parse().unwrap());
    assert!(Arc::ptr_eq(&pacing("contoso-prod"), &pacing("Contoso-PROD")));
    assert!(!Arc::ptr_eq(&pacing("contoso-prod"), &pacing("contoso-dr")));
}
