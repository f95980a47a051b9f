//! What one process asks, whatever it is asked to do at once: the settings bound the sum.

use std::time::{Duration, Instant};

use keyvault_backup::{
    config::{Config, Settings, connect::Connections},
    report::{Outcome, Progress},
    restore,
};
use simulator::key_vault::{Logged, Verb};

use super::{SOURCE, TARGET, options, vault};
use crate::{local_azure::LocalAzure, world::World};

/// The connections of a process with these settings.
fn connections(requests_per_second: &str, total: &str) -> Connections {
    let settings = Settings {
        backup_store_url: Some("file:///tmp/backups".into()),
        backup_requests_per_second: Some(requests_per_second.into()),
        backup_total_requests_per_second: Some(total.into()),
        ..Default::default()
    };
    Connections::new(Config::read(&settings).unwrap())
}

/// Two vaults of so many secrets each, whose names differ.
fn two_vaults(items: usize) -> World {
    let world = World::with(&[SOURCE, TARGET]);
    for name in [SOURCE, TARGET] {
        for number in 0..items {
            world.vaults.set_secret(name, &format!("{name}-{number:03}"), "value");
        }
    }
    world.vaults.set_latency(Duration::from_millis(20));
    world
}

/// The most requests that came within one second.
fn most_in_a_second(log: &[Logged]) -> usize {
    let times: Vec<i64> = log.iter().map(|request| request.at_millis).collect();
    assert!(times.is_sorted());
    (0..times.len()).map(|first| times[first..].partition_point(|at| *at < times[first] + 1_000)).max().unwrap_or(0)
}

/// When requests of that sort came.
fn of(log: &[Logged], verb: Verb) -> Vec<i64> {
    let of_it = log.iter().filter(|request| request.operation.is_some_and(|operation| operation.verb == verb));
    of_it.map(|request| request.at_millis).collect()
}

#[tokio::test(start_paused = true)]
async fn a_backup_and_a_restore_of_one_process_in_one_vault_keep_to_its_setting_together() {
    const EACH: usize = 300;
    let world = two_vaults(EACH);
    world.back_up(SOURCE).await.unwrap();
    let manifest = world.newest(SOURCE).await;
    let before = world.vaults.requests().len();
    let connections = connections("40", "1000");
    let pacing = || connections.pacing(&TARGET.parse().unwrap());
    let backing_up = async {
        let target = vault(&world, TARGET, &pacing());
        world.back_up_from(&target, &world.repository(), &options(&world)).await.unwrap()
    };
    let restoring = async {
        let (target, options) = (vault(&world, TARGET, &pacing()), world.restore_options());
        let plan = restore::plan(&manifest, &target, &options).await.unwrap();
        let (repository, progress) = (world.repository(), Progress::default());
        let done = restore::execute(&plan, &manifest, &repository, &target, &options, false, &progress).await;
        done.unwrap().to_vec().unwrap()
    };
    let (header, reports) = tokio::join!(backing_up, restoring);
    assert!(header.counts.read >= EACH as u64, "{header:?}");
    assert_eq!(reports.iter().filter(|report| report.outcome == Outcome::Restored).count(), EACH);

    let log: Vec<Logged> = world.vaults.requests().split_off(before);
    assert!(log.iter().all(|request| request.vault == TARGET));
    let (backups, restores) = (of(&log, Verb::Backup), of(&log, Verb::Restore));
    let (first, last) = (backups[0].max(restores[0]), backups[backups.len() - 1].min(restores[restores.len() - 1]));
    assert!(last - first > 5_000, "they were at work at the same time: {first} to {last}");
    // One more than the setting, because a second has two ends.
    let most = most_in_a_second(&log);
    assert!((36..=41).contains(&most), "{most} requests in a second");
}

#[tokio::test(start_paused = true)]
async fn two_vaults_of_one_process_keep_to_the_total_of_its_settings_together() {
    let world = two_vaults(200);
    let connections = connections("1000", "30");
    let back_up = async |name: &str| {
        let vault = vault(&world, name, &connections.pacing(&name.parse().unwrap()));
        world.back_up_from(&vault, &world.repository(), &options(&world)).await.unwrap();
    };
    futures::future::join(back_up(SOURCE), back_up(TARGET)).await;
    let log: Vec<Logged> = world.vaults.requests();
    let most = most_in_a_second(&log);
    assert!((27..=31).contains(&most), "{most} requests in a second");
}

/// The only bound that a busy machine cannot break: a command that may ask twelve times a second needs that long.
#[tokio::test]
async fn a_command_takes_as_long_as_its_total_demands() {
    let azure = LocalAzure::with(&[SOURCE, TARGET]).await;
    for name in [SOURCE, TARGET] {
        azure.vaults.seed(name, 10);
    }
    let start = Instant::now();
    let ran = azure.run_with(&[("BACKUP_TOTAL_REQUESTS_PER_SECOND", "12")], &["backup", SOURCE, TARGET]).await;
    let took = start.elapsed();
    assert_eq!(ran.code, 0, "{ran:?}");
    let requests = azure.vaults.requests().len();
    assert!(requests > 30, "{requests}");
    assert!(took >= Duration::from_secs_f64((requests - 1) as f64 / 12.0), "{requests} requests in {took:?}");
}
