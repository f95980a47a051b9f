//! The operations a person or a timer can ask for, run with what the settings connect: the same for the functions and
//! the command line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    backup::{self, Backup},
    config::connect::{Connections, Role},
    error::{Error, ErrorKind, Result},
    event,
    events::name,
    model::{BackupId, ItemId, Timestamp, VaultName, filter::ItemFilter},
    operation::{Attempts, Done, attempt},
    report::{ItemReport, Outcome, Problem, Progress, Status},
    repository::{
        Repository, Selector,
        manifest::{Header, Manifest},
        operation::Operation,
    },
    restore::{self, OnConflict, OnDeleted, Plan},
};

/// What a backup may be asked for beside its vault and its label. Kept in the operation's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRequest {
    /// Read every item anew.
    pub full: bool,
}

/// What a restore is asked for. Kept in the operation's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreRequest {
    /// The vault whose backup it is.
    pub vault: VaultName,
    /// Which backup, as a person names it.
    pub backup: String,
    /// The vault to restore into.
    pub target_vault: VaultName,
    /// Patterns of items; empty means all.
    #[serde(default)]
    pub items: Vec<String>,
    /// Names in use.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Names held by deleted items.
    #[serde(default)]
    pub on_deleted: OnDeleted,
}

/// Backs the operation's vault up. See [`attempt`] for what is returned and recorded.
pub async fn back_up(
    connections: &Connections,
    operation: Operation,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
) -> Result<Operation> {
    let repository = connections.repository(Role::Backup)?;
    let request: Result<BackupRequest> = request(&operation);
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
        };
        let vault = connections.vault(&vault, Role::Backup)?;
        backup::run(&vault, &repository, operation_id, &options, progress, now).await.map(|backup| match backup {
            Backup::Committed(header) => backup_done(&header),
            Backup::NotNeeded => not_needed(),
        })
    };
    let result = attempt(&repository, operation, attempts, progress, now, work).await;
    tell_backup(&vault, &result);
    result
}

/// Looks at the target and says what a restore would do. Changes nothing.
pub async fn plan_restore(connections: &Connections, request: &RestoreRequest) -> Result<Plan> {
    let repository = connections.repository(Role::Restore)?;
    let (_, plan) = plan(connections, &repository, request).await?;
    Ok(plan)
}

/// Restores what the operation's request names. See [`attempt`] for what is returned and recorded.
pub async fn restore(
    connections: &Connections,
    operation: Operation,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
) -> Result<Operation> {
    let repository = connections.repository(Role::Restore)?;
    let request: Result<RestoreRequest> = request(&operation);
    let id = operation.id;
    let target = operation.target_vault.clone();
    let work = async {
        let request = request?;
        connections.config().check_restore_target(&request.target_vault)?;
        let (manifest, plan, resumed) = match repository.kept_plan(id).await? {
            Some(kept) => {
                let plan: Plan = decode_plan(&kept)?;
                let backup = repository.find(&request.vault, &Selector::Id(plan.backup_id.clone())).await?;
                (repository.open(&backup).await?, plan, true)
            }
            None => {
                let (manifest, mut plan) = plan(connections, &repository, &request).await?;
                if restore_options(connections, &request)?.may_replace() {
                    plan.safety_backup = Some(BackupId::new(now, id.as_fields().0));
                }
                let text = serde_json::to_vec(&plan).map_err(|cause| {
                    Error::new(ErrorKind::Internal, "Could not write the plan of the restore as JSON.").because(cause)
                })?;
                let kept = repository.keep_plan(id, text.into()).await?;
                (manifest, decode_plan(&kept)?, false)
            }
        };
        let options = restore_options(connections, &request)?;
        if let Some(refusal) = plan.refusal(&options) {
            return Err(refusal);
        }
        let vault = connections.vault(&request.target_vault, Role::Restore)?;
        let items = restore::execute(&plan, &manifest, &repository, &vault, &options, resumed, progress).await;
        Ok(restore_done(&plan, items))
    };
    let result = attempt(&repository, operation, attempts, progress, now, work).await;
    tell_restore(target.as_ref(), &result);
    result
}

async fn plan(
    connections: &Connections,
    repository: &Repository,
    request: &RestoreRequest,
) -> Result<(Manifest, Plan)> {
    connections.config().check_restore_target(&request.target_vault)?;
    let selector: Selector = request.backup.parse()?;
    let backup = repository.find(&request.vault, &selector).await?;
    let manifest = repository.open(&backup).await?;
    let vault = connections.vault(&request.target_vault, Role::Restore)?;
    let plan = restore::plan(&manifest, &vault, &restore_options(connections, request)?).await?;
    Ok((manifest, plan))
}

fn restore_options(connections: &Connections, request: &RestoreRequest) -> Result<restore::Options> {
    Ok(restore::Options {
        filter: ItemFilter::new(&request.items)?,
        on_conflict: request.on_conflict,
        on_deleted: request.on_deleted,
        concurrency: connections.config().concurrency,
    })
}

fn request<T: serde::de::DeserializeOwned>(operation: &Operation) -> Result<T> {
    serde_json::from_value(operation.request.clone()).map_err(|cause| {
        let message = format!("The record of operation {} does not hold a request that can be read.", operation.id);
        Error::new(ErrorKind::Corrupt, message).because(cause)
    })
}

fn decode_plan(text: &[u8]) -> Result<Plan> {
    serde_json::from_slice(text).map_err(|cause| {
        let message = "The kept plan of the restore is damaged. Start the restore again: what is restored already is \
                       recognised.";
        Error::new(ErrorKind::Corrupt, message).because(cause)
    })
}

fn backup_done(header: &Header) -> Done {
    let Header { counts, failures, .. } = header;
    let mut items = Vec::new();
    let mut problems = Vec::new();
    for failure in failures {
        let problem = Problem { code: failure.code.clone(), message: failure.reason.clone(), target: None };
        match failure.name.as_deref().and_then(|name| name.parse().ok()) {
            Some(name) => items.push(ItemReport {
                item: ItemId { kind: failure.kind, name },
                outcome: Outcome::Failed,
                version: None,
                problem: Some(problem),
            }),
            None => problems.push(Problem { target: Some(failure.kind.to_string()), ..problem }),
        }
    }
    let mut message = format!(
        "Backup {} holds {} items: {} read, {} unchanged.",
        header.backup_id,
        counts.items(),
        counts.read,
        counts.carried_over
    );
    if counts.stale + counts.missing > 0 {
        message.push_str(&format!(" {} are older copies, {} are missing.", counts.stale, counts.missing));
    }
    let counts = [
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
    Done {
        status: header.status,
        backup_id: Some(header.backup_id.clone()),
        counts: counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        message,
        problems,
        items,
    }
}

fn not_needed() -> Done {
    Done {
        status: Status::Succeeded,
        backup_id: None,
        counts: BTreeMap::from([("notNeeded".to_owned(), 1)]),
        message: "Not needed: another backup of this vault was running when this one had its turn.".to_owned(),
        problems: Vec::new(),
        items: Vec::new(),
    }
}

fn restore_done(plan: &Plan, items: Vec<ItemReport>) -> Done {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for item in &items {
        *counts.entry(item.outcome.as_str().to_owned()).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let message = format!(
        "Backup {} of vault {} into vault {}: {}.",
        plan.backup_id,
        plan.vault,
        plan.target_vault,
        if parts.is_empty() { "it holds no items".to_owned() } else { parts.join(", ") }
    );
    Done {
        status: restore::status(&items),
        backup_id: Some(plan.backup_id.clone()),
        counts,
        message,
        problems: Vec::new(),
        items,
    }
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

fn tell_restore(target: Option<&VaultName>, result: &Result<Operation>) {
    let target = target.map(VaultName::as_str).unwrap_or_default();
    match result {
        Ok(operation) => {
            let (vault, id) = (&operation.vault, operation.id);
            let message = operation.message.as_deref().unwrap_or_default();
            match operation.status {
                Status::Succeeded => {
                    event!(INFO, name::RESTORE_COMPLETED, %vault, target_vault = target, operation = %id, message);
                }
                Status::PartiallySucceeded => {
                    event!(ERROR, name::RESTORE_PARTIAL, %vault, target_vault = target, operation = %id, message);
                }
                _ => event!(ERROR, name::RESTORE_FAILED, %vault, target_vault = target, operation = %id, message),
            }
        }
        Err(error) => {
            tracing::warn!(target_vault = target, error = %error.chain(), "this attempt at a restore failed; another follows")
        }
    }
}
