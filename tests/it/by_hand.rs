//! Backups that no run has made: items and manifests put together field by field.

use keyvault_backup::{
    model::{Attributes, BackupId, ItemId, Kind, Sealed, Timestamp},
    report::Status,
    repository::{
        items::Items,
        manifest::{Counts, FORMAT_VERSION, Header, Item, Manifest},
    },
};

/// A secret of which the backup `by` holds these bytes, at the place that it names.
pub(crate) fn secret(vault: &str, by: &BackupId, taken_at: Timestamp, name: &str, bytes: &[u8]) -> Item {
    let attributes = Attributes {
        enabled: true,
        created: taken_at,
        updated: taken_at,
        not_before: None,
        expires: None,
        content_type: Some("text/plain".into()),
        thumbprint: None,
        tags: [("owner".into(), "payments".into())].into(),
    };
    let id = ItemId { kind: Kind::Secrets, name: name.parse().unwrap() };
    let sha256 = Sealed::new(bytes.to_vec()).sha256();
    let blob = format!("vaults/{vault}/items/{by}/{id}.{}.{sha256}.backup", attributes.fingerprint());
    Item {
        id,
        version: "8f3a5d1c2b4e4f60a7c9d0e1f2a3b4c5".into(),
        ties: Vec::new(),
        versions: 1,
        attributes,
        blob: blob.into(),
        size: bytes.len() as u64,
        sha256: sha256.into(),
        taken_at,
        stale: None,
    }
}

/// A whole backup of these items.
pub(crate) fn manifest(vault: &str, id: &BackupId, began: Timestamp, items: &[Item]) -> Manifest {
    let mut counts = Counts { read: items.len() as u64, ..Default::default() };
    items.iter().for_each(|item| counts.add(item.id.kind, item.size));
    let header = Header {
        format_version: FORMAT_VERSION,
        tool_version: "0.1.0".into(),
        backup_id: id.clone(),
        vault: vault.parse().unwrap(),
        vault_uri: format!("https://{vault}.vault.azure.net"),
        started_at: began,
        finished_at: began,
        status: Status::Succeeded,
        full: true,
        label: None,
        previous_backup: None,
        filter: Vec::new(),
        guard: None,
        counts,
        failures: Vec::new(),
    };
    Manifest { header, items: Items::of(items).unwrap() }
}
