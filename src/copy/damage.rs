//! What is damaged, said once for each blob, however many backups need it.

use std::collections::HashMap;

use crate::{
    error::{Error, ErrorKind},
    model::{BackupId, ItemId, counted},
    repository::{
        BackupRef, Repository,
        inspection::{BlobKey, Inspection},
        manifest::Item,
    },
};

/// So much damage is listed; the rest is counted. Each entry takes about a kilobyte.
pub(super) const MOST_LISTED: usize = 1000;

/// Something that keeps backups from being copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The blob or the manifest.
    pub blob: String,
    /// The item whose copy is in that blob.
    pub item: Option<ItemId>,
    /// The backups that need it, newest first.
    pub backups: Vec<BackupId>,
    /// `Corrupt` or `NewerFormat`.
    pub kind: ErrorKind,
    /// A sentence.
    pub message: String,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Damages {
    listed: Vec<Damage>,
    /// Where in `listed` a blob is.
    at: HashMap<BlobKey, usize>,
    more: u64,
}

impl Damages {
    /// An item's blob, which was not told of before unless it is listed.
    pub(super) fn of_item(&mut self, backup: &BackupRef, item: &Item, error: &Error) {
        if self.at.contains_key(&BlobKey::of(&item.blob)) {
            return self.again(backup, &item.blob);
        }
        self.add(backup, &item.blob, Some(item.id.clone()), error);
    }

    /// A manifest.
    pub(super) fn of_manifest(&mut self, backup: &BackupRef, error: &Error) {
        self.add(backup, &backup.manifest(), None, error);
    }

    /// So much more, of which no more is kept.
    pub(super) fn count(&mut self, more: u64) {
        self.more += more;
    }

    /// One more backup needs a blob that was told of.
    pub(super) fn again(&mut self, backup: &BackupRef, blob: &str) {
        if let Some(at) = self.at.get(&BlobKey::of(blob)) {
            self.listed[*at].backups.push(backup.id.clone());
        }
    }

    /// What is listed, and how much there is beyond it.
    pub(super) fn into_parts(self) -> (Vec<Damage>, u64) {
        (self.listed, self.more)
    }

    fn add(&mut self, backup: &BackupRef, blob: &str, item: Option<ItemId>, error: &Error) {
        if self.listed.len() == MOST_LISTED {
            self.more += 1;
            return;
        }
        self.at.insert(BlobKey::of(blob), self.listed.len());
        self.listed.push(Damage {
            blob: blob.to_owned(),
            item,
            backups: vec![backup.id.clone()],
            kind: error.kind(),
            message: error.message().to_owned(),
        });
    }
}

/// What is said of a manifest, with the place where it is; `is_target` where it can be copied anew.
pub(super) fn in_place(place: &Repository, is_target: bool, error: &Error) -> Error {
    let advice = match error.kind() {
        ErrorKind::Corrupt if is_target => " Move it away and copy again: the backup is then copied anew.",
        _ => "",
    };
    Error::new(error.kind(), format!("{} It is in {}.{advice}", error.message(), place.describe()))
}

/// What is said of a blob that is in the target and not what a backup says.
pub(super) fn in_target(target: &Repository, item: &Item, inspection: Inspection) -> Error {
    let why = match inspection {
        Inspection::Sound { size } | Inspection::Damaged { size } if size != item.size => {
            format!("it has {} instead of {}", counted(size, "byte"), item.size)
        }
        Inspection::Sound { .. } | Inspection::Damaged { .. } => {
            "its content does not have the recorded SHA-256".to_owned()
        }
        Inspection::Unreadable => "the disk cannot read it".to_owned(),
        Inspection::Missing => "it vanished as soon as it was written".to_owned(),
    };
    let message = format!(
        "The copy of {} in {} is damaged: {why} (blob {}). Remove that blob there and copy again: it is then copied anew.",
        item.id,
        target.describe(),
        item.blob
    );
    Error::new(ErrorKind::Corrupt, message).at(item.id.to_string())
}
