//! Every name of every blob, in one place (`docs/format.md`). Nobody else builds or reads names.

use uuid::Uuid;

use super::{inspection::Place, operation::OperationKind};
use crate::model::{BackupId, ItemId, Kind, Label, Timestamp, VaultName};

/// Where the vaults' backups are, in the backup container.
pub(super) const VAULTS: &str = "vaults/";

/// The folder of all that is stored of a vault.
pub(super) fn vault(vault: &VaultName) -> String {
    format!("{VAULTS}{vault}/")
}

/// What the blob of that name in a vault's folder is. Strict: nothing that this program would not have written there.
pub(super) fn place(vault: &VaultName, name: &str) -> Place {
    let is_manifest = || parse_manifest(name).is_some_and(|(id, label)| manifest(vault, &id, label.as_ref()) == name);
    let is_item = || {
        let (blob, writer) = (parse_item(name)?, writer(name)?);
        Some(item(vault, &writer, &blob.item, &blob.fingerprint, &blob.sha256) == name)
    };
    if is_manifest() {
        Place::Manifest
    } else if is_item() == Some(true) {
        Place::Item
    } else {
        Place::Unknown
    }
}

/// The folder of all manifests of a vault.
pub(super) fn manifests(vault: &VaultName) -> String {
    format!("{VAULTS}{vault}/backups/")
}

/// A manifest. The label is part of its name so that finding one by label needs a listing only.
pub(super) fn manifest(vault: &VaultName, id: &BackupId, label: Option<&Label>) -> String {
    match label {
        Some(label) => format!("{}{id}.{label}.json", manifests(vault)),
        None => format!("{}{id}.json", manifests(vault)),
    }
}

/// The id and the label in the name of a manifest; `None` for a name that is not one.
pub(super) fn parse_manifest(name: &str) -> Option<(BackupId, Option<Label>)> {
    let file = name.rsplit('/').next()?.strip_suffix(".json")?;
    match file.split_once('.') {
        Some((id, label)) => Some((id.parse().ok()?, Some(label.parse().ok()?))),
        None => Some((file.parse().ok()?, None)),
    }
}

/// The folder of all item blobs of a vault.
pub(super) fn all_items(vault: &VaultName) -> String {
    format!("{VAULTS}{vault}/items/")
}

/// The folder of the item blobs that one backup wrote.
pub(super) fn items(vault: &VaultName, id: &BackupId) -> String {
    format!("{}{id}/", all_items(vault))
}

/// An item blob. Its name holds what was listed (the fingerprint) and what it contains (the SHA-256): a run that goes
/// on after a crash finds what was done, and the same name always means the same bytes.
pub(super) fn item(vault: &VaultName, id: &BackupId, item: &ItemId, fingerprint: &str, sha256: &str) -> String {
    format!("{}{}/{}.{fingerprint}.{sha256}.backup", items(vault, id), item.kind, item.name)
}

/// What the name of an item blob says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ItemBlob {
    pub(super) item: ItemId,
    pub(super) fingerprint: String,
    pub(super) sha256: String,
}

/// Reads the name of an item blob; `None` for a name that is not one.
pub(super) fn parse_item(name: &str) -> Option<ItemBlob> {
    let mut segments = name.rsplit('/');
    let file = segments.next()?.strip_suffix(".backup")?;
    let kind: Kind = segments.next()?.parse().ok()?;
    let mut parts = file.split('.');
    let (name, fingerprint, sha256) = (parts.next()?, parts.next()?, parts.next()?);
    let sound = parts.next().is_none() && is_hex(fingerprint, 16) && is_hex(sha256, 64);
    sound.then_some(())?;
    let item = ItemId { kind, name: name.parse().ok()? };
    Some(ItemBlob { item, fingerprint: fingerprint.to_owned(), sha256: sha256.to_owned() })
}

/// The backup that wrote an item blob.
pub(super) fn writer(blob: &str) -> Option<BackupId> {
    blob.rsplit('/').nth(2)?.parse().ok()
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The lease that keeps two runs on one vault apart, in the state container.
pub(super) fn lease(vault: &VaultName) -> String {
    format!("leases/{vault}")
}

/// Which operation took that lease last, in the state container.
pub(super) fn lock_holder(vault: &VaultName) -> String {
    format!("lease-holders/{vault}")
}

/// An operation's record, in the state container.
pub(super) fn operation(id: Uuid) -> String {
    format!("operations/{id}.json")
}

/// What a client asked for under an id of its own, in the state container.
pub(super) fn request(id: Uuid) -> String {
    format!("requests/{id}.json")
}

/// The id of the backup that an operation makes, in the state container.
pub(super) fn backup_id(id: Uuid) -> String {
    format!("backup-ids/{id}")
}

/// The plan of a restore operation, written once before anything is restored, in the state container.
pub(super) fn plan(id: Uuid) -> String {
    format!("plans/{id}.json")
}

/// What the last drill into a vault has put there, in the state container.
pub(super) fn drill(target: &VaultName) -> String {
    format!("drills/{target}.json")
}

/// The last operation of a kind on a vault that ended, in the state container.
pub(super) fn last_operation(vault: &VaultName, kind: OperationKind) -> String {
    format!("last-operations/{vault}/{}.json", kind.as_str())
}

/// The folder of what people said of a vault's guard, in the state container.
pub(super) fn acknowledgements(vault: &VaultName) -> String {
    format!("guard-acknowledgements/{vault}/")
}

/// A person's word that what tripped the guard in that backup was meant, in the state container.
pub(super) fn acknowledgement(vault: &VaultName, tripped_by: &BackupId) -> String {
    format!("{}{tripped_by}.json", acknowledgements(vault))
}

/// Where the operations are that have not ended, in the state container.
pub(super) const UNFINISHED: &str = "unfinished/";

/// An empty blob that is there until the operation has ended.
pub(super) fn unfinished(id: Uuid) -> String {
    format!("{UNFINISHED}{id}")
}

/// The operation in a name below [`UNFINISHED`].
pub(super) fn parse_unfinished(name: &str) -> Option<Uuid> {
    name.strip_prefix(UNFINISHED)?.parse().ok()
}

/// How far a verification of that vault got, in the state container.
pub(super) fn verification(vault: &VaultName) -> String {
    format!("verifications/{vault}.json")
}

/// What the last verification of that vault found, in the state container.
pub(super) fn findings(vault: &VaultName) -> String {
    format!("findings/{vault}.json")
}

/// Where operations are listed newest first, in the state container.
pub(super) const BY_TIME: &str = "operations-by-time/";

/// An empty blob whose name sorts newer operations first.
pub(super) fn by_time(created: Timestamp, id: Uuid) -> String {
    // Ten digits hold every moment until the year 2286; counting down makes newer names smaller.
    format!("{BY_TIME}{:010}-{id}", 9_999_999_999_i64.saturating_sub(created.unix()).max(0))
}

/// The operation in a name below [`BY_TIME`].
pub(super) fn parse_by_time(name: &str) -> Option<Uuid> {
    name.strip_prefix(BY_TIME)?.get(11..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_item_name_can_be_read_back_and_stays_below_the_limits(
            name in "[0-9a-zA-Z-]{1,127}", kind in 0..3_usize, fingerprint in "[0-9a-f]{16}", sha256 in "[0-9a-f]{64}",
        ) {
            let id: BackupId = "20261121T020000Z-1f2e3d4c".parse().unwrap();
            let vault: VaultName = "contoso-production-vault".parse().unwrap();
            let wanted = ItemId { kind: Kind::ALL[kind], name: name.parse().unwrap() };
            let blob = item(&vault, &id, &wanted, &fingerprint, &sha256);
            prop_assert!(crate::store::check_name(&blob).is_ok());
            prop_assert!(blob.rsplit('/').next().unwrap().len() <= 255, "file systems allow 255 bytes");
            let parsed = parse_item(&blob).unwrap();
            prop_assert_eq!(parsed, ItemBlob { item: wanted, fingerprint, sha256 });
        }

        #[test]
        fn newer_operations_sort_first(older in 0..4_000_000_000_i64, seconds in 1..1_000_000_i64) {
            let id = Uuid::from_u128(7);
            let [older, newer] = [older, older + seconds].map(|unix| by_time(Timestamp::from_unix(unix), id));
            prop_assert!(newer < older);
            prop_assert_eq!(parse_by_time(&newer), Some(id));
        }
    }

    #[test]
    fn manifests_are_told_from_other_names() {
        let id: BackupId = "20261121T020000Z-1f2e3d4c".parse().unwrap();
        let vault: VaultName = "contoso".parse().unwrap();
        for label in [None, Some("before-upgrade".parse().unwrap())] {
            let name = manifest(&vault, &id, label.as_ref());
            assert_eq!(parse_manifest(&name), Some((id.clone(), label)));
        }
        for name in
            ["vaults/contoso/backups/readme.txt", "vaults/contoso/backups/x.json", "a/20261121T020000Z-1f2e3d4c"]
        {
            assert_eq!(parse_manifest(name), None, "{name}");
        }
    }
}
