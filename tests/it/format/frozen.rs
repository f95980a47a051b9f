//! What release 0.1.0 wrote (`fixtures/format-v1`), read by every release after it.

use std::{fs, path::Path, sync::Arc};

use keyvault_backup::{
    model::{ItemId, VaultName},
    report::{Outcome, Progress, Status},
    repository::{BackupRef, Repository, Selector, manifest::Manifest},
    restore,
    store::{local::LocalStore, memory::MemoryStore},
    verify,
};
use sha2::{Digest as _, Sha256};
use simulator::key_vault::Kind;

use crate::world::World;

const FIRST: &str = "20261121T020100Z-00000001";
const SECOND: &str = "20261122T020200Z-00000002";

/// The frozen repository, copied because a store in a directory keeps files of its own there.
struct Frozen {
    repository: Repository,
    vault: VaultName,
    _place: tempfile::TempDir,
}

impl Frozen {
    fn open() -> Self {
        let place = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/format-v1/backups"), place.path());
        let store = LocalStore::open(place.path()).unwrap();
        let repository = Repository::new(Arc::new(store), Arc::new(MemoryStore::new()));
        Self { repository, vault: "contoso-prod".parse().unwrap(), _place: place }
    }

    async fn find(&self, text: &str) -> BackupRef {
        self.repository.find(&self.vault, &text.parse::<Selector>().unwrap()).await.unwrap()
    }

    async fn manifest(&self, text: &str) -> Manifest {
        self.repository.open(&self.find(text).await).await.unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(fs::copy(entry.path(), target))
        }
    }
}

fn item(text: &str) -> ItemId {
    let (kind, name) = text.split_once('/').unwrap();
    ItemId { kind: kind.parse().unwrap(), name: name.parse().unwrap() }
}

#[tokio::test]
async fn the_backups_of_format_version_1_are_verified() {
    let frozen = Frozen::open();
    let options = verify::Options { operation: uuid::Uuid::from_u128(1), concurrency: 2 };
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    let found = verify::run(&frozen.repository, &frozen.vault, &options, &Progress::default(), now).await.unwrap();
    assert_eq!((found.backups, found.sound_backups, found.findings), (2, 2, Vec::new()));
}

#[tokio::test]
async fn the_backups_of_format_version_1_are_listed_and_found() {
    let frozen = Frozen::open();
    assert_eq!(frozen.repository.vaults().await.unwrap(), std::slice::from_ref(&frozen.vault));
    let listed = frozen.repository.backups(&frozen.vault).await.unwrap();
    assert_eq!(listed.iter().map(|backup| backup.id.as_str()).collect::<Vec<_>>(), [FIRST, SECOND]);
    for (text, wanted) in [
        ("latest", SECOND),
        (FIRST, FIRST),
        ("before-upgrade", FIRST),
        ("2026-11-22T00:00:00Z", FIRST),
        ("2026-11-23T00:00:00Z", SECOND),
    ] {
        assert_eq!(frozen.find(text).await.id.as_str(), wanted, "{text}");
    }
    for backup in &listed {
        let header = frozen.repository.header(backup).await.unwrap();
        assert_eq!(header, frozen.repository.open(backup).await.unwrap().header);
        assert_eq!((header.format_version, &*header.tool_version), (1, "0.1.0"));
    }
}

#[tokio::test]
async fn the_manifests_of_format_version_1_say_what_they_said() {
    let frozen = Frozen::open();
    let first = frozen.manifest(FIRST).await;
    assert_eq!((first.header.status, first.header.full), (Status::Succeeded, true));
    assert_eq!(first.header.label.as_ref().map(|label| label.as_str()), Some("before-upgrade"));
    assert_eq!((first.header.counts.items(), first.header.counts.managed_skipped), (5, 2));
    let attributes = &first.items.get(&item("secrets/attributes")).unwrap().unwrap().attributes;
    assert!(!attributes.enabled);
    assert_eq!(attributes.not_before.unwrap().to_string(), "2023-11-14T22:13:20Z");
    assert_eq!(attributes.expires.unwrap().to_string(), "2033-05-18T03:33:20Z");
    assert_eq!(attributes.content_type.as_deref(), Some("text/plain"));
    assert_eq!((&*attributes.tags["owner"], &*attributes.tags["quote"]), ("ümlaut", "\"\n"));

    let second = frozen.manifest(SECOND).await;
    assert_eq!((second.header.status, second.header.full), (Status::PartiallySucceeded, false));
    assert_eq!(second.header.previous_backup, Some(first.header.backup_id));
    assert_eq!(second.header.filter, ["*/*"]);
    let counts = second.header.counts;
    assert_eq!((counts.read, counts.carried_over, counts.stale, counts.missing), (1, 2, 1, 1));
    let failed: Vec<_> = second.header.failures.iter().map(|failure| failure.name.as_deref().unwrap()).collect();
    assert_eq!(failed, ["attributes", "missing"]);
    assert_eq!(
        &*second.items.get(&item("secrets/attributes")).unwrap().unwrap().stale.as_ref().unwrap().code,
        "Forbidden"
    );
    assert_eq!(second.items.get(&item("secrets/same-second")).unwrap().unwrap().ties.len(), 1);
    assert_eq!(second.items.get(&item("secrets/versions")).unwrap().unwrap().versions, 3);
}

#[tokio::test(start_paused = true)]
async fn the_items_of_format_version_1_are_read_and_restored() {
    let frozen = Frozen::open();
    for (id, count, versions) in [(FIRST, 5, 2), (SECOND, 4, 3)] {
        let manifest = frozen.manifest(id).await;
        for item in manifest.items.to_vec().unwrap() {
            let sealed = frozen.repository.read_item(&item).await.unwrap();
            assert_eq!(sealed.bytes().len() as u64, item.size);
        }
        let world = World::with(&["contoso-dr"]);
        let (target, options) = (world.vault("contoso-dr"), world.restore_options());
        let plan = restore::plan(&manifest, &target, &options).await.unwrap();
        let progress = Progress::default();
        let reports = restore::execute(&plan, &manifest, &frozen.repository, &target, &options, false, &progress)
            .await
            .unwrap()
            .to_vec()
            .unwrap();
        assert_eq!(reports.len(), count);
        assert!(reports.iter().all(|report| report.outcome == Outcome::Restored), "{reports:#?}");
        let restored = world.vaults.snapshot("contoso-dr");
        let secret = |name: &str| &restored.items[&(Kind::Secret, name.to_owned())];
        let value = hex::encode(Sha256::digest("value of attributes"));
        assert_eq!(secret("attributes").versions[0].value_hash, value);
        assert_eq!(secret("versions").versions.len(), versions);
    }
}
