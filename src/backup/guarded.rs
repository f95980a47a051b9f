//! What the guard makes of a run: the mark in its manifest.

use super::{Found, Run};
use crate::{
    error::ErrorKind,
    guard::{Fate, Losses, Up, Verdict, judge},
    model::{BackupId, ItemId, Kind},
    repository::{
        BackupRef, Selector,
        manifest::{Guard, Manifest},
    },
};

impl Run<'_> {
    /// The mark for this run's manifest. Never a reason for a backup not to be made: what cannot be read on the way
    /// leaves the guard up.
    pub(super) async fn guard(&self, found: &Found) -> Option<Guard> {
        let base = self.base?;
        let fate = |item: &ItemId| self.fate(item, found);
        let since_last = losses(base, fate);
        let mark = self.unacknowledged(base).await;
        let up = match &mark {
            Some(mark) => Some(Up { found: found_by(mark), since: self.since_before(mark, fate).await }),
            None => None,
        };
        let trip = |compared_with: BackupId, Losses { items, deleted, disabled }| {
            Some(Guard { tripped_by: self.options.id.clone(), compared_with, items, deleted, disabled })
        };
        match (judge(&since_last, up.as_ref(), &self.options.guard), &mark, up.and_then(|up| up.since)) {
            (Verdict::Down, ..) => None,
            (Verdict::TrippedSinceBefore, Some(mark), Some(since)) => trip(mark.compared_with.clone(), since),
            (Verdict::TrippedSinceBefore | Verdict::TrippedSinceLast, ..) => {
                trip(base.header.backup_id.clone(), since_last)
            }
            (Verdict::StillUp, ..) => mark,
        }
    }

    /// What became of an item of an earlier backup. One that was listed is known, even if its kind could not be listed
    /// to the end.
    fn fate(&self, item: &ItemId, found: &Found) -> Fate {
        match found.seen.get(item) {
            _ if !self.options.filter.matches(item) => Fate::Unknown,
            Some(fate) => *fate,
            None if found.unlisted.contains_key(&item.kind) => Fate::Unknown,
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
    async fn since_before(&self, mark: &Guard, fate: impl Fn(&ItemId) -> Fate) -> Option<Losses> {
        let opened = async {
            let before = Selector::Id(mark.compared_with.clone());
            let before: BackupRef = self.repository.find(self.vault.name(), &before).await?;
            self.repository.open(&before).await
        };
        match opened.await {
            Ok(before) => Some(losses(&before, fate)),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(vault = %self.vault.name(), error = %error, "could not read the backup from before the guard tripped");
                }
                None
            }
        }
    }
}

fn losses(before: &Manifest, fate: impl Fn(&ItemId) -> Fate) -> Losses {
    let failures = &before.header.failures;
    let unlisted = Kind::ALL.map(|kind| failures.iter().any(|failure| failure.kind == kind && failure.name.is_none()));
    let was_listed = |kind: Kind| Kind::ALL.iter().zip(unlisted).any(|(each, unlisted)| *each == kind && !unlisted);
    let items = before.items.iter().map(|item| {
        // An item that was listed and could not be read is there as an older copy: whether it was enabled is not known,
        // and it would count as newly disabled in every backup from now on. When its whole kind could not be listed,
        // the copy's state is the last that was seen.
        let is_known = item.stale.is_none() || !was_listed(item.id.kind);
        (&item.id, item.attributes.enabled && is_known)
    });
    Losses::between(items, fate)
}

fn found_by(mark: &Guard) -> Losses {
    Losses { items: mark.items, deleted: mark.deleted, disabled: mark.disabled }
}
