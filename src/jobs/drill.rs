//! Proves that a backup can be restored, by restoring it into an empty vault.

use crate::{
    config::connect::Connections,
    error::{Error, ErrorKind, Result},
    model::Timestamp,
    operation::Attempts,
    report::Progress,
    repository::operation::Operation,
};

/// Restores the newest backup of the operation's vault into the drill vault.
pub async fn drill(
    _connections: &Connections,
    operation: Operation,
    _attempts: Attempts,
    _progress: &Progress,
    _now: Timestamp,
) -> Result<Operation> {
    Err(Error::new(ErrorKind::Internal, format!("Operation {} has no code.", operation.id)))
}
