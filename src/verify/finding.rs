//! From what was seen to what is said: one finding for each damaged blob, however many backups need it.

use std::collections::HashMap;

use super::index::{Index, Key};
use crate::{
    error::{Error, ErrorKind},
    model::{BackupId, are, counted, size},
    repository::{
        BackupRef,
        findings::{Finding, Wrong},
        inspection::{Found, Inspection},
        manifest::Item,
    },
};

/// So much damage is listed; the rest is counted. Each finding takes about a kilobyte.
pub(super) const MOST_LISTED: usize = 1000;

/// What one manifest needs and is not as it should be. Believed only when the manifest is sound.
#[derive(Default)]
pub(super) struct Trouble {
    items: Vec<Item>,
    /// The blobs of further items.
    more: Vec<Key>,
    /// Items whose blobs were not in the listing.
    pub(super) unlisted: Vec<Item>,
}

impl Trouble {
    /// Notes an item whose blob is not what the manifest says.
    pub(super) fn hold_against(&mut self, item: Item, index: &mut Index) {
        let key = Key::of(&item.blob);
        index.name(key);
        if index.inspection(key) == Some(Inspection::Sound { size: item.size }) {
            return;
        }
        if self.items.len() < MOST_LISTED { self.items.push(item) } else { self.more.push(key) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn is_of_missing(&self, index: &Index) -> bool {
        let mut keys = self.items.iter().map(|item| Key::of(&item.blob)).chain(self.more.iter().copied());
        keys.any(|key| index.inspection(key) == Some(Inspection::Missing))
    }
}

/// The damage of all backups.
#[derive(Default)]
pub(super) struct Damage {
    listed: Vec<Finding>,
    /// Where in `listed` the finding of a blob is.
    listed_at: HashMap<Key, usize>,
    more: u64,
}

impl Damage {
    /// What a backup with a sound manifest suffers from.
    pub(super) fn of_items(&mut self, backup: &BackupRef, trouble: Trouble, index: &mut Index) {
        for item in trouble.items {
            let key = Key::of(&item.blob);
            if let Some(at) = self.listed_at.get(&key) {
                self.listed[*at].backups.push(backup.id.clone());
            } else if index.report(key) {
                if self.listed.len() < MOST_LISTED {
                    self.listed_at.insert(key, self.listed.len());
                    self.listed.push(of_item(backup, item, index.inspection(key)));
                } else {
                    self.more += 1;
                }
            }
        }
        for key in trouble.more {
            self.more += u64::from(index.report(key));
        }
    }

    /// A backup whose manifest cannot be used.
    pub(super) fn of_manifest(&mut self, backup: &BackupRef, error: &Error) {
        if self.listed.len() == MOST_LISTED {
            self.more += 1;
            return;
        }
        let is_newer = error.kind() == ErrorKind::NewerFormat;
        self.listed.push(Finding {
            finding: if is_newer { Wrong::NewerManifest } else { Wrong::DamagedManifest },
            blob: backup.manifest(),
            item: None,
            backups: vec![backup.id.clone()],
            message: error.message().to_owned(),
        });
    }

    /// The findings, and how much damage there is beyond them.
    pub(super) fn into_findings(mut self) -> (Vec<Finding>, u64) {
        for finding in self.listed.iter_mut().filter(|finding| finding.item.is_some()) {
            let advice = "Use another backup for this item; the next backup of the vault reads it anew.";
            finding.message = format!("{} {} {advice}", finding.message, needed_by(&finding.backups));
        }
        (self.listed, self.more)
    }
}

fn of_item(backup: &BackupRef, item: Item, inspection: Option<Inspection>) -> Finding {
    let (finding, why) = match inspection {
        Some(Inspection::Sound { size } | Inspection::Damaged { size }) if size != item.size => {
            (Wrong::WrongSize, format!("it has {} instead of {}", counted(size, "byte"), item.size))
        }
        Some(Inspection::Sound { .. } | Inspection::Damaged { .. }) => {
            (Wrong::WrongContent, "its content does not have the recorded SHA-256".to_owned())
        }
        Some(Inspection::Unreadable) => (Wrong::WrongContent, "the disk cannot read it".to_owned()),
        Some(Inspection::Missing) | None => (Wrong::MissingBlob, "it is not there".to_owned()),
    };
    Finding {
        finding,
        message: format!("The stored backup of {} is damaged: {why} (blob {}).", item.id, item.blob),
        blob: item.blob.into(),
        item: Some(item.id),
        backups: vec![backup.id.clone()],
    }
}

fn needed_by(backups: &[BackupId]) -> String {
    match backups {
        [only] => format!("Backup {only} needs it."),
        [first, .., last] => format!("{} backups need it, from {first} to {last}.", backups.len()),
        [] => String::new(),
    }
}

/// Blobs of one sort, of which the first is named.
#[derive(Default)]
pub(super) struct Group {
    first: String,
    count: u64,
    bytes: u64,
}

impl Group {
    pub(super) fn add(&mut self, found: &Found) {
        if self.is_empty() {
            self.first.clone_from(&found.name);
        }
        self.count += 1;
        self.bytes += found.size;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What is said about them, if there are any.
    pub(super) fn into_note(self, say: fn(&Self) -> (Wrong, String)) -> Option<Finding> {
        let (finding, message) = say(&self);
        (!self.is_empty()).then_some(note(finding, self.first, message))
    }
}

/// Item blobs older than a day that no backup names.
pub(super) fn unnamed(group: &Group) -> (Wrong, String) {
    let message = format!(
        "{} {} older than a day and needed by no backup ({}; the first is {}). A run that was given up or a backup that was \
         removed left them; they do no harm. `keyvault-backup prune` removes them.",
        counted(group.count, "item blob"),
        are(group.count),
        size(group.bytes),
        group.first
    );
    (Wrong::UnnamedBlobs, message)
}

/// Blobs that are not ours.
pub(super) fn unknown(group: &Group) -> (Wrong, String) {
    let message = format!(
        "{} {} there that this program does not write under such names ({}; the first is {}). Nothing uses them. Find out \
         who put them there.",
        counted(group.count, "blob"),
        are(group.count),
        size(group.bytes),
        group.first
    );
    (Wrong::UnknownNames, message)
}

/// A damaged blob that no backup which can be read needs.
pub(super) fn damaged_and_unneeded(blob: &str) -> Finding {
    let message = format!(
        "The item blob {blob} does not have the content that its name says. No backup that can be read needs it."
    );
    note(Wrong::WrongContent, blob.to_owned(), message)
}

/// Something that no backup suffers from.
fn note(finding: Wrong, blob: String, message: String) -> Finding {
    Finding { finding, blob, item: None, backups: Vec::new(), message }
}
