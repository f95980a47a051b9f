//! Item blobs: which there are, which of them a manifest names, and what becomes of the others.

use std::{collections::HashMap, time::Duration};

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use super::SAFETY_AGE;
use crate::{
    error::Result,
    model::{Timestamp, VaultName},
    repository::{
        Repository,
        findings::Damage,
        manifest::{Item, Manifest},
    },
    store::Entry,
};

/// The item blobs of a vault and what is known of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    /// By a hash of name and size, whether a manifest names them: 20 to 40 bytes for a blob whose name alone has 200.
    blobs: HashMap<Hash, bool>,
    /// Those that the last verification found damaged hold no copy of anything.
    damage: Damage,
}

/// Half of a SHA-256: two of a billion blobs share it with a probability of 10^-21, and then one stays that could go.
type Hash = [u8; 16];

impl Holdings {
    /// All item blobs that are stored; no manifest names them yet.
    pub(super) async fn list(repository: &Repository, vault: &VaultName) -> Result<Self> {
        let mut blobs = repository.item_blobs(vault);
        let mut holdings = Self { blobs: HashMap::new(), damage: repository.damage(vault).await };
        while let Some(blob) = blobs.try_next().await? {
            holdings.blobs.insert(hash(&blob.name, blob.size), false);
        }
        Ok(holdings)
    }

    /// Keeps what an item is stored in. Whether it is there, in full length and not known to be damaged.
    pub(super) fn keep(&mut self, item: &Item) -> bool {
        if let Some(is_named) = self.blobs.get_mut(&hash(&item.blob, item.size)) {
            *is_named = true;
        }
        self.has(item)
    }

    /// Whether what an item is stored in is there, in full length and not known to be damaged.
    pub(super) fn has(&self, item: &Item) -> bool {
        self.blobs.contains_key(&hash(&item.blob, item.size)) && !self.damage.may_be_at(&item.blob)
    }

    /// Keeps what all items of a backup are stored in, as far as it is there.
    pub(super) fn keep_all(&mut self, manifest: &Manifest) -> Result<()> {
        for item in manifest.items.iter() {
            self.keep(&item?);
        }
        Ok(())
    }

    /// Whether a blob was there when these were listed and no manifest names it. What came later is somebody's work.
    fn is_unnamed(&self, blob: &Entry) -> bool {
        self.blobs.get(&hash(&blob.name, blob.size)) == Some(&false)
    }
}

fn hash(name: &str, size: u64) -> Hash {
    let digest = Sha256::new().chain_update(size.to_be_bytes()).chain_update(name).finalize();
    let mut half = Hash::default();
    half.copy_from_slice(&digest[..16]);
    half
}

/// The rules for blobs that no manifest names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// A manifest that cannot be read may name any blob.
    pub(super) all_readable: bool,
    pub(super) immutable_for: Option<Duration>,
    pub(super) now: Timestamp,
}

/// What becomes of an item blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A manifest names it.
    Named,
    /// A run under way may be about to name it.
    Young,
    /// A manifest that cannot be read may name it.
    Doubtful,
    /// The container does not let it be deleted before then, as far as that is known.
    Protected(Option<Timestamp>),
    Removed,
}

impl Rules {
    pub(super) fn fate(&self, blob: &Entry, holdings: &Holdings) -> Fate {
        let created = Timestamp::from(blob.created);
        let reaches = |age: Duration| self.now >= created.plus(age);
        match self.immutable_for {
            _ if !holdings.is_unnamed(blob) => Fate::Named,
            _ if !reaches(SAFETY_AGE) => Fate::Young,
            _ if !self.all_readable => Fate::Doubtful,
            Some(period) if !reaches(period) => Fate::Protected(Some(created.plus(period))),
            _ => Fate::Removed,
        }
    }
}
