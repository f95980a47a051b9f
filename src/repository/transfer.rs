//! Carrying what is stored from one repository into another, byte by byte: for copies. `copy` decides what.

use std::sync::Arc;

use futures::TryStreamExt as _;

use super::{
    BackupRef, Repository,
    inspection::Inspection,
    manifest::{HASH, Item},
    names,
    reading::Reading,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Sealed, VaultName},
    spool::Spool,
    store::Create,
};

/// How much of a manifest's text is judged at once, in bytes.
const PART: u64 = 1024 * 1024;

/// The end of a manifest, which holds the hash of all before it, in bytes.
const END: u64 = (HASH.len() + 64 + "\"\n}\n".len()) as u64;

impl Repository {
    /// Whether both repositories have the same text under the name of this backup, of which this one has so many bytes.
    /// Looks at the ends, which hold the texts' hashes: two that are sound and end alike are alike. `NotFound`: one of
    /// them was removed.
    pub async fn agrees_with(&self, other: &Self, backup: &BackupRef, size: u64) -> Result<bool> {
        let name = backup.manifest();
        // One byte more than there should be, so that a longer text is another one.
        let end = size.saturating_sub(END)..size + 1;
        Ok(self.backups.read_part(&name, end.clone()).await? == other.backups.read_part(&name, end).await?)
    }

    /// Writes the blob of an item that was read in another repository; `Sound` when it is there afterwards, whoever
    /// wrote it.
    pub async fn add_item(&self, item: &Item, sealed: &Sealed) -> Result<Inspection> {
        match self.backups.create(&item.blob, sealed.bytes().clone().into()).await? {
            Create::Created => Ok(Inspection::Sound { size: item.size }),
            Create::Exists => self.inspect(&item.blob).await,
        }
    }

    /// The text of a manifest as it is stored. `Corrupt` or `NewerFormat` unless it is sound; `NotFound` when it was
    /// removed. Every item it names is handed to `each` before that is known.
    pub async fn manifest_text(&self, backup: &BackupRef, mut each: impl FnMut(&Item) + Send) -> Result<Arc<Spool>> {
        let name = backup.manifest();
        let (mut text, mut reading) = (Spool::default(), Reading::of(&name));
        loop {
            let part = self.backups.read_part(&name, text.len()..text.len() + PART).await?;
            reading.feed(&part);
            while let Some(item) = reading.next_item() {
                each(&item);
            }
            text.append(&part)?;
            if (part.len() as u64) < PART {
                reading.finish()?;
                return Ok(Arc::new(text));
            }
        }
    }

    /// Makes a backup exist whose items are all here: `text` is its manifest, as another repository has it.
    ///
    /// `Conflict` when another manifest has come to be under that name.
    pub async fn add_manifest(&self, backup: &BackupRef, text: Arc<Spool>) -> Result<()> {
        let name = backup.manifest();
        let end = text.len().saturating_sub(END)..text.len() + 1;
        match self.backups.create(&name, text.clone().into()).await? {
            Create::Created => Ok(()),
            // Our own answer may have been lost on the way; then the blob is ours.
            Create::Exists if self.backups.read_part(&name, end.clone()).await? == text.read(end)? => Ok(()),
            Create::Exists => Err(self.is_another(backup)),
        }
    }

    /// What is said when a backup's name is taken by another manifest.
    pub fn is_another(&self, backup: &BackupRef) -> Error {
        let message = format!(
            "{} holds another backup under the name {}: it belongs to another repository. Copy to another place.",
            self.describe(),
            backup.manifest()
        );
        Error::new(ErrorKind::Conflict, message).at("to")
    }

    /// Takes over what people said of that vault's guard. What was said here stays.
    pub async fn add_acknowledgements(&self, source: &Self, vault: &VaultName) -> Result<()> {
        let prefix = names::acknowledgements(vault);
        let there: Vec<_> = source.state.list(&prefix, None).try_collect().await?;
        let mut here = self.state.list(&prefix, None).map_ok(|entry| entry.name).try_collect::<Vec<_>>().await?;
        here.sort_unstable();
        for entry in there.into_iter().filter(|entry| here.binary_search(&entry.name).is_err()) {
            self.state.create(&entry.name, source.state.read(&entry.name).await?.into()).await?;
        }
        Ok(())
    }
}
