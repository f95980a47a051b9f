//! The outcome of a run, item by item, and its progress while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::{error::Error, model::ItemId};

/// The state of an operation, in the words of the Azure REST guidelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Accepted; no worker has begun.
    NotStarted,
    /// A worker is, or was, at it.
    Running,
    /// Everything was done.
    Succeeded,
    /// Something was done and something was not; the items say what.
    PartiallySucceeded,
    /// Nothing that was asked for was done.
    Failed,
}

impl Status {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::NotStarted | Self::Running)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::PartiallySucceeded => "PartiallySucceeded",
            Self::Failed => "Failed",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Backup: kept as an older copy, because it could not be read.
    Stale,
    /// Backup: not in the backup at all.
    Missing,
    /// Restore: brought back from the backup and compared.
    Restored,
    /// Restore: the target had the same current version already.
    AlreadyPresent,
    /// Restore: recovered from the target's deleted items.
    Recovered,
    /// Restore: brought back in the place of another item or version, of which a safety copy was kept.
    Replaced,
    /// Restore: another item or version of that name is in the target, and was left alone.
    Skipped,
    /// Restore: something forbids it; nothing was changed.
    Blocked,
    /// It was tried and did not work.
    Failed,
}

impl Outcome {
    /// The word used in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Restored => "restored",
            Self::AlreadyPresent => "alreadyPresent",
            Self::Recovered => "recovered",
            Self::Replaced => "replaced",
            Self::Skipped => "skipped",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }

    /// Whether the item is where it should be.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Restored | Self::AlreadyPresent | Self::Recovered | Self::Replaced)
    }
}

/// One item and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemReport {
    /// The item; absent names mean a whole kind.
    #[serde(flatten)]
    pub item: ItemId,
    /// What became of it.
    pub outcome: Outcome,
    /// The version that is now current, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Box<str>>,
    /// Why it is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// An error as data: a stable code for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// [`crate::error::ErrorKind::code`].
    pub code: String,
    /// The sentence with its causes.
    pub message: String,
    /// The field, setting, item or blob at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self { code: error.kind().code().into(), message: error.chain(), target: error.target().map(Into::into) }
    }
}

/// How far a run is. Written by the run, read by whoever shows it; never a reason to do anything.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    bytes: AtomicU64,
}

/// A look at a [`Progress`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Items found so far; grows while a listing runs.
    pub total: u64,
    /// Items dealt with, however that ended.
    pub done: u64,
    /// Bytes read or written.
    pub bytes: u64,
}

impl Progress {
    /// So many more items are to be dealt with.
    pub fn expect(&self, items: u64) {
        self.total.fetch_add(items, Ordering::Relaxed);
    }

    /// One item is dealt with.
    pub fn advance(&self, bytes: u64) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes over what somebody else has seen: the run is elsewhere.
    pub fn show(&self, look: Snapshot) {
        self.total.store(look.total, Ordering::Relaxed);
        self.done.store(look.done, Ordering::Relaxed);
        self.bytes.store(look.bytes, Ordering::Relaxed);
    }

    /// How far it is now.
    pub fn look(&self) -> Snapshot {
        Snapshot {
            total: self.total.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
