//! SIGKILL in the middle of the work. The host starts the handler again, or another instance has one, and the queue
//! delivers the message again.

use std::{ops::RangeInclusive, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use keyvault_backup::repository::manifest::Manifest;
use serde_json::json;
use simulator::{
    key_vault::{Effect, Fault, Verb},
    mishap::Mishap,
};

use super::{
    PRODUCTION, RECOVERY,
    cloud::{Cloud, LIMIT, until},
};

/// How many items the app deals with at once, unless a setting says otherwise.
const AT_ONCE: usize = 16;

/// Half of the requests about 300 items: for each, one that backs it up or restores it and one that looks at it.
const PASSING: usize = 300;

/// How many items have then been asked for, of 300: the last 16 of them hang at their first or at their second request.
const HALF: RangeInclusive<usize> = 158..=166;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_half_way_ends_as_if_it_had_not_been_and_repeats_nothing() {
    let cloud = Cloud::with(&[PRODUCTION], &[]).await;
    cloud.vaults.seed(PRODUCTION, 300);
    // The host waits as long as host.json says before it delivers again: 30 s, as long as the killed run's lease.
    let app = cloud.start(cloud.settings()).await;

    hang_after(&cloud, PRODUCTION, PASSING);
    let operation = app.accept("api/backups", &json!({ "vaults": [PRODUCTION] })).await;
    stands_still(&cloud, PRODUCTION, PASSING).await;
    app.host.kill_handler().await;
    cloud.vaults.clear_faults();
    let asked = cloud.answers(Verb::Backup);
    let written = items_of(&cloud.blobs().await);
    assert!(HALF.contains(&asked.len()), "{} of 300", asked.len());
    assert_eq!(written.len() + AT_ONCE, asked.len(), "what was under way is lost, the rest is safe");
    assert!(cloud.manifests(PRODUCTION).await.is_empty(), "half a backup is none");

    let operation = app.ended(&operation).await;
    assert_eq!((&operation["status"], &operation["attempts"]), (&json!("Succeeded"), &json!(2)), "{operation:#}");
    assert_eq!(operation["counts"]["read"], 300);
    // The record is written before the host hears of it.
    app.host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(app.deliveries("BackupWorker"), [(1, false), (2, true)]);
    let answers = cloud.answers(Verb::Backup);
    assert_eq!(answers.len(), 300);
    for (item, answers) in &answers {
        let lost = asked.contains_key(item) && !written.contains(item);
        assert_eq!(answers.len(), if lost { 2 } else { 1 }, "{item} was written or not: {}", !lost);
    }

    let undisturbed = app.run("api/backups", &json!({ "vaults": [PRODUCTION], "full": true })).await;
    assert_eq!(undisturbed["counts"]["read"], 300);
    let [killed, undisturbed] = <[Manifest; 2]>::try_from(cloud.manifests(PRODUCTION).await).unwrap();
    assert_eq!(without_ids_and_times(&killed), without_ids_and_times(&undisturbed));
    let repository = cloud.repository();
    let sound =
        stream::iter(killed.items.iter()).map(async |item| repository.read_item(&item?).await).buffer_unordered(8);
    assert_eq!(sound.try_collect::<Vec<_>>().await.unwrap().len(), 300);
    cloud.check(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_half_way_ends_as_if_it_had_not_been_and_repeats_nothing() {
    let cloud = Cloud::with(&[PRODUCTION], &[RECOVERY]).await;
    cloud.vaults.seed(PRODUCTION, 300);
    let mut settings = cloud.settings();
    settings.insert("BACKUP_REQUESTS_PER_SECOND".into(), "4000".into());
    let app =
        cloud.start_with(settings, |options| options.timings.visibility_timeout = Some(Duration::from_secs(1))).await;
    let backup = app.run("api/backups", &json!({ "vaults": [PRODUCTION] })).await;
    assert_eq!(backup["status"], "Succeeded", "{backup:#}");

    hang_after(&cloud, RECOVERY, PASSING);
    let order = json!({ "vault": PRODUCTION, "backup": "latest", "targetVault": RECOVERY });
    let operation = app.accept("api/restore", &order).await;
    stands_still(&cloud, RECOVERY, PASSING).await;
    app.host.kill_handler().await;
    cloud.vaults.clear_faults();
    let asked = cloud.answers(Verb::Restore).len();
    assert!(HALF.contains(&asked), "{asked} of 300");

    let operation = app.ended(&operation).await;
    assert_eq!((&operation["status"], &operation["attempts"]), (&json!("Succeeded"), &json!(2)), "{operation:#}");
    assert_eq!(operation["counts"], json!({ "restored": 300 }));
    // The record is written before the host hears of it.
    app.host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(app.deliveries("RestoreWorker"), [(1, false), (2, true)]);
    let answers = cloud.answers(Verb::Restore);
    let not_once: Vec<_> = answers.iter().filter(|(_, answers)| **answers != [200]).collect();
    assert!(answers.len() == 300 && not_once.is_empty(), "{} items, {not_once:?}", answers.len());
    let (source, target) = (cloud.vaults.snapshot(PRODUCTION), cloud.vaults.snapshot(RECOVERY));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    cloud.check(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_whose_instance_is_lost_is_brought_to_its_end_by_another_instance() {
    let cloud = Cloud::with(&[PRODUCTION], &[RECOVERY]).await;
    cloud.vaults.seed(PRODUCTION, 100);
    // Azure hides a message that is being handled for ten minutes at a time.
    let instance = async || {
        cloud.start_with(cloud.settings(), |options| options.timings.queue_lease = Duration::from_secs(3)).await
    };
    let lost = instance().await;
    lost.run("api/backups", &json!({})).await;
    hang_after(&cloud, RECOVERY, PASSING / 3);
    let order = json!({ "vault": PRODUCTION, "backup": "latest", "targetVault": RECOVERY });
    let operation = lost.accept("api/restore", &order).await;
    stands_still(&cloud, RECOVERY, PASSING / 3).await;
    cloud.check(&lost).await;
    drop(lost);
    cloud.vaults.clear_faults();

    let app = instance().await;
    let id = operation.rsplit('/').next().unwrap();
    let operation = app.ended(&format!("api/operations/{id}")).await;
    assert_eq!((&operation["status"], &operation["attempts"]), (&json!("Succeeded"), &json!(2)), "{operation:#}");
    assert_eq!(operation["counts"], json!({ "restored": 100 }));
    // The record is written before the host hears of it.
    app.host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(app.deliveries("RestoreWorker"), [(2, true)]);
    assert!(cloud.answers(Verb::Restore).values().all(|answers| answers == &[200]), "nothing is restored twice");
    let (source, target) = (cloud.vaults.snapshot(PRODUCTION), cloud.vaults.snapshot(RECOVERY));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    cloud.check(&app).await;
}

/// Lets so many requests about items pass. Those that follow are carried out and never answered, until the handler has
/// as many of them under way as it deals with at once and stands still: the kill hits every run at the same point.
fn hang_after(cloud: &Cloud, vault: &str, passing: usize) {
    // Listings have no name and go on.
    let about_an_item = Fault::new(Effect::After(Mishap::Hang)).in_vault(vault).named("*-*");
    cloud.vaults.add_fault(about_an_item.skip(passing as u64));
}

/// Waits until the handler stands still.
async fn stands_still(cloud: &Cloud, vault: &str, passing: usize) {
    let about_items = || {
        let requests = cloud.vaults.requests();
        requests.iter().filter(|request| request.vault == vault && !request.name.is_empty()).count()
    };
    until("the handler stands still", || about_items() == passing + AT_ONCE).await;
}

/// The items whose blobs these are, as `secrets/NAME` and so on.
fn items_of(blobs: &[String]) -> Vec<String> {
    let item = |blob: &String| {
        let (folder, file) = blob.strip_suffix(".backup")?.rsplit_once('/')?;
        Some(format!("{}/{}", folder.rsplit('/').next()?, file.split('.').next()?))
    };
    blobs.iter().filter_map(item).collect()
}

/// What two backups of the same vault must agree in. The blobs differ: Key Vault seals anew for every backup.
fn without_ids_and_times(manifest: &Manifest) -> serde_json::Value {
    let header = &manifest.header;
    let items = manifest.items.iter().map(Result::unwrap).map(|item| {
        let mut item = serde_json::to_value(item).unwrap();
        for field in ["blob", "sha256", "takenAt"] {
            item.as_object_mut().unwrap().remove(field).unwrap();
        }
        item
    });
    json!({
        "vault": header.vault, "status": header.status, "full": header.full, "counts": header.counts,
        "failures": header.failures, "items": items.collect::<Vec<_>>(),
    })
}
