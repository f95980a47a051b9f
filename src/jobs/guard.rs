//! Acknowledging what tripped the guard.

use crate::{
    error::{Error, ErrorKind, Result},
    event,
    events::name,
    model::{BackupId, Timestamp, VaultName},
    repository::{
        Repository,
        guard::{ACKNOWLEDGEMENT_VERSION, Acknowledgement},
    },
};

/// The most characters of a name or a reason that are kept.
const MOST_CHARACTERS: usize = 1000;

/// Takes the guard of a vault down, on the word of `by`. From now on the vault's backups are pruned again, and its next
/// backup carries no mark.
///
/// With `tripped_by` only if it is that backup which tripped it, so that nobody acknowledges what they have not seen;
/// what that backup found and somebody has acknowledged before stays as it was acknowledged. `Conflict`: another backup
/// tripped it. `NotFound`: the guard is not up.
pub async fn acknowledge_guard(
    repository: &Repository,
    vault: &VaultName,
    tripped_by: Option<&BackupId>,
    by: &str,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<Acknowledgement> {
    let guard = match (repository.guard(vault).await?, tripped_by) {
        (Some(guard), Some(backup)) if guard.tripped_by != *backup => {
            let message = format!(
                "The guard of vault {vault} was tripped by backup {}, not by {backup}. Look at it again before you \
                 acknowledge it: {guard}.",
                guard.tripped_by
            );
            return Err(Error::new(ErrorKind::Conflict, message).at("backup"));
        }
        (Some(guard), _) => guard,
        (None, Some(backup)) => {
            let known = repository.acknowledgement(vault, backup).await?;
            return known.ok_or_else(|| {
                let message = format!("The guard of vault {vault} is not up, and backup {backup} did not trip it.");
                Error::new(ErrorKind::NotFound, message).at("backup")
            });
        }
        (None, None) => return Err(no_guard(vault)),
    };
    let acknowledgement = repository
        .acknowledge(Acknowledgement {
            format_version: ACKNOWLEDGEMENT_VERSION,
            vault: vault.clone(),
            guard,
            acknowledged_at: now,
            acknowledged_by: one_line(by),
            reason: reason.map(one_line).filter(|reason| !reason.is_empty()),
        })
        .await?;
    let backup = acknowledgement.guard.tripped_by.as_str();
    let by = acknowledgement.acknowledged_by.as_str();
    let reason = acknowledgement.reason.as_deref().unwrap_or_default();
    event!(INFO, name::GUARD_ACKNOWLEDGED, %vault, backup, by, reason);
    Ok(acknowledgement)
}

/// Nothing is there to acknowledge.
pub fn no_guard(vault: &VaultName) -> Error {
    let message = format!("The guard of vault {vault} is not up: there is nothing to acknowledge.");
    Error::new(ErrorKind::NotFound, message).at("vault")
}

/// What somebody wrote, without line breaks and other characters that would confuse a terminal, and of bounded length.
fn one_line(text: &str) -> String {
    let clean = text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    clean.take(MOST_CHARACTERS).collect()
}
