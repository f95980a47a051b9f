//! What is known of each blob of the target, in few bytes: there can be a million of them.

use std::collections::HashMap;

use futures::TryStreamExt as _;

use crate::{
    error::Result,
    model::VaultName,
    repository::{Repository, inspection::BlobKey},
};

/// What the target has of a blob, or is going to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is there, says the listing, with so many bytes.
    Listed(u64),
    /// It is there and its content was looked at.
    Sound(u64),
    /// It is there, and its content is not what its name says.
    Damaged(u64),
    /// It is there, and the disk cannot read it.
    Unreadable,
    /// It is to be copied.
    Planned(u64),
    /// The source does not have it as it should be.
    Lost,
}

/// All blobs of a vault, manifests included.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<BlobKey, Entry>);

impl Index {
    /// What is in the target.
    pub(super) async fn list(target: &Repository, vault: &VaultName) -> Result<Self> {
        let mut found = target.inventory(vault);
        let mut index = Self::default();
        while let Some(found) = found.try_next().await? {
            index.set(BlobKey::of(&found.name), Entry::Listed(found.size));
        }
        Ok(index)
    }

    pub(super) fn get(&self, key: BlobKey) -> Option<Entry> {
        self.0.get(&key).copied()
    }

    pub(super) fn set(&mut self, key: BlobKey, entry: Entry) {
        self.0.insert(key, entry);
    }

    /// Whether the target has the blob of that name in that length, as far as is known.
    pub(super) fn has(&self, blob: &str, size: u64) -> bool {
        matches!(self.get(BlobKey::of(blob)), Some(Entry::Listed(there) | Entry::Sound(there)) if there == size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_few_bytes() {
        assert!(size_of::<(BlobKey, Entry)>() <= 32);
    }
}
