//! The operations a person or a timer can ask for, run with what the settings connect: the same for the functions and
//! the command line.

mod backup;
mod diff;
mod drill;
mod guard;
mod prune;
mod restore;
mod sweep;
mod verify;

pub use self::{
    backup::{BackupRequest, GUARD_DELETED, GUARD_DISABLED, back_up},
    diff::{Against, Comparison, compare, may_be_meant, newest_backup, nothing_before},
    drill::{DrillRequest, check_drill_vault, drill, give_up_drill},
    guard::{acknowledge_guard, no_guard},
    prune::{plan_prune, prune},
    restore::{
        RestoreRequest, check_restore, damage_in, damage_warning, plan_restore, restore, restore_warnings, warnings,
    },
    sweep::sweep,
    verify::verify,
};
use crate::{
    error::{Error, ErrorKind, Result},
    repository::operation::Operation,
};

/// What an operation was asked for.
fn request<T: serde::de::DeserializeOwned>(operation: &Operation) -> Result<T> {
    serde_json::from_value(operation.request.clone()).map_err(|cause| {
        let message = format!("The record of operation {} does not hold a request that can be read.", operation.id);
        Error::new(ErrorKind::Corrupt, message).because(cause)
    })
}
