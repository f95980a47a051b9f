//! Item blobs: which there are, which of them a manifest names, and what becomes of the others.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use super::SAFETY_AGE;
use crate::{
    error::{ErrorKind, Result},
    model::{Timestamp, VaultName},
    repository::{BackupRef, Repository, findings::Damage, manifest::Item},
    store::Entry,
};

/// The item blobs of a vault and what is known of them: 13 bytes for a blob whose name alone has 200. Of a vault with
/// 100,000 items there are millions in time.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    /// In order. Shared by clones, which differ only in what is named.
    blobs: Arc<Vec<Hash>>,
    /// Whether a manifest names the blob at this place.
    named: Vec<bool>,
    /// Those that the last verification found damaged hold no copy of anything.
    damage: Damage,
}

/// The beginning of a SHA-256 over name and size: two of ten million blobs share it with a probability of 10^-15, and
/// then one stays that could go.
type Hash = [u8; 12];

impl Holdings {
    /// All item blobs that are stored; no manifest names them yet.
    pub(super) async fn list(repository: &Repository, vault: &VaultName) -> Result<Self> {
        let (mut listed, mut blobs) = (repository.item_blobs(vault), Vec::new());
        while let Some(blob) = listed.try_next().await? {
            blobs.push(hash(&blob.name, blob.size));
        }
        blobs.sort_unstable();
        let named = vec![false; blobs.len()];
        Ok(Self { blobs: Arc::new(blobs), named, damage: repository.damage(vault).await })
    }

    /// Keeps what an item is stored in. Whether it is there, in full length and not known to be damaged.
    pub(super) fn keep(&mut self, item: &Item) -> bool {
        let place = self.place(&item.blob, item.size);
        if let Some(place) = place {
            self.named[place] = true;
        }
        place.is_some() && !self.damage.may_be_at(&item.blob)
    }

    /// Whether what an item is stored in is there, in full length and not known to be damaged.
    pub(super) fn has(&self, item: &Item) -> bool {
        self.place(&item.blob, item.size).is_some() && !self.damage.may_be_at(&item.blob)
    }

    /// Keeps what all items of a backup are stored in, as far as it is there. Whether the manifest is sound: what it has
    /// said before its damage shows is kept all the same.
    pub(super) async fn keep_all(&mut self, repository: &Repository, backup: &BackupRef) -> Result<bool> {
        visit(repository, backup, |item| {
            self.keep(&item);
        })
        .await
    }

    /// Whether a blob was there when these were listed and no manifest names it. What came later is somebody's work.
    fn is_unnamed(&self, blob: &Entry) -> bool {
        self.place(&blob.name, blob.size).is_some_and(|place| !self.named[place])
    }

    fn place(&self, name: &str, size: u64) -> Option<usize> {
        self.blobs.binary_search(&hash(name, size)).ok()
    }
}

fn hash(name: &str, size: u64) -> Hash {
    let digest = Sha256::new().chain_update(size.to_be_bytes()).chain_update(name).finalize();
    let mut hash = Hash::default();
    hash.copy_from_slice(&digest[..12]);
    hash
}

/// Shows every item of a backup, one after the other. False when its manifest cannot be read or is gone: then what was
/// shown may not be relied upon.
pub(super) async fn visit(repository: &Repository, backup: &BackupRef, mut show: impl FnMut(Item)) -> Result<bool> {
    let visited: Result<()> = async {
        let mut manifest = repository.read_manifest(backup).await?;
        while let Some(item) = manifest.next().await? {
            show(item);
        }
        Ok(())
    }
    .await;
    match visited {
        Ok(()) => Ok(true),
        Err(error) if error.kind().is_of_stored_data() || error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
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
