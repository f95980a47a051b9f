//! The stored record of one asynchronous run: backup, restore, verify, drill. One JSON blob in the
//! state container, written anew as the run goes on; `docs/format.md` describes it. It is evidence for people and the
//! source of `GET api/operations`; losing it loses no backup.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    model::{BackupId, Label, Timestamp, VaultName},
    report::{ItemReport, Problem, Snapshot, Status},
    rows::Rows,
};

/// What a record's format version is.
pub const OPERATION_VERSION: u32 = 1;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OperationKind {
    /// Backs one vault up.
    Backup,
    /// Restores a backup into a vault.
    Restore,
    /// Checks all backups of one vault.
    Verify,
    /// Restores the newest backup of one vault into the drill vault, and removes it there again.
    Drill,
}

impl OperationKind {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::Drill => "drill",
        }
    }
}

/// How much a drill restored and how long that took. Seconds are rounded up and hold all attempts, with the time between
/// them: what a recovery that is interrupted would take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Items it restored, or tried to: all of the backup, or a sample.
    pub items: u64,
    /// Items in the backup.
    pub items_in_backup: u64,
    /// From the search for the backup until the last item was back: the time of a recovery.
    pub recovery_seconds: u64,
    /// Of which: finding the backup, choosing items, looking at the drill vault.
    pub plan_seconds: u64,
    /// Of which: restoring, each item looked at when it is back.
    pub restore_seconds: u64,
    /// Comparing everything with the manifest once more.
    pub compare_seconds: u64,
    /// Deleting and purging what was restored.
    pub clean_up_seconds: u64,
}

/// The record of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// [`OPERATION_VERSION`].
    pub format_version: u32,
    /// Its id.
    pub id: Uuid,
    /// What it does.
    pub kind: OperationKind,
    /// Where it stands.
    pub status: Status,
    /// The vault that is backed up, or whose backup is restored.
    pub vault: VaultName,
    /// The vault that is restored into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_vault: Option<VaultName>,
    /// The backup that is made or restored, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<BackupId>,
    /// The name for the backup that is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// What was asked for, as far as it is not above; compared when a request is repeated.
    pub request: serde_json::Value,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When a worker began with it for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When this record was written.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How often a worker has begun with it.
    pub attempts: u32,
    /// Whether nobody will try again when the present attempt is cut off: it is a command, or the last delivery of its
    /// message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_attempt: bool,
    /// How far the present attempt is.
    pub progress: Snapshot,
    /// How many items ended how.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// What a drill measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Measured>,
    /// A sentence about the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What went wrong as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// The items: all of them for a restore, those with trouble for a backup or a drill.
    #[serde(default, skip_serializing_if = "Rows::is_empty")]
    pub items: Rows<ItemReport>,
}

impl Operation {
    /// What went wrong as a whole, and then what went wrong with single items, as far as those can be read.
    pub fn all_problems(&self) -> impl Iterator<Item = Problem> + '_ {
        let of_items = self.items.iter().filter_map(|item| item.ok()?.problem);
        self.problems.iter().cloned().chain(of_items)
    }

    /// A record of something that was asked for and not begun.
    pub fn new(id: Uuid, kind: OperationKind, vault: VaultName, request: serde_json::Value, now: Timestamp) -> Self {
        Self {
            format_version: OPERATION_VERSION,
            id,
            kind,
            status: Status::NotStarted,
            vault,
            target_vault: None,
            backup_id: None,
            label: None,
            request,
            created_at: now,
            started_at: None,
            updated_at: now,
            finished_at: None,
            attempts: 0,
            last_attempt: false,
            progress: Snapshot::default(),
            counts: BTreeMap::new(),
            drill: None,
            message: None,
            problems: Vec::new(),
            items: Rows::default(),
        }
    }
}
