//! Checks that every backup of a vault can be restored from what is stored.

use crate::{
    config::connect::Connections,
    error::{Error, ErrorKind, Result},
    model::Timestamp,
    operation::Attempts,
    report::Progress,
    repository::operation::Operation,
};

/// Checks all backups of the operation's vault.
pub async fn verify(
    _connections: &Connections,
    operation: Operation,
    _attempts: Attempts,
    _progress: &Progress,
    _now: Timestamp,
) -> Result<Operation> {
    Err(Error::new(ErrorKind::Internal, format!("Operation {} has no code.", operation.id)))
}
