//! Clocks that are wrong by hours: the one of a run, which may be right again in the next, and the one of the service,
//! which may jump in the middle. What is promised is in docs/operations.md.

use std::time::Duration;

use keyvault_backup::{
    backup::{self, Backup},
    coverage::{self, Cause, Terms},
    model::Timestamp,
    report::{Progress, Status},
    repository::{Selector, manifest::Header},
    vault::pacing::Pacing,
};
use simulator::key_vault::Kind;
use uuid::Uuid;

use super::{SOURCE, TARGET};
use crate::{
    backup::{DAY, item},
    world::{World, meanwhile::Meanwhile},
};

const HOUR: i64 = 3600;

/// How far a clock is ahead, or behind, in seconds.
const WRONG: [i64; 8] = [-10 * 8766 * HOUR, -30 * HOUR, -5 * HOUR, -600, 600, 5 * HOUR, 30 * HOUR, 10 * 8766 * HOUR];

/// A backup by a machine whose clock is wrong by so many seconds.
async fn back_up(world: &World, wrong: i64) -> Header {
    let (vault, repository, operation) = (world.vault(SOURCE), world.repository(), Uuid::new_v4());
    let now = Timestamp::from_unix(world.now().unix() + wrong);
    let id = repository.backup_id(vault.name(), operation, now).await.unwrap();
    let options = backup::Options { id, ..world.backup_options() };
    match backup::run(&vault, &repository, operation, &options, &Progress::default(), now).await.unwrap() {
        Backup::Committed(header) => *header,
        Backup::NotNeeded => panic!("nobody else is backing this vault up"),
    }
}

/// Whoever restores `latest` gets the last backup that was made, and each backup holds what changed.
#[tokio::test(start_paused = true)]
async fn the_latest_backup_is_the_last_one_made_whatever_the_clocks_say() {
    for wrong in WRONG {
        let world = World::with(&[SOURCE]);
        world.vaults.set_secret(SOURCE, "kept", "value");
        for clock in [0, wrong, 0, 0, wrong] {
            let version = world.vaults.set_secret(SOURCE, "apple", "value");
            world.pass(DAY);
            let header = back_up(&world, clock).await;
            assert_eq!(header.status, Status::Succeeded, "{wrong}: {header:?}");
            let newest = world.newest(SOURCE).await;
            assert_eq!(newest.header, header, "{wrong}");
            assert_eq!(&*item(&newest, "secrets/apple").version, version, "{wrong}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_found_by_the_time_of_a_clock_that_is_right_again() {
    for wrong in WRONG {
        let world = World::with(&[SOURCE]);
        world.vaults.set_secret(SOURCE, "apple", "value");
        back_up(&world, wrong).await;
        world.pass(DAY);
        let header = back_up(&world, 0).await;
        let found = world.repository().find(&SOURCE.parse().unwrap(), &Selector::At(world.now())).await.unwrap();
        assert_eq!(found.id, header.backup_id, "{wrong}");
    }
}

/// A change to an older version shows in no listing: it is found by reading everything now and then, which a date in the
/// future must not put off.
#[tokio::test(start_paused = true)]
async fn a_copy_from_the_future_is_read_anew() {
    for wrong in [5 * HOUR, 10 * 8766 * HOUR] {
        let world = World::with(&[SOURCE]);
        world.vaults.set_secret(SOURCE, "apple", "value");
        world.pass(DAY);
        back_up(&world, wrong).await;
        world.pass(Duration::from_secs(3600));
        let header = back_up(&world, 0).await;
        assert_eq!((header.counts.read, header.counts.carried_over), (1, 0), "{wrong}");
        world.pass(DAY);
        let header = back_up(&world, 0).await;
        assert_eq!((header.counts.read, header.counts.carried_over), (0, 1), "{wrong}: once is enough");
    }
}

/// Its age says nothing, and would hide for years that no other backup is made.
#[tokio::test(start_paused = true)]
async fn a_backup_from_the_future_does_not_count_as_a_recent_one() {
    let world = World::with(&[SOURCE]);
    world.vaults.set_secret(SOURCE, "apple", "value");
    let look = async |world: &World| {
        let scope = vec![SOURCE.parse().unwrap()];
        let terms = Terms { scope: scope.clone(), expect_all: false, max_age: DAY * 2, now: world.now() };
        coverage::look(&world.repository(), scope, &terms).await.remove(0)
    };
    back_up(&world, 5 * HOUR).await;
    let coverage = look(&world).await;
    let [attention] = &coverage.attention[..] else { panic!("{coverage:?}") };
    assert_eq!((attention.cause, coverage.age), (Cause::Unknown, None));
    assert!(attention.message.contains("clock"), "{}", attention.message);

    world.pass(DAY);
    back_up(&world, 0).await;
    let coverage = look(&world).await;
    assert_eq!((coverage.attention.len(), coverage.age), (0, Some(0)), "{coverage:?}");
}

/// The service's clock jumps while a run is at work, and tokens are over, or not yet good.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_in_the_middle_of_a_run_loses_nothing() {
    for (ahead, hours) in [(true, 5), (true, 48), (false, 5), (false, 48)] {
        let case = format!("{hours} hours {}", if ahead { "ahead" } else { "back" });
        let world = World::with(&[SOURCE, TARGET]);
        world.vaults.seed(SOURCE, 30);
        let clock = world.vaults.clock().clone();
        let jump = Duration::from_secs(hours * 3600);
        let act = move || if ahead { clock.advance(jump) } else { clock.set_back(jump) };
        let transport = Meanwhile::transport(&world.door, "/secrets/secret-00011/backup", 1, act);
        let vault = world.vault_through(SOURCE, &transport, Pacing::new(1_000.0));
        let header = world.back_up_from(&vault, &world.repository(), &world.backup_options()).await.unwrap();
        assert_eq!((header.status, header.counts.read), (Status::Succeeded, 30), "{case}: {:?}", header.failures);

        let version = world.vaults.set_secret(SOURCE, "secret-00000", "new value");
        world.vaults.delete_now(SOURCE, Kind::Secret, "secret-00001");
        world.pass(DAY);
        let header = back_up(&world, 0).await;
        assert_eq!(header.status, Status::Succeeded, "{case}");
        let newest = world.newest(SOURCE).await;
        assert_eq!(newest.header, header, "{case}");
        assert_eq!(&*item(&newest, "secrets/secret-00000").version, version, "{case}");
        world.restore(SOURCE, TARGET).await;
        let (mut source, target) = (world.vaults.snapshot(SOURCE), world.vaults.snapshot(TARGET));
        source.items.retain(|_, item| item.active);
        assert_eq!(source.differences(&target), Vec::<String>::new(), "{case}");
    }
}
