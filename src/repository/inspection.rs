//! Looking at what is stored without relying on it: for verification.

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sha2::{Digest as _, Sha256};

use super::{BackupRef, Repository, names};
use crate::{
    error::{ErrorKind, Result},
    model::{Timestamp, VaultName},
};

/// How much of a blob is held at once, in bytes. Few items have more.
const PART: u64 = 1024 * 1024;

/// A blob in a vault's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its whole name.
    pub name: String,
    /// Bytes, says the listing.
    pub size: u64,
    /// When it was created.
    pub created: Timestamp,
    /// What its name says that it is.
    pub place: Place,
}

/// What a blob's name says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A manifest.
    Manifest,
    /// The copy of an item.
    Item,
    /// Nothing that this program writes there.
    Unknown,
}

/// What an item blob turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// Its content is what its name says.
    Sound {
        /// Bytes.
        size: u64,
    },
    /// It is not.
    Damaged {
        /// Bytes.
        size: u64,
    },
    /// It is there, and the disk cannot read it.
    Unreadable,
    /// It is not there.
    Missing,
}

/// A blob's name in 16 bytes: the beginning of its SHA-256. Two of 10⁹ names meet with a probability of 10⁻²¹.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlobKey([u64; 2]);

impl BlobKey {
    /// The key of that name.
    pub fn of(name: &str) -> Self {
        let hash = Sha256::digest(name);
        let number = |from: usize| hash[from..from + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Self([number(0), number(8)])
    }
}

impl Repository {
    /// Everything that is stored of a vault in the backup container, in the order of names.
    pub fn inventory(&self, vault: &VaultName) -> BoxStream<'_, Result<Found>> {
        let vault = vault.clone();
        let rows = self.backups.list(&names::vault(&vault), None);
        rows.map_ok(move |entry| Found {
            place: names::place(&vault, &entry.name),
            created: entry.created.into(),
            size: entry.size,
            name: entry.name,
        })
        .boxed()
    }

    /// Reads an item blob and compares its content with the hash in its name.
    pub async fn inspect(&self, blob: &str) -> Result<Inspection> {
        let (mut hash, mut size) = (Sha256::new(), 0);
        loop {
            let part = match self.backups.read_part(blob, size..size + PART).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Inspection::Missing),
                Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Inspection::Unreadable),
                part => part?,
            };
            hash.update(&part);
            size += part.len() as u64;
            if (part.len() as u64) < PART {
                break;
            }
        }
        let expected = names::parse_item(blob).map(|name| name.sha256);
        let is_sound = expected.is_some_and(|expected| expected == hex::encode(hash.finalize()));
        Ok(if is_sound { Inspection::Sound { size } } else { Inspection::Damaged { size } })
    }

    /// Whether a backup is there: one that was removed does not come back.
    pub async fn exists(&self, backup: &BackupRef) -> Result<bool> {
        match self.backups.read_part(&backup.manifest(), 0..1).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
