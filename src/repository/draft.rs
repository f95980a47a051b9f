//! A backup in the making: reads items from the vault, writes their blobs, and commits the manifest.

use std::{collections::HashMap, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{
    BackupRef,
    manifest::{Header, Item, Manifest},
    names,
    reading::{ManifestReader, PART},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Attributes, BackupId, ItemId, Label, Sealed, Timestamp},
    spool::Spool,
    store::{Create, Entry, Store},
    vault::Vault,
};

/// How often an item that changes while it is read is read anew.
const ATTEMPTS_AT_A_MOVING_ITEM: u32 = 3;

/// A backup in the making.
#[derive(Debug)]
pub struct Draft {
    pub(super) backups: Arc<dyn Store>,
    pub(super) reference: BackupRef,
    pub(super) leftovers: Leftovers,
}

/// What an interrupted attempt has written: 72 bytes for a blob whose name alone has 200, because it may have been
/// stopped behind the last of 100,000 items.
#[derive(Debug, Default)]
pub(super) struct Leftovers(HashMap<Key, Leftover>);

/// The beginning of a SHA-256 over an item and its state: two of a billion are the same with a probability of 10^-21.
type Key = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Leftover {
    sha256: [u8; 32],
    size: u64,
    written: Timestamp,
}

impl Leftovers {
    /// Takes a row of a listing in; names that are not those of items are passed over.
    pub(super) fn add(&mut self, entry: &Entry) {
        let mut sha256 = [0; 32];
        let Some(blob) = names::parse_item(&entry.name) else { return };
        if hex::decode_to_slice(&blob.sha256, &mut sha256).is_ok() {
            let leftover = Leftover { sha256, size: entry.size, written: entry.created.into() };
            self.0.insert(key(&blob.item, &blob.fingerprint), leftover);
        }
    }
}

fn key(item: &ItemId, fingerprint: &str) -> Key {
    let hash = Sha256::digest(format!("{}/{}.{fingerprint}", item.kind, item.name));
    let mut key = Key::default();
    key.copy_from_slice(&hash[..16]);
    key
}

/// Where an item's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The blob's name.
    pub blob: Box<str>,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: Box<str>,
    /// When the blob was created.
    pub written: Timestamp,
}

/// What [`Draft::commit`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Commit {
    /// The backup exists now.
    Committed,
    /// Another attempt of the same operation has committed it; its manifest stands.
    AlreadyCommitted(Box<Header>),
}

impl Draft {
    /// The backup's id.
    pub fn id(&self) -> &BackupId {
        &self.reference.id
    }

    /// The backup's label.
    pub fn label(&self) -> Option<&Label> {
        self.reference.label.as_ref()
    }

    /// What an interrupted attempt has written of an item in this very state.
    pub fn leftover(&self, item: &ItemId, attributes: &Attributes) -> Option<Stored> {
        let fingerprint = attributes.fingerprint();
        let Leftover { sha256, size, written } = *self.leftovers.0.get(&key(item, &fingerprint))?;
        let sha256 = hex::encode(sha256);
        let blob = names::item(&self.reference.vault, &self.reference.id, item, &fingerprint, &sha256);
        Some(Stored { blob: blob.into(), size, sha256: sha256.into(), written })
    }

    /// The header of this backup's manifest if an earlier attempt got as far as committing it.
    pub async fn committed(&self) -> Result<Option<Header>> {
        match ManifestReader::open(self.backups.clone(), &self.reference).await {
            Ok(manifest) => manifest.finish().await.map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one item. The copy and the state recorded for it belong together: the state is looked at after the copy was
    /// taken, and both are taken anew when it differs from the state before.
    ///
    /// Nothing when the item is not there any more.
    pub async fn take(
        &self,
        vault: &Vault,
        item: &ItemId,
        listed: &Attributes,
        clock: &(dyn Fn() -> Timestamp + Sync),
    ) -> Result<Option<Item>> {
        let mut expected = listed.clone();
        for attempt in 0..ATTEMPTS_AT_A_MOVING_ITEM {
            let leftover = self.leftover(item, &expected).filter(|stored| expected.are_settled_at(stored.written));
            let (fresh, taken_at) = match leftover.as_ref().filter(|_| attempt == 0) {
                Some(stored) => (None, stored.written),
                None => {
                    let taken_at = clock();
                    match vault.back_up(item).await {
                        Ok(sealed) => (Some(sealed), taken_at),
                        Err(error) if error.kind() == ErrorKind::NotFound => {
                            return match vault.current(item, None).await? {
                                None => Ok(None),
                                Some(_) => Err(error),
                            };
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            let Some(current) = vault.current(item, Some(&expected)).await? else { return Ok(None) };
            if current.attributes != expected {
                expected = current.attributes;
                continue;
            }
            let Stored { blob, size, sha256, .. } = match (fresh, leftover) {
                (Some(sealed), _) => self.write(item, &expected, &sealed, clock()).await?,
                (None, Some(stored)) => stored,
                (None, None) => continue,
            };
            return Ok(Some(Item {
                id: item.clone(),
                version: current.version,
                ties: current.ties,
                versions: current.versions,
                attributes: expected,
                blob,
                size,
                sha256,
                taken_at,
                stale: None,
            }));
        }
        let message = format!(
            "{item} of vault {} changed {ATTEMPTS_AT_A_MOVING_ITEM} times while it was being read. Find out what keeps \
             changing it; the next backup tries again.",
            vault.name()
        );
        Err(Error::new(ErrorKind::Conflict, message).at(item.to_string()))
    }

    /// Writes the bytes of one item in the given state.
    pub async fn write(
        &self,
        item: &ItemId,
        attributes: &Attributes,
        backup: &Sealed,
        now: Timestamp,
    ) -> Result<Stored> {
        let sha256 = backup.sha256();
        let BackupRef { vault, id, .. } = &self.reference;
        let blob = names::item(vault, id, item, &attributes.fingerprint(), &sha256);
        // The name holds the hash of the content, so a blob of that name is this blob.
        self.backups.create(&blob, backup.bytes().clone().into()).await?;
        Ok(Stored { blob: blob.into(), size: backup.bytes().len() as u64, sha256: sha256.into(), written: now })
    }

    /// Makes the backup exist.
    pub async fn commit(&self, manifest: &Manifest) -> Result<Commit> {
        let name = self.reference.manifest();
        let text = Arc::new(manifest.encode()?);
        match self.backups.create(&name, text.clone().into()).await? {
            Create::Created => Ok(Commit::Committed),
            // Our own answer may have been lost on the way; then the blob is ours.
            Create::Exists if self.is_stored(&name, &text).await? => Ok(Commit::Committed),
            Create::Exists => {
                let stored = ManifestReader::open(self.backups.clone(), &self.reference).await?;
                Ok(Commit::AlreadyCommitted(Box::new(stored.finish().await?)))
            }
        }
    }

    /// Whether the blob has exactly this content.
    async fn is_stored(&self, name: &str, content: &Spool) -> Result<bool> {
        let mut at = 0;
        loop {
            let (stored, ours) = (self.backups.read_part(name, at..at + PART).await?, content.read(at..at + PART)?);
            if stored != ours {
                return Ok(false);
            }
            if (ours.len() as u64) < PART {
                return Ok(true);
            }
            at += PART;
        }
    }
}
