//! Removing the backups of a vault that retention does not keep.

use tracing::{Instrument as _, debug_span};
use uuid::Uuid;

use crate::{
    config::connect::{Connections, Role},
    error::{Error, ErrorKind, Result},
    event,
    events::name,
    model::{BackupId, Timestamp, VaultName},
    prune::{self, Choice, Options, Plan, Prune},
    repository::{Repository, Selector},
};

/// Decides what a prune of the vault would remove: the backups named, or those that `BACKUP_KEEP` does not keep when none
/// is. Changes nothing.
pub async fn plan_prune(
    connections: &Connections,
    vault: &VaultName,
    named: &[Selector],
    now: Timestamp,
) -> Result<Plan> {
    let repository = connections.repository(Role::Prune)?;
    let options = options(connections, &repository, vault, named).await?;
    prune::plan(&repository, vault, &options, now).await
}

/// Prunes the vault, and tells the outside what came of it.
pub async fn prune(
    connections: &Connections,
    vault: &VaultName,
    named: &[Selector],
    operation: Uuid,
    now: Timestamp,
) -> Result<Prune> {
    let result = async {
        let repository = connections.repository(Role::Prune)?;
        let options = options(connections, &repository, vault, named).await?;
        prune::run(&repository, vault, &options, now).await
    }
    .instrument(debug_span!("prune", %vault))
    .await;
    match &result {
        Ok(Prune::Done(plan, report)) => {
            event!(INFO, name::PRUNE_COMPLETED, %vault, %operation, message = plan.describe(report));
        }
        // The other run prunes when it has ended.
        Ok(Prune::Busy) => (),
        Err(error) => event!(ERROR, name::PRUNE_FAILED, %vault, %operation, message = error.chain()),
    }
    result
}

/// Prunes the vault after a backup of it when there is a policy. A sentence for the backup's record: whatever comes of
/// this, the backup is as good as it was.
pub(super) async fn after_backup(
    connections: &Connections,
    vault: &VaultName,
    operation: Uuid,
    now: Timestamp,
) -> Option<String> {
    connections.config().keep.as_ref()?;
    Some(match prune(connections, vault, &[], operation, now).await {
        Ok(Prune::Done(plan, report)) => plan.describe(&report),
        Ok(Prune::Busy) => "Retention is left to the run that is at work on this vault now.".to_owned(),
        Err(error) => format!("Retention failed, and the next backup tries again: {}", error.message()),
    })
}

async fn options(
    connections: &Connections,
    repository: &Repository,
    vault: &VaultName,
    named: &[Selector],
) -> Result<Options> {
    let config = connections.config();
    let choice = match &config.keep {
        _ if !named.is_empty() => Choice::Named(find(repository, vault, named).await?),
        Some(policy) => Choice::ByPolicy(policy.clone()),
        None => {
            let message = "BACKUP_KEEP is not set, so every backup is kept. Set it to a policy such as \
                           last=7,daily=35,weekly=8,monthly=12,yearly=7, or name the backups to remove with --remove.";
            return Err(Error::invalid("BACKUP_KEEP", message));
        }
    };
    Ok(Options { choice, immutable_for: config.immutable_for })
}

async fn find(repository: &Repository, vault: &VaultName, named: &[Selector]) -> Result<Vec<BackupId>> {
    let mut found = Vec::new();
    for selector in named {
        if !matches!(selector, Selector::Id(_) | Selector::Label(_)) {
            let message =
                format!("{selector} is no name of one backup: give the id or the label of what is to be removed.");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("remove"));
        }
        found.push(repository.find(vault, selector).await?.id);
    }
    Ok(found)
}
