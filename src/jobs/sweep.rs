//! Making final what nobody will finish.

use futures::{StreamExt as _, stream};
use uuid::Uuid;

use crate::{
    config::connect::{Connections, Role},
    error::{ErrorKind, Result},
    event,
    events::name,
    model::Timestamp,
    operation::abandoned::{SILENCE, is_given_up, seen_at},
    repository::{Repository, operation::Operation},
};

/// Records looked at at once.
const AT_ONCE: usize = 8;

/// Looks at every operation that has not ended. Those that nobody will finish are recorded as `Failed`, with an event
/// each. One record that cannot be read or written does not keep the others from it.
pub async fn sweep(connections: &Connections, now: Timestamp) -> Result<()> {
    let repository = connections.repository(Role::Backup)?;
    let unfinished = repository.unfinished().await?;
    stream::iter(unfinished)
        .for_each_concurrent(AT_ONCE, |(id, since)| {
            let repository = &repository;
            async move {
                if let Err(error) = look_at(repository, id, since, now).await {
                    tracing::warn!(operation = %id, error = %error.chain(), "could not look at an operation");
                }
            }
        })
        .await;
    Ok(())
}

async fn look_at(repository: &Repository, id: Uuid, since: Timestamp, now: Timestamp) -> Result<()> {
    let operation = match repository.operation(id).await {
        Ok(operation) => operation,
        // The mark is made before the record, which may be under way.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if since.plus(SILENCE) < now {
                repository.unmark_unfinished(id).await;
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if operation.status.is_final() {
        repository.unmark_unfinished(id).await;
        return Ok(());
    }
    let operation = seen_at(operation, now);
    if !is_given_up(&operation) {
        return Ok(());
    }
    // First: an event that comes twice is better than one that never comes.
    tell(&operation);
    // Another one may have ended since this one was heard of.
    let last = repository.last_operation(&operation.vault, operation.kind).await?;
    if last.is_none_or(|last| last.created_at <= operation.created_at) {
        repository.save_last_operation(&operation).await?;
    }
    repository.save_operation(&operation).await
}

fn tell(operation: &Operation) {
    let Operation { id, kind, vault, .. } = operation;
    let message = operation.message.as_deref().unwrap_or_default();
    event!(ERROR, name::OPERATION_ABANDONED, %vault, kind = kind.as_str(), operation = %id, message);
}
