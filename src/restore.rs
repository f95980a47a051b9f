//! Restores a backup into a vault: plans first, then does what the plan says, then compares.
//!
//! A plan looks at the target and changes nothing; the dry run prints it. Executing a plan may be repeated: what an
//! interrupted attempt has restored is recognised by its version and not restored again.

use std::{collections::HashMap, str::FromStr, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, ItemId, Kind, VaultName, filter::ItemFilter},
    report::{ItemReport, Outcome, Problem, Progress, Status},
    repository::{
        Repository,
        manifest::{Item, Manifest},
    },
    vault::{Current, Vault},
};

/// How long a name that nobody holds may still refuse a restore: a purge frees it only some seconds after its answer
/// (recorded: 3 s for a secret, 5 s for a key, 11 s for a certificate).
const PURGE_LAG: Duration = Duration::from_secs(120);

/// How long a restored item may take to be seen.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks.
const POLL: Duration = Duration::from_secs(2);

/// What to do when another item or version of that name is in the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnConflict {
    /// Leave it alone and restore the others.
    #[default]
    Skip,
    /// Restore nothing at all.
    Fail,
}

/// What to do when the name is held by a soft-deleted item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnDeleted {
    /// Recover it: that brings back all its versions.
    #[default]
    Recover,
    /// Restore nothing at all.
    Fail,
}

impl FromStr for OnConflict {
    type Err = Error;
    fn from_str(word: &str) -> Result<Self> {
        match word {
            "skip" => Ok(Self::Skip),
            "fail" => Ok(Self::Fail),
            "replace" => Err(Error::new(
                ErrorKind::InvalidInput,
                "onConflict replace is not supported yet. Use skip or fail; to replace an item, delete and purge it in \
                 the target first.",
            )),
            _ => Err(Error::new(ErrorKind::InvalidInput, format!("onConflict is {word:?}; it is skip or fail."))),
        }
    }
}

impl FromStr for OnDeleted {
    type Err = Error;
    fn from_str(word: &str) -> Result<Self> {
        match word {
            "recover" => Ok(Self::Recover),
            "fail" => Ok(Self::Fail),
            "purge" => Err(Error::new(
                ErrorKind::InvalidInput,
                "onDeleted purge is not supported yet. Use recover or fail; to restore over a deleted item, purge it in \
                 the target first.",
            )),
            _ => Err(Error::new(ErrorKind::InvalidInput, format!("onDeleted is {word:?}; it is recover or fail."))),
        }
    }
}

/// What to restore and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which items of the backup.
    pub filter: ItemFilter,
    /// Names that are in use.
    pub on_conflict: OnConflict,
    /// Names that are held by deleted items.
    pub on_deleted: OnDeleted,
    /// How many items are dealt with at once.
    pub concurrency: usize,
}

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
    /// The items in the order in which they are dealt with.
    pub steps: Vec<Step>,
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
    /// Nothing: the name is in use, and conflicts are skipped.
    Skip,
    /// Nothing: the reason forbids it.
    Blocked,
}

impl Action {
    /// The word used in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::AlreadyPresent => "alreadyPresent",
            Self::Recover => "recover",
            Self::Skip => "skip",
            Self::Blocked => "blocked",
        }
    }
}

impl Plan {
    /// Why nothing may be restored at all, if so: the conflicts of a plan whose conflicts are to fail it.
    pub fn refusal(&self, options: &Options) -> Option<Error> {
        if options.on_conflict != OnConflict::Fail && options.on_deleted != OnDeleted::Fail {
            return None;
        }
        let blocked: Vec<&Step> = self.steps.iter().filter(|step| step.action == Action::Blocked).collect();
        let first = blocked.first()?;
        let message = format!(
            "Nothing was restored into vault {}, because {} cannot be restored and conflicts are to fail the restore; \
             the first is {}: {} Choose items, or skip conflicts.",
            self.target_vault,
            if blocked.len() == 1 { "one item".to_owned() } else { format!("{} items", blocked.len()) },
            first.item,
            first.reason.as_deref().unwrap_or("its name is in use.")
        );
        Some(Error::new(ErrorKind::Conflict, message).at(first.item.to_string()))
    }

    /// How many items have each action.
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }
}

/// Looks at the target and says what a restore would do. Changes nothing.
pub async fn plan(manifest: &Manifest, target: &Vault, options: &Options) -> Result<Plan> {
    let chosen: Vec<&Item> = manifest.items.iter().filter(|item| options.filter.matches(&item.id)).collect();
    if chosen.is_empty() && !manifest.items.is_empty() {
        let message = format!(
            "No item of backup {} matches {}. `keyvault-backup show` lists its {} items.",
            manifest.header.backup_id,
            options.filter.patterns().join(", "),
            manifest.items.len()
        );
        return Err(Error::invalid("items", message));
    }
    let taken = Taken::look(target).await?;
    let steps = stream::iter(0..chosen.len())
        .map(|index| step(chosen[index], target, &taken, options))
        .buffered(options.concurrency)
        .try_collect()
        .await?;
    Ok(Plan {
        backup_id: manifest.header.backup_id.clone(),
        vault: manifest.header.vault.clone(),
        target_vault: target.name().clone(),
        steps,
    })
}

/// The names in use in the target.
struct Taken {
    /// Whether the item is managed.
    active: HashMap<ItemId, bool>,
    deleted: HashMap<ItemId, bool>,
}

impl Taken {
    async fn look(target: &Vault) -> Result<Self> {
        let (mut active, mut deleted) = (HashMap::new(), HashMap::new());
        for kind in Kind::ALL {
            let listed: Vec<_> = target.list(kind).try_collect().await?;
            active.extend(listed.into_iter().map(|listed| (listed.item, listed.managed)));
            let listed: Vec<_> = target.list_deleted(kind).try_collect().await?;
            deleted.extend(listed.into_iter().map(|listed| (listed.item, listed.managed)));
        }
        Ok(Self { active, deleted })
    }

    /// The item of another kind that keeps this one from its name: a certificate owns a key and a secret of its name.
    fn in_the_way(&self, item: &ItemId) -> Option<String> {
        let named = |kind| ItemId { kind, name: item.name.clone() };
        if item.kind != Kind::Certificates {
            let certificate = named(Kind::Certificates);
            let managed = |names: &HashMap<ItemId, bool>| names.get(item) == Some(&true);
            if self.active.contains_key(&certificate) || managed(&self.active) {
                return Some(format!("its name belongs to {certificate}, which is in the target vault."));
            }
            if self.deleted.contains_key(&certificate) || managed(&self.deleted) {
                return Some(format!(
                    "its name belongs to {certificate}, which is deleted but not purged in the target."
                ));
            }
            return None;
        }
        let own = self.active.contains_key(item) || self.deleted.contains_key(item);
        [Kind::Keys, Kind::Secrets].into_iter().map(named).filter(|_| !own).find_map(|other| {
            if self.active.contains_key(&other) {
                return Some(format!("{other} is in the target vault, and a certificate needs that name for itself."));
            }
            self.deleted.contains_key(&other).then(|| {
                format!("{other} is deleted but not purged in the target vault, and a certificate needs that name.")
            })
        })
    }
}

async fn step(item: &Item, target: &Vault, taken: &Taken, options: &Options) -> Result<Step> {
    let (action, reason) = if let Some(reason) = taken.in_the_way(&item.id) {
        (Action::Blocked, Some(reason))
    } else if taken.active.contains_key(&item.id) {
        match target.current(&item.id, None).await? {
            Some(current) if current.may_be(&item.version) => (Action::AlreadyPresent, None),
            Some(current) => {
                let action = if options.on_conflict == OnConflict::Fail { Action::Blocked } else { Action::Skip };
                (action, Some(format!("the target has version {} of it.", current.version)))
            }
            // Deleted since it was listed; the name is not free before it is purged.
            None => (Action::Blocked, Some("it is being deleted in the target vault just now.".to_owned())),
        }
    } else if taken.deleted.contains_key(&item.id) {
        match options.on_deleted {
            OnDeleted::Recover => (Action::Recover, Some("it is among the target's deleted items.".to_owned())),
            OnDeleted::Fail => (Action::Blocked, Some("its name is held by a deleted item in the target.".to_owned())),
        }
    } else {
        (Action::Restore, None)
    };
    Ok(Step { item: item.id.clone(), action, version: item.version.clone(), reason })
}

/// Does what the plan says and reports every item. `resumed` says that an earlier attempt may have done part of it.
///
/// Never returns early: the failure of one item is its report.
pub async fn execute(
    plan: &Plan,
    manifest: &Manifest,
    repository: &Repository,
    target: &Vault,
    options: &Options,
    resumed: bool,
    progress: &Progress,
) -> Vec<ItemReport> {
    progress.expect(plan.steps.len() as u64);
    let run = Run { manifest, repository, target, resumed, progress };
    let mut reports = Vec::with_capacity(plan.steps.len());
    // Certificates first: each brings a key and a secret, whose names nothing else may take before.
    for certificates in [true, false] {
        let steps: Vec<&Step> =
            plan.steps.iter().filter(|step| (step.item.kind == Kind::Certificates) == certificates).collect();
        let running = stream::iter(0..steps.len()).map(|index| run.step(steps[index]));
        let mut running = running.buffer_unordered(options.concurrency);
        while let Some(report) = running.next().await {
            reports.push(report);
        }
    }
    reports.sort_unstable_by(|a, b| a.item.cmp(&b.item));
    reports
}

/// The state of a restore as a whole.
pub fn status(reports: &[ItemReport]) -> Status {
    let good = reports.iter().filter(|report| report.outcome.is_good()).count();
    match good {
        _ if good == reports.len() => Status::Succeeded,
        0 => Status::Failed,
        _ => Status::PartiallySucceeded,
    }
}

struct Run<'a> {
    manifest: &'a Manifest,
    repository: &'a Repository,
    target: &'a Vault,
    resumed: bool,
    progress: &'a Progress,
}

impl Run<'_> {
    async fn step(&self, step: &Step) -> ItemReport {
        let result = match (step.action, self.manifest.item(&step.item)) {
            (Action::AlreadyPresent, _) => Ok((Outcome::AlreadyPresent, Some(step.version.clone()))),
            (Action::Restore, Some(item)) => self.restore(item).await,
            (Action::Recover, Some(item)) => self.recover(item).await,
            (Action::Skip | Action::Blocked, Some(item)) => {
                let reason = step.reason.as_deref().unwrap_or("its name is in use.");
                let outcome = if step.action == Action::Skip { Outcome::Skipped } else { Outcome::Blocked };
                let message = format!("{} was not restored into vault {}: {reason}", item.id, self.target.name());
                self.progress.advance(0);
                let problem = Some(Problem::from(&Error::new(ErrorKind::Conflict, message).at(item.id.to_string())));
                return ItemReport { item: step.item.clone(), outcome, version: None, problem };
            }
            (_, None) => Err(Error::new(
                ErrorKind::Internal,
                format!("The plan names {}, which is not in backup {}.", step.item, self.manifest.header.backup_id),
            )),
        };
        let bytes = self.manifest.item(&step.item).map_or(0, |item| item.size);
        match result {
            Ok((outcome, version)) => {
                self.progress.advance(if outcome == Outcome::Restored { bytes } else { 0 });
                ItemReport { item: step.item.clone(), outcome, version, problem: None }
            }
            Err(error) => {
                self.progress.advance(0);
                let problem = Some(Problem::from(&error));
                ItemReport { item: step.item.clone(), outcome: Outcome::Failed, version: None, problem }
            }
        }
    }

    async fn restore(&self, item: &Item) -> Result<(Outcome, Option<Box<str>>)> {
        let present = if self.resumed { self.target.current(&item.id, Some(&item.attributes)).await? } else { None };
        let current = match present {
            Some(current) => current,
            None => self.bring_back(item).await?,
        };
        self.compare(item, &current)?;
        Ok((Outcome::Restored, Some(current.version)))
    }

    /// Restores until the item is there. A name that nobody seems to hold is tried again while a purge may linger.
    async fn bring_back(&self, item: &Item) -> Result<Current> {
        let backup = self.repository.read_item(item).await?;
        let start = Instant::now();
        loop {
            match self.target.restore(&item.id, &backup).await {
                Ok(()) => return self.appearing(item).await,
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    // Either our own restore, whose answer was lost, or somebody was faster: comparing tells.
                    if let Some(current) = self.target.current(&item.id, Some(&item.attributes)).await? {
                        return Ok(current);
                    }
                    if self.target.is_deleted(&item.id).await? || start.elapsed() >= PURGE_LAG {
                        return Err(error);
                    }
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn appearing(&self, item: &Item) -> Result<Current> {
        let start = Instant::now();
        loop {
            if let Some(current) = self.target.current(&item.id, Some(&item.attributes)).await? {
                return Ok(current);
            }
            if start.elapsed() >= APPEARS_WITHIN {
                let message = format!(
                    "Vault {} accepted the restore of {} but does not show it after {} seconds. Look at the vault, then \
                     restore again.",
                    self.target.name(),
                    item.id,
                    APPEARS_WITHIN.as_secs()
                );
                return Err(Error::new(ErrorKind::Unavailable, message).at(item.id.to_string()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn recover(&self, item: &Item) -> Result<(Outcome, Option<Box<str>>)> {
        let current = self.target.recover(&item.id).await?;
        self.compare(item, &current)?;
        Ok((Outcome::Recovered, Some(current.version)))
    }

    /// A difference between what came back and what was backed up is a failure, not a success.
    fn compare(&self, item: &Item, current: &Current) -> Result<()> {
        let (wanted, got) = (&item.attributes, &current.attributes);
        let mut differences = Vec::new();
        let same_version = current.may_be(&item.version) || item.ties.iter().any(|tie| current.may_be(tie));
        if !same_version {
            differences.push(format!("the current version is {} instead of {}", current.version, item.version));
        }
        let fields = [
            ("enabled", wanted.enabled == got.enabled),
            ("the not-before date", wanted.not_before == got.not_before),
            ("the expiry date", wanted.expires == got.expires),
            ("the content type", wanted.content_type == got.content_type),
            ("the tags", wanted.tags == got.tags),
        ];
        differences.extend(fields.iter().filter(|(_, same)| !same).map(|(field, _)| format!("{field} differs")));
        if differences.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} is in vault {} but not as it was backed up: {}. Look at it in the vault before you use it.",
            item.id,
            self.target.name(),
            differences.join("; ")
        );
        Err(Error::new(ErrorKind::Conflict, message).at(item.id.to_string()))
    }
}
