//! Manifests read in parts, item by item.

use keyvault_backup::{error::ErrorKind, repository::BackupRef, store::Store as _};

use crate::{
    local_azure::{Settings, run},
    verify::memory::repository,
    world::World,
};

const VAULT: &str = "contoso-prod";

/// A world with a backup whose manifest takes several parts, and that backup.
async fn large() -> (World, BackupRef) {
    let world = World::with(&[VAULT]);
    world.vaults.seed(VAULT, 4_000);
    world.back_up(VAULT).await.unwrap();
    let backup = world.repository().backups(&VAULT.parse().unwrap()).await.unwrap().remove(0);
    (world, backup)
}

#[tokio::test(start_paused = true)]
async fn a_manifest_read_item_by_item_is_the_manifest_read_whole() {
    let (world, backup) = large().await;
    let whole = world.repository().open(&backup).await.unwrap();
    let mut reader = world.repository().read_manifest(&backup).await.unwrap();
    assert_eq!(reader.header(), &whole.header);
    let mut items = Vec::new();
    while let Some(item) = reader.next().await.unwrap() {
        items.push(item);
    }
    assert!(items == whole.items.to_vec().unwrap() && items.len() > 3_000);
    assert_eq!(reader.next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn damage_in_the_last_part_is_told_at_the_end_and_the_end_is_never_reached() {
    let (world, backup) = large().await;
    let name = format!("vaults/{VAULT}/backups/{}.json", backup.id);
    let mut text = world.backups.read(&name).await.unwrap().to_vec();
    assert!(text.len() > 2 * 1024 * 1024, "{} bytes", text.len());
    let at = text.len() - 200;
    text[at] ^= 0x01;
    world.backups.replace(&name, text.into()).await.unwrap();
    let mut reader = world.repository().read_manifest(&backup).await.unwrap();
    let mut items = 0;
    let error = loop {
        match reader.next().await {
            Ok(Some(_)) => items += 1,
            Ok(None) => panic!("it was taken for sound"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(items > 3_000, "it is read in a stream: {items} items");
    assert_eq!(reader.next().await.unwrap_err().kind(), ErrorKind::Corrupt, "asking again does not make it sound");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_removed_while_it_is_read_is_not_found() {
    let (world, backup) = large().await;
    let mut reader = world.repository().read_manifest(&backup).await.unwrap();
    world.backups.delete(&format!("vaults/{VAULT}/backups/{}.json", backup.id)).await.unwrap();
    let error = loop {
        if let Err(error) = reader.next().await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = world.repository().read_manifest(&backup).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn without_room_for_temporary_files_it_is_said_what_to_set() {
    for (items, code) in [(100, 0), (1_000, 1)] {
        let folder = repository(items);
        let settings = [
            ("BACKUP_STORE_URL", format!("file://{}", folder.path().display())),
            ("STATE_STORE_URL", format!("file://{}/state", folder.path().display())),
            ("TMPDIR", "/not/there".to_owned()),
        ];
        let settings = Settings::from(settings.map(|(name, value)| (name.to_owned(), value)));
        let ran = run(&settings, &["show", VAULT, "--output", "json"]).await;
        assert_eq!(ran.code == 0, code == 0, "{items} items: {ran:?}");
        let sentence = "Could not write a temporary file in /not/there. Set TMPDIR to a folder that is there";
        assert_eq!(format!("{}{}", ran.stdout, ran.stderr).contains(sentence), code != 0, "{items} items: {ran:?}");
    }
}
