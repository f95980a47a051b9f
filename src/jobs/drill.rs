//! Proves that a backup can be restored, by restoring it into an empty vault.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    config::connect::{Connections, Role},
    drill::{self, Evidence},
    error::{Error, ErrorKind, Result},
    event,
    events::name,
    model::{BackupId, Timestamp, VaultName, counted, were},
    operation::{Attempts, Done, attempt},
    report::{Progress, Status},
    repository::operation::Operation,
};

/// What a drill is asked for beside its vault and the vault it restores into. Kept in the operation's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillRequest {
    /// Which backup, as a person names it.
    pub backup: String,
    /// How many items at random; absent means what `DRILL_SAMPLE` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<usize>,
}

impl Default for DrillRequest {
    fn default() -> Self {
        Self { backup: "latest".to_owned(), sample: None }
    }
}

/// Drills a backup of the operation's vault in its target vault, or in `DRILL_VAULT` when it names none. See [`attempt`]
/// for what is returned and recorded.
pub async fn drill(
    connections: &Connections,
    mut operation: Operation,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
) -> Result<Operation> {
    let (repository, config) = (connections.repository(Role::Restore)?, connections.config());
    let (vault, id) = (operation.vault.clone(), operation.id);
    let request: Result<DrillRequest> = super::request(&operation);
    operation.target_vault = operation.target_vault.or_else(|| config.drill_vault.clone());
    let target = operation.target_vault.clone();
    let work = async {
        let (request, target) = (request?, check_drill_vault(connections, target.as_ref())?);
        let options = drill::Options {
            backup: request.backup.parse()?,
            sample: request.sample.or(config.drill_sample),
            concurrency: config.concurrency,
        };
        let target = connections.vault(target, Role::Restore)?;
        let evidence = drill::run(&vault, &target, &repository, id, &options, progress, now).await?;
        Ok(drill_done(&vault, target.name(), evidence))
    };
    let target = target.as_ref();
    let result = attempt(&repository, operation, attempts, progress, now, work).await;
    tell_drill(target, &result);
    result
}

/// Ends a drill that no attempt has ended, so that others have their turn. What it left in the drill vault is removed by
/// the next drill there.
pub async fn give_up_drill(
    connections: &Connections,
    operation: Operation,
    progress: &Progress,
    now: Timestamp,
) -> Result<Operation> {
    let repository = connections.repository(Role::Restore)?;
    let target = operation.target_vault.clone();
    let last = operation.problems.first().map(|problem| format!(" The last one: {}", problem.message));
    let message = format!(
        "The drill was begun {} and did not come to an end.{} The next drill removes what it may have left.",
        counted(operation.attempts.into(), "time"),
        last.unwrap_or_default()
    );
    let work = async { Err(Error::new(ErrorKind::Unavailable, message)) };
    let result = attempt(&repository, operation, Attempts::Last, progress, now, work).await;
    tell_drill(target.as_ref(), &result);
    result
}

/// The vault that a drill restores into: never one that is backed up, whoever named it.
pub fn check_drill_vault<'a>(connections: &Connections, target: Option<&'a VaultName>) -> Result<&'a VaultName> {
    let Some(target) = target else {
        let message = "There is no vault to drill in. Set DRILL_VAULT to an empty vault that holds nothing else.";
        return Err(Error::invalid("DRILL_VAULT", message));
    };
    if connections.config().vaults.contains(target) {
        let message = format!(
            "Vault {target} cannot be drilled in, because BACKUP_VAULTS names it. A drill deletes what it has restored: \
             give it a vault of its own that holds nothing else."
        );
        return Err(Error::invalid("targetVault", message));
    }
    Ok(target)
}

fn drill_done(vault: &VaultName, target: &VaultName, evidence: Evidence) -> Done {
    let Evidence { backup_id, status, measured, items, problems } = evidence;
    let failed = items.len() as u64;
    let counts = [("restored", measured.items.saturating_sub(failed)), ("failed", failed)];
    let how_many = match (measured.items, measured.items_in_backup) {
        (1, 1) => "its only item".to_owned(),
        (items, all) if items == all => format!("all {items} items"),
        (items, all) => format!("{items} of {}", counted(all, "item")),
    };
    let they_were = if measured.items == 1 { "it was" } else { "they were" };
    let outcome = match status {
        Status::Succeeded => format!("came back as {they_were} backed up"),
        _ if failed > 0 => {
            format!("{} tried, and {failed} did not come back as {they_were} backed up", were(measured.items))
        }
        _ => format!("came back as {they_were} backed up, but something else is wrong"),
    };
    let message = format!(
        "Backup {backup_id} of vault {vault} was drilled in vault {target}: {how_many} {outcome}. The recovery took \
         {}.",
        counted(measured.recovery_seconds, "second")
    );
    Done {
        status,
        backup_id: Some(backup_id),
        counts: counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count))
            .collect::<BTreeMap<_, _>>(),
        drill: Some(measured),
        message,
        problems,
        items,
    }
}

fn tell_drill(target: Option<&VaultName>, result: &Result<Operation>) {
    let target = target.map(VaultName::as_str).unwrap_or_default();
    match result {
        Ok(operation) => {
            let (vault, id) = (&operation.vault, operation.id);
            let backup = operation.backup_id.as_ref().map(BackupId::as_str).unwrap_or_default();
            let message = operation.message.as_deref().unwrap_or_default();
            if operation.status == Status::Succeeded {
                let recovery_seconds = operation.drill.unwrap_or_default().recovery_seconds;
                event!(INFO, name::DRILL_COMPLETED, %vault, target_vault = target, operation = %id, backup, recovery_seconds, message);
                return;
            }
            let problem = operation.all_problems().next().map(|problem| problem.message).unwrap_or_default();
            event!(ERROR, name::DRILL_FAILED, %vault, target_vault = target, operation = %id, backup, message, problem);
        }
        Err(error) => {
            tracing::warn!(target_vault = target, error = %error.chain(), "this attempt at a drill failed; another follows")
        }
    }
}
