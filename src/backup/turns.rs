//! Two runs on one vault never interleave: the second waits, or is not needed.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    error::{Error, ErrorKind, Result},
    repository::{Lock, Repository},
    store::{LEASE, Lease},
    vault::Vault,
};

/// Between two tries to take a lease that another run holds.
const LOCK_POLL: Duration = Duration::from_secs(2);

/// How long a run waits for another one. The queue delivers five times, so a request lives five times as long.
const TURN: Duration = Duration::from_secs(20 * 60);

/// Takes the right to be the only run on this vault; nothing when another run does what this one was asked for.
/// `wants_its_own`: this one was asked for more than another may bring.
pub(super) async fn take(
    vault: &Vault,
    repository: &Repository,
    operation: Uuid,
    wants_its_own: bool,
) -> Result<Option<Box<dyn Lease>>> {
    match repository.lock(vault.name(), operation).await? {
        Lock::Taken(lease) => Ok(Some(lease)),
        Lock::HeldBy(Some(other)) if other != operation && !wants_its_own => {
            outlive(vault, repository, operation).await
        }
        Lock::HeldBy(_) => wait(vault, repository, operation).await.map(Some),
    }
}

/// Waits until it shows whether the other run is at work or was killed: a killed one's lease ends by itself. Returns
/// the lease when the other was killed, and nothing when it goes on or has committed a backup.
async fn outlive(vault: &Vault, repository: &Repository, operation: Uuid) -> Result<Option<Box<dyn Lease>>> {
    let before = repository.backups(vault.name()).await?.pop();
    let start = Instant::now();
    while start.elapsed() <= LEASE + LOCK_POLL {
        tokio::time::sleep(LOCK_POLL).await;
        if let Lock::Taken(lease) = repository.lock(vault.name(), operation).await? {
            if repository.backups(vault.name()).await?.pop() == before {
                return Ok(Some(lease));
            }
            lease.release().await;
            break;
        }
    }
    Ok(None)
}

/// Waits for the other run to end: this one was asked for more than that one may bring, or it is another delivery of
/// the very same operation, which then finds everything done.
async fn wait(vault: &Vault, repository: &Repository, operation: Uuid) -> Result<Box<dyn Lease>> {
    let start = Instant::now();
    while start.elapsed() <= TURN {
        tokio::time::sleep(LOCK_POLL).await;
        if let Lock::Taken(lease) = repository.lock(vault.name(), operation).await? {
            return Ok(lease);
        }
    }
    let message = format!(
        "Another backup of vault {} has been running for {} minutes. Try again when it has ended.",
        vault.name(),
        TURN.as_secs() / 60
    );
    Err(Error::new(ErrorKind::Busy, message))
}
