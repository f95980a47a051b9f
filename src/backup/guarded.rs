//! What the guard makes of a run: the mark in its manifest.

use tokio::task::coop::consume_budget;

use super::{Run, found::Seen};
use crate::{
    error::{Error, ErrorKind, Result},
    guard::{Fate, Losses, Up, Verdict, judge},
    model::{BackupId, ItemId, Kind},
    repository::{
        Selector,
        manifest::{Guard, Header, Item, Manifest},
    },
};

impl Run<'_> {
    /// The mark for this run's manifest. Never a reason for a backup not to be made: what cannot be read on the way
    /// leaves the guard up.
    pub(super) async fn guard(&self, seen: &Seen) -> Result<Option<Guard>> {
        let Some(base) = self.base else { return Ok(None) };
        let mut since_last = Count::since(&base.header);
        for item in base.items.iter() {
            consume_budget().await; // one thread, and much to go through
            let item = item?;
            since_last.add(&item, self.fate(&item.id, seen));
        }
        let since_last = since_last.losses;
        let mark = self.unacknowledged(base).await;
        let up = match &mark {
            Some(mark) => Some(Up { found: found_by(mark), since: self.since_before(mark, seen).await }),
            None => None,
        };
        let trip = |compared_with: BackupId, Losses { items, deleted, disabled }| {
            Some(Guard { tripped_by: self.options.id.clone(), compared_with, items, deleted, disabled })
        };
        Ok(match (judge(&since_last, up.as_ref(), &self.options.guard), &mark, up.and_then(|up| up.since)) {
            (Verdict::Down, ..) => None,
            (Verdict::TrippedSinceBefore, Some(mark), Some(since)) => trip(mark.compared_with.clone(), since),
            (Verdict::TrippedSinceBefore | Verdict::TrippedSinceLast, ..) => {
                trip(base.header.backup_id.clone(), since_last)
            }
            (Verdict::StillUp, ..) => mark,
        })
    }

    /// What became of an item of an earlier backup. One that was listed is known, even if its kind could not be listed
    /// to the end.
    fn fate(&self, item: &ItemId, seen: &Seen) -> Fate {
        match seen.fates.get(item) {
            _ if !self.options.filter.matches(item) => Fate::Unknown,
            Some(fate) => fate,
            None if seen.unlisted.contains_key(&item.kind) => Fate::Unknown,
            None => Fate::Gone,
        }
    }

    /// The mark that the last backup carries, unless a person has acknowledged it.
    async fn unacknowledged(&self, base: &Manifest) -> Option<Guard> {
        let mark = base.header.guard.clone()?;
        match self.repository.is_acknowledged(self.vault.name(), &mark).await {
            Ok(acknowledged) => Some(mark).filter(|_| !acknowledged),
            Err(error) => {
                tracing::warn!(vault = %self.vault.name(), error = %error, "could not read whether the guard was acknowledged");
                Some(mark)
            }
        }
    }

    /// What is lost since the backup with which the mark compares.
    async fn since_before(&self, mark: &Guard, seen: &Seen) -> Option<Losses> {
        let counted = async {
            let before = Selector::Id(mark.compared_with.clone());
            let before = self.repository.find(self.vault.name(), &before).await?;
            let mut before = self.repository.read_manifest(&before).await?;
            let mut count = Count::since(before.header());
            while let Some(item) = before.next().await? {
                count.add(&item, self.fate(&item.id, seen));
            }
            Ok(count.losses)
        };
        match counted.await {
            Ok(losses) => Some(losses),
            Err(error) => {
                let error: Error = error;
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(vault = %self.vault.name(), error = %error, "could not read the backup from before the guard tripped");
                }
                None
            }
        }
    }
}

/// Counts what is lost since an earlier backup, item by item.
struct Count {
    /// The kinds that the earlier backup could not list.
    unlisted: Vec<Kind>,
    losses: Losses,
}

impl Count {
    fn since(before: &Header) -> Self {
        let unlisted = before.failures.iter().filter(|failure| failure.name.is_none() && failure.more.is_none());
        Self { unlisted: unlisted.map(|failure| failure.kind).collect(), losses: Losses::default() }
    }

    fn add(&mut self, before: &Item, fate: Fate) {
        // An item that was listed and could not be read is there as an older copy: whether it was enabled is not known,
        // and it would count as newly disabled in every backup from now on. When its whole kind could not be listed,
        // the copy's state is the last that was seen.
        let is_known = before.stale.is_none() || self.unlisted.contains(&before.id.kind);
        self.losses.add(before.attributes.enabled && is_known, fate);
    }
}

fn found_by(mark: &Guard) -> Losses {
    Losses { items: mark.items, deleted: mark.deleted, disabled: mark.disabled }
}
