//! Verification: what it finds, what it passes over, and that it can be stopped anywhere.

mod app;
mod damage;
mod meanwhile;
pub(crate) mod memory;
mod resumed;

use std::time::Duration;

use futures::TryStreamExt as _;
use keyvault_backup::{
    error::{ErrorKind, Result},
    model::BackupId,
    report::Progress,
    repository::{
        Repository,
        findings::{Finding, Findings, Wrong},
    },
    store::Store as _,
    verify::{self, Options},
};
use simulator::key_vault::Kind;
use uuid::Uuid;

use crate::{backup::DAY, world::World};

const VAULT: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";

/// Three backups on three days: `pear` was changed on the second, `plum` was added on the third, and a day has gone by
/// since. Everything else is carried over from the first.
async fn three_days() -> World {
    let world = World::with(&[VAULT, TARGET]);
    for name in ["apple", "pear"] {
        world.vaults.set_secret(VAULT, name, "value");
    }
    world.vaults.create_key(VAULT, "signing", "EC");
    world.vaults.create_certificate(VAULT, "www");
    for day in 0..3 {
        match day {
            0 => (),
            1 => drop(world.vaults.set_secret(VAULT, "pear", "a longer value")),
            _ => drop(world.vaults.set_secret(VAULT, "plum", "value")),
        }
        world.pass(Duration::from_secs(3600));
        world.back_up(VAULT).await.unwrap();
        world.pass(DAY);
    }
    world
}

pub(crate) async fn verify(world: &World, vault: &str) -> Findings {
    verify_with(world, &world.repository(), vault).await.unwrap()
}

async fn verify_with(world: &World, repository: &Repository, vault: &str) -> Result<Findings> {
    let options = Options { operation: Uuid::from_u128(7), concurrency: 4 };
    verify::run(repository, &vault.parse().unwrap(), &options, &Progress::default(), world.now()).await
}

/// The ids of the vault's backups, oldest first.
async fn ids(world: &World) -> Vec<BackupId> {
    let backups = world.repository().backups(&VAULT.parse().unwrap()).await.unwrap();
    backups.into_iter().map(|backup| backup.id).collect()
}

/// The names of the blobs of the item of that name, oldest first.
async fn blobs_of(world: &World, name: &str) -> Vec<String> {
    let blobs = world.blobs().await.into_iter();
    blobs.filter(|blob| blob.starts_with(&format!("vaults/{VAULT}/items/")) && blob.contains(name)).collect()
}

fn manifest_of(id: &BackupId) -> String {
    format!("vaults/{VAULT}/backups/{id}.json")
}

#[tokio::test(start_paused = true)]
async fn what_the_code_wrote_is_sound_and_nothing_is_written_beside_it() {
    let world = three_days().await;
    let before: Vec<_> = world.backups.list("", None).try_collect().await.unwrap();
    let found = verify(&world, VAULT).await;
    assert_eq!(found.findings, []);
    assert_eq!((found.backups, found.sound_backups, found.more_damage), (3, 3, 0));
    // Five items, one of them twice.
    assert_eq!((found.blobs, found.unnamed_blobs), (6, 0));
    let items = before.iter().filter(|blob| blob.name.contains("/items/"));
    assert_eq!(found.bytes, items.map(|blob| blob.size).sum::<u64>());
    let after: Vec<_> = world.backups.list("", None).try_collect().await.unwrap();
    assert_eq!(before, after);
    assert_eq!(world.repository().findings(&VAULT.parse().unwrap()).await.unwrap(), Some(found));
}

#[tokio::test(start_paused = true)]
async fn a_vault_of_which_nothing_is_stored_is_not_found() {
    let world = three_days().await;
    let error = verify_with(&world, &world.repository(), "contoso-pord").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("Nothing is stored of vault contoso-pord in memory:"), "{error}");
}

/// Who removes all manifests, or is interrupted in the first backup, leaves a vault that looks tidy and is not protected.
#[tokio::test(start_paused = true)]
async fn blobs_without_any_backup_are_not_called_sound() {
    let world = three_days().await;
    for id in ids(&world).await {
        world.backups.delete(&manifest_of(&id)).await.unwrap();
    }
    let error = verify_with(&world, &world.repository(), VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.message().contains("There is no backup of vault contoso-prod in memory:, only 6 item blobs"),
        "{error}"
    );
}

/// What a killed run leaves behind may still be of use to the next attempt; a day later it is only in the way.
#[tokio::test(start_paused = true)]
async fn blobs_without_a_backup_are_counted_and_told_of_when_they_are_a_day_old() {
    let world = three_days().await;
    world.vaults.set_secret(VAULT, "quince", "value");
    world.vaults.delete_now(VAULT, Kind::Secret, "plum");
    world.back_up(VAULT).await.unwrap();
    let last = ids(&world).await.pop().unwrap();
    world.backups.delete(&manifest_of(&last)).await.unwrap();
    let found = verify(&world, VAULT).await;
    assert_eq!((found.findings.as_slice(), found.unnamed_blobs), (&[] as &[Finding], 1));
    world.pass(DAY);
    let found = verify(&world, VAULT).await;
    let [note] = &found.findings[..] else { panic!("{found:#?}") };
    assert_eq!((note.finding, note.is_damage(), found.sound_backups), (Wrong::UnnamedBlobs, false, 3));
    assert_eq!(vec![note.blob.clone()], blobs_of(&world, "quince").await);
    assert!(note.message.starts_with("1 item blob is older than a day and needed by no backup ("), "{}", note.message);
}
