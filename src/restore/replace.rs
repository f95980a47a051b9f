//! Replacing what holds a name: a safety copy first, then delete, purge, restore, compare; and the safety copy back when
//! any of that fails.
//!
//! Killed anywhere and repeated, it ends with the new or the old item in place. Each attempt looks at what is there
//! instead of remembering: the old version means that nothing was deleted yet, the new one that it is done, and nothing
//! that an earlier attempt has begun.

use std::{collections::HashMap, pin::pin};

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    Action, Plan, Step,
    execute::{Held, Run},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{ItemId, Label, Timestamp},
    report::{Outcome, Status},
    repository::{
        Repository, Selector,
        draft::{Commit, Draft},
        items::{Collector, Items},
        manifest::{Counts, FORMAT_VERSION, Header, Item, Manifest},
    },
    vault::Vault,
};

/// The committed safety copies of what is to be replaced. Nothing is deleted without one.
#[derive(Default)]
pub(super) struct Safety {
    copies: Items,
    failures: HashMap<ItemId, Error>,
    /// Why no copy at all could be kept.
    failure: Option<Error>,
    name: String,
}

impl Safety {
    /// Backs up everything that the plan replaces and commits it as one labelled backup of the target, or finds the one
    /// that an earlier attempt has committed.
    pub(super) async fn take(plan: &Plan, repository: &Repository, target: &Vault, concurrency: usize) -> Self {
        let mut safety = Self::default();
        if replaced(plan).next().is_some()
            && let Err(error) = safety.fill(plan, repository, target, concurrency).await
        {
            safety.copies = Items::default();
            safety.failure = Some(error);
        }
        safety
    }

    /// Why an item must not be replaced, if so.
    fn refusal(&self, item: &ItemId) -> Option<Error> {
        let refused = |error: &Error, message| Error::new(error.kind(), message).at(item.to_string());
        if let Some(error) = &self.failure {
            let why = error.chain();
            let message = format!("{item} was not replaced, because no safety copy could be kept: {why}");
            return Some(refused(error, message));
        }
        self.failures.get(item).map(|error| refused(error, error.chain()))
    }

    async fn fill(&mut self, plan: &Plan, repository: &Repository, target: &Vault, concurrency: usize) -> Result<()> {
        let id = plan.safety_backup.clone().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "The plan replaces items and names no backup for their safety copies.")
        })?;
        let distinction = u32::from_str_radix(id.as_str().rsplit('-').next().unwrap_or_default(), 16).unwrap_or(0);
        let label = Label::of_safety_copy(distinction);
        self.name = format!("{id} ({label}) of vault {}", target.name());
        let draft = repository.begin(target.name(), &id, Some(&label)).await?;
        let manifest = if draft.committed().await?.is_some() {
            repository.open(&repository.find(target.name(), &Selector::Id(id)).await?).await?
        } else {
            self.copy(plan, &draft, target, id.started(), concurrency).await?
        };
        self.copies = manifest.items;
        Ok(())
    }

    async fn copy(
        &mut self,
        plan: &Plan,
        draft: &Draft,
        target: &Vault,
        started: Timestamp,
        concurrency: usize,
    ) -> Result<Manifest> {
        let start = Instant::now();
        let clock = || started.plus(start.elapsed());
        let copies = stream::iter(replaced(plan)).map(|step| copy_for(step, draft, target, &clock));
        let mut copies = pin!(copies.buffered(concurrency));
        let (mut items, mut counts) = (Collector::default(), Counts::default());
        while let Some((item, copy)) = copies.next().await.transpose()? {
            match copy {
                Ok(Some(copy)) => {
                    counts.add(copy.id.kind, copy.size);
                    items.push(&copy)?;
                }
                // Nothing is there to be lost.
                Ok(None) => (),
                Err(error) => drop(self.failures.insert(item, error)),
            }
        }
        let items = items.finish()?;
        counts.read = items.len() as u64;
        let header = Header {
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            backup_id: draft.id().clone(),
            vault: target.name().clone(),
            vault_uri: target.uri().to_owned(),
            started_at: started,
            finished_at: clock(),
            status: Status::Succeeded,
            full: true,
            label: draft.label().cloned(),
            previous_backup: None,
            filter: items.ids().map(|item| item.to_string()).collect(),
            guard: None,
            counts,
            failures: Vec::new(),
        };
        tracing::info!(vault = %target.name(), backup = %header.backup_id, items = items.len(), of = %plan.backup_id,
            "kept safety copies of what is replaced");
        let manifest = Manifest { header, items };
        match draft.commit(&manifest).await? {
            Commit::Committed => Ok(manifest),
            Commit::AlreadyCommitted(_) => {
                let message = "Another attempt of this restore is under way. Try again when it has ended.";
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }
}

/// The steps that replace something.
fn replaced(plan: &Plan) -> impl Iterator<Item = Result<Step>> + '_ {
    plan.steps.iter().filter(|step| step.as_ref().map_or(true, |step| step.action == Action::Replace))
}

async fn copy_for(
    step: Result<Step>,
    draft: &Draft,
    target: &Vault,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> Result<(ItemId, Result<Option<Item>>)> {
    let step = step?;
    let copy = copy_of(&step, draft, target, clock).await;
    Ok((step.item, copy))
}

/// Backs up what holds the name now, after recovering it if it is deleted; nothing when it is the wanted version
/// already, or when nobody holds the name.
async fn copy_of(
    step: &Step,
    draft: &Draft,
    target: &Vault,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> Result<Option<Item>> {
    let current = match target.current(&step.item, None).await? {
        Some(current) => current,
        None if target.deleted(&step.item).await?.is_some() => target.recover(&step.item).await?,
        None => return Ok(None),
    };
    if current.may_be(&step.version) {
        return Ok(None);
    }
    draft.take(target, &step.item, &current.attributes, clock).await
}

impl Run<'_> {
    /// Puts the item of the backup in the place of what holds its name.
    pub(super) async fn replace(&self, item: &Item) -> Result<(Outcome, Option<Box<str>>)> {
        if let Some(refusal) = self.safety.refusal(&item.id) {
            return Err(refusal);
        }
        // A damaged backup is found before anything is deleted.
        let backup = self.repository.read_item(item).await?;
        let old = self.safety.copies.get(&item.id)?;
        match (self.target.current(&item.id, None).await?, &old) {
            (Some(current), _) if current.may_be(&item.version) => {
                self.compare(item, &current)?;
                return Ok((Outcome::Replaced, Some(current.version)));
            }
            (Some(current), Some(old)) if current.may_be(&old.version) => (),
            (Some(current), _) => {
                let message = format!(
                    "{} was not replaced: vault {} has version {} of it now, which is in no safety copy. Restore again.",
                    item.id,
                    self.target.name(),
                    current.version
                );
                return Err(Error::new(ErrorKind::Conflict, message).at(item.id.to_string()));
            }
            // An earlier attempt has deleted it, or nobody ever held the name.
            (None, _) => (),
        }
        let Some(old) = &old else {
            let current = self.bring_back(item, &backup, Held::LeaveAlone).await?;
            self.compare(item, &current)?;
            return Ok((Outcome::Replaced, Some(current.version)));
        };
        // The copy that may have to be put back is looked at before what it is a copy of is deleted.
        self.repository.read_item(old).await?;
        let replaced = async {
            self.remove(item).await?;
            let current = self.bring_back(item, &backup, Held::Purge).await?;
            self.compare(item, &current)?;
            Ok(current)
        };
        match replaced.await {
            Ok(current) => Ok((Outcome::Replaced, Some(current.version))),
            Err(error) => Err(self.put_back(old, error).await),
        }
    }

    /// Deletes and purges what is there. When the purge is refused, it is recovered.
    async fn remove(&self, item: &Item) -> Result<()> {
        if self.target.current(&item.id, None).await?.is_none() {
            return Ok(());
        }
        self.target.delete(&item.id).await?;
        self.target.purge(&item.id).await
    }

    /// Puts the old item back after `error`, and says how that went.
    async fn put_back(&self, old: &Item, error: Error) -> Error {
        let put_back = async {
            match self.target.current(&old.id, None).await? {
                Some(current) if current.may_be(&old.version) => return Ok(()),
                Some(_) => self.remove(old).await?,
                // Deleted and not purged: recovering is gentler than restoring, and needs no purge.
                None if self.target.deleted(&old.id).await?.is_some() => {
                    let current = self.target.recover(&old.id).await?;
                    if current.may_be(&old.version) {
                        return Ok(());
                    }
                    self.remove(old).await?;
                }
                None => (),
            }
            let backup = self.repository.read_item(old).await?;
            let current = self.bring_back(old, &backup, Held::Purge).await?;
            self.compare(old, &current)
        };
        let (item, vault) = (&old.id, self.target.name());
        let message = match put_back.await {
            Ok(()) => format!(
                "{item} could not be replaced in vault {vault}, and what was there is in place again (version {}): {}",
                old.version,
                error.chain()
            ),
            Err(second) => format!(
                "{item} could not be replaced in vault {vault}, and what was there could not be put back. Restore it \
                 from its safety copy, backup {}. {} Putting back: {}",
                self.safety.name,
                error.chain(),
                second.chain()
            ),
        };
        Error::new(error.kind(), message).at(item.to_string())
    }
}
