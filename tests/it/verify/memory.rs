//! Memory does not grow with what the manifests hold: the real binary on repositories of two sizes.

use std::{fs, path::Path};

use keyvault_backup::{
    model::{BackupId, Timestamp},
    repository::manifest::Item,
};
use tempfile::TempDir;

use super::VAULT;
use crate::{
    by_hand,
    memory::{MIB, measure, tell},
    world::BEGINNING,
};

/// What Key Vault makes of a small secret, in bytes.
const ITEM: usize = 3_724;

/// A folder with so many items and two backups that hold all of them.
pub(crate) fn repository(items: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    let begun = Timestamp::from_unix(BEGINNING);
    let first = BackupId::new(begun, 1);
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let items: Vec<Item> = (0..items)
        .map(|number| {
            let bytes: Vec<u8> = number.to_string().bytes().cycle().take(ITEM).collect();
            let item = by_hand::secret(VAULT, &first, begun, &format!("secret-{number:06}"), &bytes);
            write(&item.blob, &bytes);
            item
        })
        .collect();
    for id in [first, BackupId::new(begun, 2)] {
        let text = by_hand::manifest(VAULT, &id, begun, &items).encode().unwrap().to_vec().unwrap();
        write(&format!("vaults/{VAULT}/backups/{id}.json"), &text);
    }
    folder
}

/// Verifies the folder: the most memory that took, in bytes.
async fn verify(folder: &Path, items: usize) -> u64 {
    let settings = [("BACKUP_STORE_URL", ""), ("STATE_STORE_URL", "/state")];
    let settings = settings.map(|(name, below)| (name.to_owned(), format!("file://{}{below}", folder.display())));
    let measured = measure(&settings.into(), &["verify", VAULT, "--output", "json"]).await;
    let body: serde_json::Value = serde_json::from_str(&measured.stdout).unwrap();
    let counts = &body["value"][0]["counts"];
    assert_eq!((&counts["blobs"], &counts["soundBackups"]), (&items.into(), &2.into()), "{body}");
    tell(&format!("verify of {items} items, 2 backups"), &measured);
    measured.peak
}

#[tokio::test]
async fn ten_thousand_items_are_verified_in_little_more_memory_than_a_thousand() {
    let mut peaks = Vec::new();
    for items in [1_000, 10_000] {
        peaks.push(verify(repository(items).path(), items).await);
    }
    let [few, many] = peaks[..] else { unreachable!() };
    assert!(many < 64 * MIB, "{few} and {many} bytes");
    assert!(many < few + 12 * MIB, "{few} bytes for 1,000 items, {many} for 10,000");
}
