//! Which backup and which items are meant.

use std::time::Duration;

use keyvault_backup::{
    error::ErrorKind,
    model::{Timestamp, VaultName, filter::ItemFilter},
    repository::Selector,
    restore::Options,
};

use super::{SOURCE, TARGET, actions, backed_up, plan_with};
use crate::{backup::DAY, world::World};

fn source() -> VaultName {
    SOURCE.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_found_by_id_label_time_and_as_the_latest() {
    let world = World::with(&[SOURCE]);
    world.vaults.set_secret(SOURCE, "apple", "value");
    // Every request takes so long that a backup takes minutes.
    world.vaults.set_latency(Duration::from_secs(50));
    let mut headers = Vec::new();
    for label in [Some("before-upgrade"), None, Some("before-upgrade"), None] {
        let mut options = world.backup_options();
        options.label = label.map(|label| label.parse().unwrap());
        headers.push(world.back_up_with(SOURCE, &options).await.unwrap());
        world.pass(DAY);
    }
    let repository = world.repository();
    let find = async |text: &str| {
        let selector: Selector = text.parse().unwrap();
        repository.find(&source(), &selector).await.map(|backup| backup.id)
    };
    assert_eq!(find("latest").await.unwrap(), headers[3].backup_id);
    for header in &headers {
        assert_eq!(find(header.backup_id.as_str()).await.unwrap(), header.backup_id);
    }
    assert_eq!(find("before-upgrade").await.unwrap(), headers[2].backup_id, "the newest of that label");

    assert!(headers[1].finished_at.seconds_since(headers[1].started_at) > 60, "the backup took some time");
    let at = async |moment: Timestamp| find(&moment.to_string()).await;
    assert_eq!(at(headers[1].finished_at).await.unwrap(), headers[1].backup_id);
    assert_eq!(at(headers[1].finished_at.plus(DAY / 2)).await.unwrap(), headers[1].backup_id);
    // It had begun, but it was not complete at that moment.
    let midway = headers[1].started_at.plus(Duration::from_secs(30));
    assert_eq!(at(midway).await.unwrap(), headers[0].backup_id);
    let before_all = at(headers[0].started_at).await.unwrap_err();
    assert_eq!(before_all.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_backup_is_answered_with_the_newest_there_are() {
    let world = World::with(&[SOURCE]);
    let repository = world.repository();
    let error = repository.find(&source(), &Selector::Latest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("there is no backup of that vault"), "{error}");

    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.back_up(SOURCE).await.unwrap().backup_id);
        world.pass(DAY);
    }
    for unknown in ["20200101T000000Z-00000000", "no-such-label", "2020-01-01T00:00:00Z"] {
        let error = repository.find(&source(), &unknown.parse().unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("backup")), "{unknown}");
        let named: Vec<bool> = ids.iter().map(|id| error.message().contains(id.as_str())).collect();
        assert_eq!(named, [false, false, true, true, true], "{error}");
    }
}

#[test]
fn a_date_is_the_end_of_its_day() {
    let [day, moment] = ["2026-11-21", "2026-11-21T23:59:59Z"].map(|text| text.parse::<Selector>().unwrap());
    assert_eq!(day, moment);
}

#[test]
fn what_names_no_backup_is_refused_with_the_ways_to_name_one() {
    for text in ["", "Latest", "yesterday!", "2026-11", "2026-11-31", "20261121T020000Z", "-label"] {
        let error = text.parse::<Selector>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        assert!(error.message().contains("RFC 3339"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_chosen_items_are_planned() {
    let (world, manifest) = backed_up().await;
    for (patterns, wanted) in [
        (vec!["secrets/*"], vec!["secrets/apple"]),
        (vec!["!secrets/*"], vec!["certificates/certificate", "keys/key"]),
        (vec!["*/APP*", "keys/key"], vec!["keys/key", "secrets/apple"]),
    ] {
        let options = Options { filter: ItemFilter::new(&patterns).unwrap(), ..world.restore_options() };
        let plan = plan_with(&world, &manifest, &options).await.unwrap();
        assert_eq!(actions(&plan).into_keys().collect::<Vec<_>>(), wanted, "{patterns:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn patterns_that_choose_nothing_are_a_mistake_not_an_empty_success() {
    let (world, manifest) = backed_up().await;
    let filter = ItemFilter::new(["secrets/aple"]).unwrap();
    let options = Options { filter, ..world.restore_options() };
    let error = plan_with(&world, &manifest, &options).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::InvalidInput, Some("items")));
    assert!(error.message().contains("secrets/aple"), "{error}");
    assert!(world.vaults.snapshot(TARGET).items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_older_backup_brings_back_the_older_state() {
    let world = World::with(&[SOURCE, TARGET]);
    world.vaults.set_secret(SOURCE, "apple", "old");
    world.vaults.set_secret(SOURCE, "gone", "value");
    let old = world.vaults.snapshot(SOURCE);
    world.back_up(SOURCE).await.unwrap();
    let first = world.newest(SOURCE).await;
    world.pass(DAY);
    world.vaults.set_secret(SOURCE, "apple", "new");
    world.vaults.delete_now(SOURCE, simulator::key_vault::Kind::Secret, "gone");
    world.back_up(SOURCE).await.unwrap();
    let plan = world.plan(&first, TARGET).await;
    super::execute(&world, &first, &plan, &world.vault(TARGET)).await;
    assert_eq!(old.differences(&world.vaults.snapshot(TARGET)), Vec::<String>::new());
}
