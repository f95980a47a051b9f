//! What a drill puts into the drill vault, noted before it does so: whoever comes next, another attempt or another
//! drill, knows from it what to remove, and touches nothing else.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, ItemId, Timestamp, VaultName},
    report::{ItemReport, Problem},
    repository::{Repository, items::Items, manifest::Item, operation::Measured},
    restore::{Action, Step},
    rows::Rows,
    vault::{Current, deleted::Deleted},
};

/// What a note's format version is.
const NOTE_VERSION: u32 = 1;

/// The last drill into a vault. One blob for each drill vault, written anew as the drill goes on (`docs/format.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    format_version: u32,
    /// The drill.
    pub(super) operation: Uuid,
    /// How far it is.
    pub(super) stage: Stage,
    /// The vault whose backup it restores.
    pub(super) vault: VaultName,
    /// The backup.
    pub(super) backup_id: BackupId,
    /// When this stage began.
    pub(super) since: Timestamp,
    /// What was measured so far.
    pub(super) measured: Measured,
    /// What is restored, and so what may be removed.
    pub(super) items: Rows<Entry>,
    /// What went wrong with single items.
    #[serde(default, skip_serializing_if = "Rows::is_empty")]
    pub(super) reports: Rows<ItemReport>,
    /// What went wrong as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<Problem>,
}

/// How far a drill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Stage {
    /// Items are restored and compared.
    Restoring,
    /// They are deleted and purged.
    Removing,
    /// The drill vault is as it was before.
    Done,
}

/// An item in the state in which it is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) item: ItemId,
    version: Box<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ties: Vec<Box<str>>,
}

impl Note {
    pub(super) fn new(
        operation: Uuid,
        vault: &VaultName,
        backup_id: &BackupId,
        chosen: &Items,
        measured: Measured,
        since: Timestamp,
    ) -> Result<Self> {
        let mut items = Rows::default();
        for item in chosen.iter() {
            items.push(&Entry::of(&item?))?;
        }
        Ok(Self {
            format_version: NOTE_VERSION,
            operation,
            stage: Stage::Restoring,
            vault: vault.clone(),
            backup_id: backup_id.clone(),
            since,
            measured,
            items,
            reports: Rows::default(),
            problems: Vec::new(),
        })
    }

    pub(super) async fn read(repository: &Repository, target: &VaultName) -> Result<Option<Self>> {
        let unreadable = |why: &str| {
            let message = format!(
                "The note of the last drill into vault {target} {why}, so what it left there is not known. Look at the \
                 vault, remove what does not belong there, and then the blob drills/{target}.json of the state container."
            );
            Error::new(ErrorKind::Corrupt, message)
        };
        let note: Self = match repository.drill_note(target).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Err(unreadable("is damaged").because(error)),
            Ok(None) => return Ok(None),
            Ok(Some(note)) => note,
            Err(error) => return Err(error),
        };
        if note.format_version > NOTE_VERSION {
            let why =
                format!("has format version {}, and this release reads up to {NOTE_VERSION}", note.format_version);
            return Err(unreadable(&why));
        }
        Ok(Some(note))
    }

    pub(super) async fn save(&self, repository: &Repository, target: &VaultName) -> Result<()> {
        repository.save_drill_note(target, self).await
    }
}

impl Entry {
    fn of(item: &Item) -> Self {
        Self { item: item.id.clone(), version: item.version.clone(), ties: item.ties.clone() }
    }

    /// To restore it.
    pub(super) fn step(&self) -> Step {
        Step { item: self.item.clone(), action: Action::Restore, version: self.version.clone(), reason: None }
    }

    /// Whether the active item is the one that was restored, and nothing was added to it since.
    pub(super) fn is(&self, current: &Current) -> bool {
        current.may_be(&self.version) || self.ties.iter().any(|tie| current.may_be(tie))
    }

    /// The same of a deleted item.
    pub(super) fn was(&self, deleted: &Deleted) -> bool {
        deleted.version.as_ref().is_some_and(|version| *version == self.version || self.ties.contains(version))
    }
}
