//! The only place where anything of the backup container is deleted. `prune` decides what.

use futures::{StreamExt as _, TryStreamExt as _, future, stream::BoxStream};

use super::{BackupRef, Repository, names};
use crate::{
    error::{Error, ErrorKind, Result},
    model::VaultName,
    store::Entry,
};

impl Repository {
    /// Deletes the manifest of a backup: from now on the backup does not exist. `Ok` when it did not. `Refused` while
    /// an immutability policy or a legal hold protects it.
    pub async fn remove_backup(&self, backup: &BackupRef) -> Result<()> {
        self.backups.delete(&backup.manifest()).await
    }

    /// The blobs of all items of a vault, whichever backup wrote them. Other names are passed over.
    pub fn item_blobs(&self, vault: &VaultName) -> BoxStream<'_, Result<Entry>> {
        let rows = self.backups.list(&names::all_items(vault), None);
        rows.try_filter(|entry| future::ready(names::parse_item(&entry.name).is_some())).boxed()
    }

    /// Deletes the blob of an item. `Ok` when there is none; `Refused` like [`Repository::remove_backup`]. Only for blobs
    /// that no manifest names.
    pub async fn remove_item_blob(&self, name: &str) -> Result<()> {
        if names::parse_item(name).is_none() {
            let message = format!("{name} is not the blob of an item, so it is not deleted.");
            return Err(Error::new(ErrorKind::Internal, message).at(name));
        }
        self.backups.delete(name).await
    }
}
