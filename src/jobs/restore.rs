//! Restoring a backup into a vault.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::{Instrument as _, debug_span};

use crate::{
    config::connect::{Connections, Role},
    error::{Error, ErrorKind, Result},
    event,
    events::name,
    model::{BackupId, Timestamp, VaultName, filter::ItemFilter, spoken},
    operation::{Attempts, Done, attempt},
    report::{ItemReport, Outcome, Progress, Status},
    repository::{
        Repository, Selector,
        manifest::{Guard, Header, Manifest},
        operation::Operation,
    },
    restore::{self, OnConflict, OnDeleted, Plan},
    rows::Rows,
};

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

/// Looks at the target and says what a restore would do. Changes nothing.
pub async fn plan_restore(connections: &Connections, request: &RestoreRequest) -> Result<Plan> {
    let repository = connections.repository(Role::Restore)?;
    let (_, plan) = plan(connections, &repository, request).await?;
    Ok(plan)
}

/// Refuses a restore that would fail before it begins: of a backup that does not exist, of `latest` while the guard is up
/// in it, or of patterns that match nothing in it. Asks no vault, and reads the manifest only when there are patterns.
pub async fn check_restore(connections: &Connections, request: &RestoreRequest) -> Result<()> {
    let repository = connections.repository(Role::Restore)?;
    let backup = repository.find_named(&request.vault, &request.backup).await?;
    let filter = ItemFilter::new(&request.items)?;
    if !filter.is_all() {
        restore::chosen(&repository.open(&backup).await?, &filter)?;
    }
    if !is_of_latest(request)? {
        return Ok(());
    }
    match repository.header(&backup).await {
        // Why it cannot be read is told by the restore itself.
        Err(error) if error.kind().is_of_stored_data() => Ok(()),
        header => check_guard(&repository, request, &header?).await,
    }
}

fn is_of_latest(request: &RestoreRequest) -> Result<bool> {
    Ok(request.backup.parse::<Selector>()? == Selector::Latest)
}

/// After a disaster `latest` is a backup of what was left, and a restore of it would succeed and bring nothing back: then
/// a person has to say which one is meant.
async fn check_guard(repository: &Repository, request: &RestoreRequest, header: &Header) -> Result<()> {
    if let Some(guard) = guard_up(repository, header).await? {
        let message = format!(
            "Nothing was restored: {} is the newest backup of vault {}, and the guard is up in it: {guard}. To bring back \
             what was there before, give --backup {}; to restore the newest as it is, give --backup {}.",
            header.backup_id, request.vault, guard.compared_with, header.backup_id
        );
        return Err(Error::new(ErrorKind::Conflict, message).at("backup"));
    }
    Ok(())
}

/// The mark of the guard in this backup, unless somebody has said that it was meant.
async fn guard_up<'a>(repository: &Repository, header: &'a Header) -> Result<Option<&'a Guard>> {
    match &header.guard {
        Some(guard) if !repository.is_acknowledged(&header.vault, guard).await? => Ok(Some(guard)),
        _ => Ok(None),
    }
}

/// What a person should know before this restore: that the guard is up in the backup that was named, and which one holds
/// what is gone; that damage is known. Why a backup cannot be read is told by the restore itself.
pub async fn restore_warnings(connections: &Connections, request: &RestoreRequest) -> Vec<String> {
    let look = async {
        let repository = connections.repository(Role::Restore)?;
        let header = repository.header(&repository.find(&request.vault, &request.backup.parse()?).await?).await?;
        let guard = guard_up(&repository, &header).await?;
        let damaged = repository.damaged_backups(&request.vault).await.contains(&header.backup_id);
        Ok::<_, Error>(warnings(&header, guard, damaged))
    };
    look.await.unwrap_or_default()
}

/// What is said of a backup before it is restored: with the guard that is up in it, and whether damage is known.
pub fn warnings(header: &Header, guard: Option<&Guard>, damaged: bool) -> Vec<String> {
    let backup = &header.backup_id;
    let guard = guard.map(|guard| {
        let before = &guard.compared_with;
        format!(
            "The guard is up in backup {backup}: {guard}. To bring back what was there before, restore backup {before}."
        )
    });
    guard.into_iter().chain(damaged.then(|| damage_warning(header))).collect()
}

/// What is said of a backup in which the last verification found damage.
pub fn damage_warning(header: &Header) -> String {
    damage_in(&header.vault, &format!("backup {}", header.backup_id))
}

/// What is said where the last verification found damage: in `3 backups`, say.
pub fn damage_in(vault: &VaultName, found_in: &str) -> String {
    format!(
        "The last verification found damage in {found_in}: some items cannot be restored from there, and all others can. \
         Which: keyvault-backup verify {vault}"
    )
}

/// Restores what the operation's request names. See [`attempt`] for what is returned and recorded.
///
/// `agreed` is a plan that somebody has seen and said yes to: then that one is done, and none is made.
pub async fn restore(
    connections: &Connections,
    operation: Operation,
    agreed: Option<Plan>,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
) -> Result<Operation> {
    let repository = connections.repository(Role::Restore)?;
    let request: Result<RestoreRequest> = super::request(&operation);
    let id = operation.id;
    let target = operation.target_vault.clone();
    let work = async {
        let request = request?;
        connections.config().check_restore_target(&request.target_vault)?;
        let (manifest, plan, resumed) = match repository.kept_plan(id).await? {
            Some(plan) => {
                let plan: Plan = plan;
                (planned_backup(&repository, &request, &plan).await?, plan, true)
            }
            None => {
                let (manifest, mut plan) = match agreed {
                    Some(plan) => (planned_backup(&repository, &request, &plan).await?, plan),
                    None => {
                        let (manifest, plan) =
                            plan(connections, &repository, &request).instrument(debug_span!("plan")).await?;
                        if is_of_latest(&request)? {
                            check_guard(&repository, &request, &manifest.header).await?;
                        }
                        (manifest, plan)
                    }
                };
                if restore_options(connections, &request)?.may_replace() {
                    plan.safety_backup = Some(BackupId::new(now, id.as_fields().0));
                }
                // Every attempt follows the plan that was kept first.
                match repository.keep_plan(id, &plan).await? {
                    Some(first) => (planned_backup(&repository, &request, &first).await?, first, true),
                    None => (manifest, plan, false),
                }
            }
        };
        let options = restore_options(connections, &request)?;
        if let Some(refusal) = plan.refusal(&options)? {
            return Err(refusal);
        }
        let vault = connections.vault(&request.target_vault, Role::Restore)?;
        let items = restore::execute(&plan, &manifest, &repository, &vault, &options, resumed, progress).await?;
        restore_done(&plan, items)
    };
    let result = attempt(&repository, operation, attempts, progress, now, work).await;
    tell_restore(target.as_ref(), &result);
    result
}

/// The backup that a plan was made for, whatever the newest is by now.
async fn planned_backup(repository: &Repository, request: &RestoreRequest, plan: &Plan) -> Result<Manifest> {
    let backup = repository.find(&request.vault, &Selector::Id(plan.backup_id.clone())).await?;
    repository.open(&backup).await
}

async fn plan(
    connections: &Connections,
    repository: &Repository,
    request: &RestoreRequest,
) -> Result<(Manifest, Plan)> {
    connections.config().check_restore_target(&request.target_vault)?;
    let backup = repository.find_named(&request.vault, &request.backup).await?;
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

fn restore_done(plan: &Plan, items: Rows<ItemReport>) -> Result<Done> {
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    for item in items.iter() {
        *outcomes.entry(item?.outcome).or_default() += 1;
    }
    let status = restore::status(outcomes.keys().copied());
    let counts: BTreeMap<String, u64> =
        outcomes.into_iter().map(|(outcome, count)| (outcome.as_str().to_owned(), count)).collect();
    let parts: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {}", spoken(outcome))).collect();
    let message = format!(
        "Backup {} of vault {} into vault {}: {}.",
        plan.backup_id,
        plan.vault,
        plan.target_vault,
        if parts.is_empty() { "it holds no items".to_owned() } else { parts.join(", ") }
    );
    Ok(Done {
        status,
        backup_id: Some(plan.backup_id.clone()),
        counts,
        drill: None,
        message,
        problems: Vec::new(),
        items,
    })
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
