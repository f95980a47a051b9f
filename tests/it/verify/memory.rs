//! Memory does not grow with what the manifests hold: the real binary on repositories of two sizes.

use std::{fs, path::Path};

use keyvault_backup::{
    model::{Attributes, BackupId, ItemId, Kind, Sealed, Timestamp},
    report::Status,
    repository::{
        items::Items,
        manifest::{Counts, FORMAT_VERSION, Header, Item, Manifest},
    },
};
use tempfile::TempDir;

use super::VAULT;
use crate::{
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
    let attributes = Attributes {
        enabled: true,
        created: begun,
        updated: begun,
        not_before: None,
        expires: None,
        content_type: Some("text/plain".into()),
        thumbprint: None,
        tags: [("owner".into(), "payments".into())].into(),
    };
    let items: Vec<Item> = (0..items)
        .map(|number| {
            let bytes: Vec<u8> = number.to_string().bytes().cycle().take(ITEM).collect();
            let sha256 = Sealed::new(bytes.clone()).sha256();
            let id = ItemId { kind: Kind::Secrets, name: format!("secret-{number:06}").parse().unwrap() };
            let blob = format!("vaults/{VAULT}/items/{first}/{id}.{}.{sha256}.backup", attributes.fingerprint());
            write(&blob, &bytes);
            Item {
                id,
                version: "8f3a5d1c2b4e4f60a7c9d0e1f2a3b4c5".into(),
                ties: Vec::new(),
                versions: 1,
                attributes: attributes.clone(),
                blob: blob.into(),
                size: ITEM as u64,
                sha256: sha256.into(),
                taken_at: begun,
                stale: None,
            }
        })
        .collect();
    for (number, previous_backup) in [(1, None), (2, Some(first.clone()))] {
        let id = BackupId::new(begun, number);
        let mut counts = Counts { read: items.len() as u64, ..Default::default() };
        items.iter().for_each(|item| counts.add(item.id.kind, item.size));
        let header = Header {
            format_version: FORMAT_VERSION,
            tool_version: "0.1.0".into(),
            backup_id: id.clone(),
            vault: VAULT.parse().unwrap(),
            vault_uri: format!("https://{VAULT}.vault.azure.net"),
            started_at: begun,
            finished_at: begun,
            status: Status::Succeeded,
            full: true,
            label: None,
            previous_backup,
            filter: Vec::new(),
            guard: None,
            counts,
            failures: Vec::new(),
        };
        let text = Manifest { header, items: Items::of(&items).unwrap() }.encode().unwrap().to_vec().unwrap();
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
