//! Backing a vault up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::prune::after_backup;
use crate::{
    backup::{self, Backup},
    config::connect::{Connections, Role},
    error::Result,
    event,
    events::name,
    model::{BackupId, ItemId, Timestamp, VaultName, are, counted},
    operation::{Attempts, Done, attempt},
    report::{ItemReport, Outcome, Problem, Progress, Status},
    repository::{manifest::Header, operation::Operation},
    rows::Rows,
};

/// What a backup may be asked for beside its vault and its label. Kept in the operation's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRequest {
    /// Read every item anew.
    pub full: bool,
}

/// How many items had vanished when the guard tripped: among the counts of a backup while the guard is up.
pub const GUARD_DELETED: &str = "guardDeleted";

/// How many items had been disabled when the guard tripped: likewise.
pub const GUARD_DISABLED: &str = "guardDisabled";

/// Backs the operation's vault up. See [`attempt`] for what is returned and recorded.
pub async fn back_up(
    connections: &Connections,
    operation: Operation,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
) -> Result<Operation> {
    let repository = connections.repository(Role::Backup)?;
    let request: Result<BackupRequest> = super::request(&operation);
    let (vault, operation_id, label) = (operation.vault.clone(), operation.id, operation.label.clone());
    let work = async {
        let config = connections.config();
        let options = backup::Options {
            id: repository.backup_id(&vault, operation_id, now).await?,
            label,
            filter: config.filter.clone(),
            full: request?.full,
            full_every: config.full_every,
            concurrency: config.concurrency,
            guard: config.guard,
        };
        let source = connections.vault(&vault, Role::Backup)?;
        match backup::run(&source, &repository, operation_id, &options, progress, now).await? {
            Backup::Committed(header) => {
                tell_guard(&header, operation_id);
                let mut done = backup_done(&header)?;
                if let Some(retention) = after_backup(connections, &vault, operation_id, now).await {
                    done.message = format!("{} {retention}", done.message);
                }
                Ok(done)
            }
            Backup::NotNeeded => Ok(not_needed()),
        }
    };
    let result = attempt(&repository, operation, attempts, progress, now, work).await;
    tell_backup(&vault, &result);
    result
}

fn backup_done(header: &Header) -> Result<Done> {
    let Header { counts, failures, .. } = header;
    let mut items = Rows::default();
    let mut problems = Vec::new();
    for failure in failures {
        let problem = Problem { code: failure.code.clone(), message: failure.reason.clone(), target: None };
        match failure.name.as_deref().and_then(|name| name.parse().ok()) {
            Some(name) => items.push(&ItemReport {
                item: ItemId { kind: failure.kind, name },
                outcome: Outcome::Failed,
                version: None,
                problem: Some(problem),
            })?,
            None => problems.push(Problem { target: Some(failure.kind.to_string()), ..problem }),
        }
    }
    let mut message = format!(
        "Backup {} holds {}: {} read, {} unchanged.",
        header.backup_id,
        counted(counts.items(), "item"),
        counts.read,
        counts.carried_over
    );
    if counts.stale + counts.missing > 0 {
        message.push_str(&format!(
            " {} {} there as an older copy, {} {} missing.",
            counts.stale,
            are(counts.stale),
            counts.missing,
            are(counts.missing)
        ));
    }
    if let Some(guard) = &header.guard {
        message.push_str(&format!(
            " The guard is up: {guard}. No backup is removed until a person looks: `keyvault-backup guard {}`.",
            header.vault
        ));
    }
    let mut counts: Vec<(&str, u64)> = vec![
        ("keys", counts.keys),
        ("secrets", counts.secrets),
        ("certificates", counts.certificates),
        ("managedSkipped", counts.managed_skipped),
        ("filteredOut", counts.filtered_out),
        ("read", counts.read),
        ("carriedOver", counts.carried_over),
        ("stale", counts.stale),
        ("missing", counts.missing),
    ];
    if let Some(guard) = &header.guard {
        counts.extend([(GUARD_DELETED, guard.deleted), (GUARD_DISABLED, guard.disabled)]);
    }
    Ok(Done {
        status: header.status,
        backup_id: Some(header.backup_id.clone()),
        counts: counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        drill: None,
        message,
        problems,
        items,
    })
}

fn not_needed() -> Done {
    Done {
        status: Status::Succeeded,
        backup_id: None,
        counts: BTreeMap::from([("notNeeded".to_owned(), 1)]),
        drill: None,
        message: "Not needed: another backup of this vault was running when this one had its turn.".to_owned(),
        problems: Vec::new(),
        items: Rows::default(),
    }
}

/// Only for the backup that trips it: the later ones, which carry the mark over, have nothing new to say.
fn tell_guard(header: &Header, operation: Uuid) {
    let Some(guard) = header.guard.as_ref().filter(|guard| guard.tripped_by == header.backup_id) else { return };
    let (vault, backup, compared_with) = (&header.vault, header.backup_id.as_str(), guard.compared_with.as_str());
    let (items, deleted, disabled) = (guard.items, guard.deleted, guard.disabled);
    let message = format!(
        "In vault {vault}, {guard}. The backup was made. No backup of this vault is removed until a person has looked: \
         keyvault-backup guard {vault}"
    );
    event!(ERROR, name::GUARD_TRIPPED, %vault, %operation, backup, compared_with, items, deleted, disabled, message);
}

fn tell_backup(vault: &VaultName, result: &Result<Operation>) {
    match result {
        Ok(operation) if operation.counts.contains_key("notNeeded") => {
            event!(INFO, name::BACKUP_NOT_NEEDED, %vault, operation = %operation.id);
        }
        Ok(operation) => {
            let backup = operation.backup_id.as_ref().map(BackupId::as_str).unwrap_or_default();
            let message = operation.message.as_deref().unwrap_or_default();
            let problem = operation.problems.first().map(|problem| problem.message.as_str()).unwrap_or_default();
            match operation.status {
                Status::Succeeded => {
                    event!(INFO, name::BACKUP_COMPLETED, %vault, operation = %operation.id, backup, message);
                }
                Status::PartiallySucceeded => {
                    event!(ERROR, name::BACKUP_PARTIAL, %vault, operation = %operation.id, backup, message, problem);
                }
                _ => event!(ERROR, name::BACKUP_FAILED, %vault, operation = %operation.id, message, problem),
            }
        }
        Err(error) => {
            tracing::warn!(%vault, error = %error.chain(), "this attempt at a backup failed; another follows")
        }
    }
}
