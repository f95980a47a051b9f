//! Whether a vault is fit for a drill: empty, and such that what is restored can be removed again.

use futures::{StreamExt as _, TryStreamExt as _};

use crate::{
    error::{Error, ErrorKind, Result},
    model::{ItemId, Kind},
    repository::manifest::Manifest,
    restore::{self, Action},
    vault::Vault,
};

/// Items named by a refusal.
const NAMED: usize = 3;

/// Refuses a vault that is not empty, or from which the items could not be removed again. Changes nothing.
pub(super) async fn check(target: &Vault, chosen: &Manifest, how: &restore::Options) -> Result<()> {
    let name = target.name();
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let listed: Vec<_> = target.list(kind).take(NAMED + 1).try_collect().await?;
        found.extend(listed.into_iter().map(|listed| listed.item.to_string()));
    }
    if !found.is_empty() {
        let more = if found.len() > NAMED { " and more" } else { "" };
        found.truncate(NAMED);
        let message = format!(
            "Vault {name} is not empty, so no drill is made there: it holds {}{more}. Give drills a vault of their \
             own that holds nothing else.",
            found.join(", ")
        );
        return Err(Error::new(ErrorKind::Conflict, message).at("targetVault"));
    }
    for kind in Kind::ALL {
        if let Some(deleted) = Box::pin(target.list_deleted(kind)).try_next().await? {
            check_purgeable(target, &deleted.item).await?;
        }
        let wanted = chosen.items.ids().any(|item| item.kind == kind);
        if let Some(reason) = if wanted { target.why_no_right_to_remove(kind).await? } else { None } {
            let message = format!("No drill is made in vault {name}, because it could not remove {kind}: {reason}");
            return Err(Error::new(ErrorKind::Forbidden, message).at("targetVault"));
        }
    }
    let plan = restore::plan(chosen, target, how).await?;
    let taken = plan.steps.iter().find(|step| step.as_ref().map_or(true, |step| step.action != Action::Restore));
    if let Some(step) = taken.transpose()? {
        let message = format!(
            "No drill is made in vault {name}, because a name is taken there: {}, {} Purge it, or wait until its \
             retention is over.",
            step.item,
            step.reason.as_deref().unwrap_or("which is there already.")
        );
        return Err(Error::new(ErrorKind::Conflict, message).at(step.item.to_string()));
    }
    Ok(())
}

/// `Refused` when purge protection would keep the item, active or deleted.
pub(super) async fn check_purgeable(target: &Vault, item: &ItemId) -> Result<()> {
    match target.why_not_purgeable(item).await {
        Ok(Some(reason)) => {
            let message = format!(
                "Vault {} cannot be used for drills, because they could not remove what they restore: {reason} Use a \
                 vault without it.",
                target.name()
            );
            Err(Error::new(ErrorKind::Refused, message).at("targetVault"))
        }
        Ok(None) => Ok(()),
        // It did not come back.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
