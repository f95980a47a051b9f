//! Restores a backup into a vault: plans first, then does what the plan says, then compares.
//!
//! [`plan()`] looks at the target and changes nothing; the dry run prints it. [`execute()`] may be repeated: what an
//! interrupted attempt has restored is recognised by its version and not restored again. Nothing that is replaced is
//! deleted before a safety copy of it is committed as a backup of its own.

mod execute;
mod plan;
mod replace;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::{
    execute::{compare, execute, status},
    plan::{Action, Plan, Step, chosen, plan},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::filter::ItemFilter,
};

/// What to do when another item or version of that name is in the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnConflict {
    /// Leave it alone and restore the others.
    #[default]
    Skip,
    /// Restore nothing at all.
    Fail,
    /// Take a safety copy of it, delete and purge it, and restore. It is put back when that fails.
    Replace,
}

/// What to do when the name is held by a soft-deleted item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnDeleted {
    /// Recover it: that brings back all its versions. When they are not those of the backup, it is a conflict.
    #[default]
    Recover,
    /// Restore nothing at all.
    Fail,
    /// Purge it and restore. It is recovered for a safety copy first, because a deleted item cannot be backed up.
    Purge,
}

impl FromStr for OnConflict {
    type Err = Error;
    fn from_str(word: &str) -> Result<Self> {
        match word {
            "skip" => Ok(Self::Skip),
            "fail" => Ok(Self::Fail),
            "replace" => Ok(Self::Replace),
            _ => {
                let message = format!("onConflict is {word:?}; it is skip, fail or replace.");
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
        }
    }
}

impl FromStr for OnDeleted {
    type Err = Error;
    fn from_str(word: &str) -> Result<Self> {
        match word {
            "recover" => Ok(Self::Recover),
            "fail" => Ok(Self::Fail),
            "purge" => Ok(Self::Purge),
            _ => {
                let message = format!("onDeleted is {word:?}; it is recover, fail or purge.");
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
        }
    }
}

/// What to restore and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which items of the backup.
    pub filter: ItemFilter,
    /// Names that are in use.
    pub on_conflict: OnConflict,
    /// Names that are held by deleted items.
    pub on_deleted: OnDeleted,
    /// How many items are dealt with at once.
    pub concurrency: usize,
}

impl Options {
    /// Whether anything may be deleted, so that safety copies may be needed.
    pub fn may_replace(&self) -> bool {
        self.on_conflict == OnConflict::Replace || self.on_deleted == OnDeleted::Purge
    }
}
