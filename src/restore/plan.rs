//! Looks at the target and says what a restore would do.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::{sync::OnceCell, task::coop::consume_budget};

use super::{OnConflict, OnDeleted, Options, execute::differences};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, ItemId, Kind, VaultName, counted, did_you_mean, filter::ItemFilter},
    repository::{
        items::Items,
        manifest::{Item, Manifest},
    },
    rows::Rows,
    vault::{Current, Listed, Vault},
};

/// What will be done, item by item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The backup.
    pub backup_id: BackupId,
    /// The vault it is of.
    pub vault: VaultName,
    /// The vault to restore into.
    pub target_vault: VaultName,
    /// The backup of the target that will hold what is replaced, when anything may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_backup: Option<BackupId>,
    /// How long it takes at the pace that is set, in seconds, when Key Vault refuses nothing.
    #[serde(default)]
    pub estimated_seconds: u64,
    /// The items in the order in which they are dealt with.
    pub steps: Rows<Step>,
}

/// What will be done with one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The item.
    #[serde(flatten)]
    pub item: ItemId,
    /// What will be done.
    pub action: Action,
    /// The version that will be current when it went well.
    pub version: Box<str>,
    /// Why, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The actions of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Restore it from the backup.
    Restore,
    /// Nothing: the target has the same current version.
    AlreadyPresent,
    /// Recover it from the target's deleted items.
    Recover,
    /// Take a safety copy of what holds the name, delete and purge that, and restore.
    Replace,
    /// Nothing: the name is in use, and conflicts are skipped.
    Skip,
    /// Nothing: the reason forbids it.
    Blocked,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Restore, Self::AlreadyPresent, Self::Recover, Self::Replace, Self::Skip, Self::Blocked];

    /// The word used in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::AlreadyPresent => "alreadyPresent",
            Self::Recover => "recover",
            Self::Replace => "replace",
            Self::Skip => "skip",
            Self::Blocked => "blocked",
        }
    }
}

impl Plan {
    /// Why nothing may be restored at all, if so: the conflicts of a plan whose conflicts are to fail it.
    pub fn refusal(&self, options: &Options) -> Result<Option<Error>> {
        if options.on_conflict != OnConflict::Fail && options.on_deleted != OnDeleted::Fail {
            return Ok(None);
        }
        let (mut first, mut count) = (None, 0);
        for step in self.steps.iter() {
            let step = step?;
            if step.action == Action::Blocked {
                count += 1;
                first.get_or_insert(step);
            }
        }
        Ok(first.map(|first| {
            let message = format!(
                "Nothing was restored into vault {}, because {} cannot be restored and conflicts are to fail the \
                 restore; the first is {}: {} Choose items, or skip conflicts.",
                self.target_vault,
                counted(count, "item"),
                first.item,
                first.reason.as_deref().unwrap_or("its name is in use.")
            );
            Error::new(ErrorKind::Conflict, message).at(first.item.to_string())
        }))
    }

    /// How many items have each action that any has.
    pub fn counts(&self) -> Result<BTreeMap<Action, u64>> {
        let mut counts = BTreeMap::new();
        for step in self.steps.iter() {
            *counts.entry(step?.action).or_default() += 1;
        }
        Ok(counts)
    }
}

/// Looks at the target and says what a restore would do. Changes nothing.
pub async fn plan(manifest: &Manifest, target: &Vault, options: &Options) -> Result<Plan> {
    let chosen = chosen(manifest, &options.filter)?;
    let taken = Taken::look(target, &chosen).await?;
    let planning = stream::iter(chosen.iter().zip(taken.names.iter().copied()));
    let planning = planning.map(|(item, names)| step(item, names, target, &taken, options));
    let mut planning = pin!(planning.buffered(options.concurrency));
    let mut plan = Plan {
        backup_id: manifest.header.backup_id.clone(),
        vault: manifest.header.vault.clone(),
        target_vault: target.name().clone(),
        safety_backup: None,
        estimated_seconds: 0,
        steps: Rows::default(),
    };
    // Restores are the slowest of all requests, so that they alone count.
    let mut restores: u32 = 0;
    while let Some(step) = planning.try_next().await? {
        restores += u32::from(matches!(step.action, Action::Restore | Action::Replace));
        plan.steps.push(&step)?;
    }
    plan.estimated_seconds = (f64::from(restores) / target.pacing().restores_per_second()).ceil() as u64;
    Ok(plan)
}

/// For how many patterns that match nothing something like them is looked for.
const SUGGESTIONS: usize = 3;

/// The items that are to be restored. Patterns that match nothing are a mistake, also where there is nothing to match: who
/// names an item must not hear that all is done.
pub fn chosen(manifest: &Manifest, filter: &ItemFilter) -> Result<Items> {
    let chosen = manifest.items.filtered(|_, id| filter.matches(id));
    if chosen.is_empty() && !(manifest.items.is_empty() && filter.patterns().is_empty()) {
        let names: Vec<String> = manifest.items.ids().map(|id| id.to_string()).collect();
        let wanted = filter.patterns().iter().filter(|pattern| !pattern.starts_with('!'));
        let message = format!(
            "No item of backup {0} matches {2}. `keyvault-backup show {1} {0} --all-rows` lists its {3}.{4}",
            manifest.header.backup_id,
            manifest.header.vault,
            filter.patterns().join(", "),
            counted(manifest.items.len() as u64, "item"),
            // A suggestion looks at every name, and there may be many patterns.
            wanted.take(SUGGESTIONS).map(|pattern| did_you_mean(pattern, &names)).collect::<String>()
        );
        return Err(Error::invalid("items", message));
    }
    Ok(chosen)
}

/// What is known of the target.
struct Taken {
    /// For each chosen item, who holds its name.
    names: Vec<Names>,
    /// Why items of a kind cannot be deleted and purged, by kind, asked once.
    irremovable: HashMap<Kind, OnceCell<Option<String>>>,
}

/// Which items of the target bear the name of an item: a bit for each kind of active and of deleted ones, and two for
/// whether the one of the same kind is managed. A target may hold as many items as the backup, so that this is small.
#[derive(Clone, Copy, Debug, Default)]
struct Names(u8);

/// Where an item of the target is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Active,
    Deleted,
}

impl Names {
    fn bit(kind: Kind, place: Place) -> u8 {
        1 << (kind as u8 + 3 * place as u8)
    }

    fn managed_bit(place: Place) -> u8 {
        1 << (6 + place as u8)
    }

    /// Whether an item of that kind bears the name.
    fn held_by(self, kind: Kind, place: Place) -> bool {
        self.0 & Self::bit(kind, place) != 0
    }

    fn is_managed(self, place: Place) -> bool {
        self.0 & Self::managed_bit(place) != 0
    }
}

impl Taken {
    async fn look(target: &Vault, chosen: &Items) -> Result<Self> {
        let mut names = vec![Names::default(); chosen.len()];
        let mut note = |listed: Listed, place: Place| {
            let Listed { item: ItemId { kind, name }, managed, .. } = listed;
            for of in Kind::ALL {
                let Some(names) = chosen.place(&ItemId { kind: of, name: name.clone() }).map(|at| &mut names[at])
                else {
                    continue;
                };
                names.0 |= Names::bit(kind, place);
                if managed && of == kind {
                    names.0 |= Names::managed_bit(place);
                }
            }
        };
        for kind in Kind::ALL {
            let mut listing = pin!(target.list(kind));
            while let Some(listed) = listing.try_next().await? {
                note(listed, Place::Active);
            }
            let mut listing = pin!(target.list_deleted(kind));
            while let Some(listed) = listing.try_next().await? {
                note(listed, Place::Deleted);
            }
        }
        Ok(Self { names, irremovable: Kind::ALL.map(|kind| (kind, OnceCell::new())).into() })
    }

    /// Why the item cannot be deleted and purged. Purge protection is the vault's, rights are the kind's, so one item
    /// tells for all.
    async fn why_not_removable(&self, item: &ItemId, target: &Vault) -> Result<Option<String>> {
        match self.irremovable.get(&item.kind) {
            Some(known) => known.get_or_try_init(|| target.why_not_removable(item)).await.cloned(),
            None => target.why_not_removable(item).await,
        }
    }
}

/// The item of another kind that keeps this one from its name: a certificate owns a key and a secret of its name.
fn in_the_way(item: &ItemId, names: Names) -> Option<String> {
    let named = |kind| ItemId { kind, name: item.name.clone() };
    if item.kind != Kind::Certificates {
        let held = |place| names.held_by(Kind::Certificates, place) || names.is_managed(place);
        let certificate = named(Kind::Certificates);
        if held(Place::Active) {
            return Some(format!("its name belongs to {certificate}, which is in the target vault."));
        }
        return held(Place::Deleted)
            .then(|| format!("its name belongs to {certificate}, which is deleted but not purged in the target."));
    }
    if names.held_by(item.kind, Place::Active) || names.held_by(item.kind, Place::Deleted) {
        return None;
    }
    [Kind::Keys, Kind::Secrets].into_iter().find_map(|kind| {
        let other = named(kind);
        if names.held_by(kind, Place::Active) {
            return Some(format!("{other} is in the target vault, and a certificate needs that name for itself."));
        }
        names.held_by(kind, Place::Deleted).then(|| {
            format!("{other} is deleted but not purged in the target vault, and a certificate needs that name.")
        })
    })
}

async fn step(item: Result<Item>, names: Names, target: &Vault, taken: &Taken, options: &Options) -> Result<Step> {
    consume_budget().await; // one thread, and names that are free need no request
    let item = &item?;
    let plain = |action, reason: &str| (action, Some(reason.to_owned()));
    let (action, reason) = if let Some(reason) = in_the_way(&item.id, names) {
        (Action::Blocked, Some(reason))
    } else if names.held_by(item.id.kind, Place::Active) {
        match target.current(&item.id, None).await? {
            Some(current) if current.may_be(&item.version) => (Action::AlreadyPresent, changed(item, &current)),
            Some(current) => {
                conflict(item, target, taken, options, &format!("the target has version {}", current.version)).await?
            }
            // Deleted since it was listed; the name is not free before it is purged.
            None => plain(Action::Blocked, "it is being deleted in the target vault just now."),
        }
    } else if names.held_by(item.id.kind, Place::Deleted) {
        let version = target.deleted(&item.id).await?.and_then(|deleted| deleted.version);
        match (options.on_deleted, version) {
            (OnDeleted::Fail, _) => plain(Action::Blocked, "its name is held by a deleted item in the target."),
            (OnDeleted::Purge, _) => {
                replace(item, target, taken, "a deleted item of that name is recovered for a safety copy").await?
            }
            (OnDeleted::Recover, Some(version)) if version != item.version => {
                conflict(item, target, taken, options, &format!("the target's deleted items have version {version}"))
                    .await?
            }
            (OnDeleted::Recover, _) => plain(Action::Recover, "it is among the target's deleted items."),
        }
    } else {
        (Action::Restore, None)
    };
    Ok(Step { item: item.id.clone(), action, version: item.version.clone(), reason })
}

/// What a person has changed since on the very version that was backed up. A restore cannot bring that back, and must not
/// keep silent about it.
fn changed(item: &Item, current: &Current) -> Option<String> {
    let differences = differences(&item.attributes, &current.attributes);
    (!differences.is_empty())
        .then(|| format!("it is there in the version of the backup, but {}.", differences.join("; ")))
}

/// The name is held by something else, as `holder` says.
async fn conflict(
    item: &Item,
    target: &Vault,
    taken: &Taken,
    options: &Options,
    holder: &str,
) -> Result<(Action, Option<String>)> {
    match options.on_conflict {
        OnConflict::Skip => Ok((Action::Skip, Some(format!("{holder} of it.")))),
        OnConflict::Fail => Ok((Action::Blocked, Some(format!("{holder} of it.")))),
        OnConflict::Replace => {
            replace(item, target, taken, &format!("{holder} of it, which is kept as a safety copy")).await
        }
    }
}

/// Replacing is found out to be possible before anything is deleted.
async fn replace(item: &Item, target: &Vault, taken: &Taken, what: &str) -> Result<(Action, Option<String>)> {
    Ok(match taken.why_not_removable(&item.id, target).await? {
        Some(reason) => (Action::Blocked, Some(reason)),
        None => (Action::Replace, Some(format!("{what} before it is purged."))),
    })
}
