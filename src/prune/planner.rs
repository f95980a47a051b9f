//! Which backups go: what retention says, and what it cannot know.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{AT_ONCE, Choice, Options, Row, blobs::Holdings};
use crate::{
    error::{ErrorKind, Result},
    model::{BackupId, ItemId, Timestamp, VaultName, filter::ItemFilter},
    report::Status,
    repository::{
        BackupRef, Repository,
        manifest::{Header, Manifest},
    },
    retention::{self, Backup, Decision, Quality, Reason},
};

/// The backups of a vault and what has come to light about them.
pub(super) struct Planner<'a> {
    repository: &'a Repository,
    options: &'a Options,
    now: Timestamp,
    /// Oldest first.
    backups: Vec<Known>,
    /// Backups that have to stay for the sake of an item.
    last_copies: HashMap<BackupId, Reason>,
}

struct Known {
    backup: BackupRef,
    quality: Quality,
    /// Absent when it cannot be read.
    header: Option<Header>,
}

/// What a look at the backups has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    AsExpected,
    /// More has to be kept: decide again.
    Surprised,
}

impl<'a> Planner<'a> {
    pub(super) async fn read(
        repository: &'a Repository,
        vault: &VaultName,
        options: &'a Options,
        now: Timestamp,
    ) -> Result<Self> {
        let backups = stream::iter(repository.backups(vault).await?)
            .map(|backup| async move {
                let header = match repository.header(&backup).await {
                    Ok(header) => Some(header),
                    Err(error) if error.kind().is_of_stored_data() => None,
                    Err(error) => return Err(error),
                };
                let quality = match header.as_ref().map(|header| header.status) {
                    Some(Status::Succeeded) => Quality::Whole,
                    Some(_) => Quality::Incomplete,
                    None => Quality::Unreadable,
                };
                Ok(Known { backup, quality, header })
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self { repository, options, now, backups, last_copies: HashMap::new() })
    }

    /// The decision with what is known so far, newest first.
    pub(super) fn decide(&self, guard_is_up: bool) -> Vec<Row> {
        let backups = self.backups.iter().map(|known| Backup {
            id: known.backup.id.clone(),
            label: known.backup.label.clone(),
            quality: known.quality,
        });
        let decisions = match &self.options.choice {
            Choice::ByPolicy(policy) => retention::apply(policy, backups.collect(), self.now),
            Choice::Named(named) => retention::all_but(named, backups.collect()),
        };
        let rows = decisions.into_iter().zip(self.backups.iter().rev());
        rows.map(|(decision, known)| self.row(decision, known, guard_is_up)).collect()
    }

    fn row(&self, Decision { mut reasons, .. }: Decision, known: &Known, guard_is_up: bool) -> Row {
        reasons.extend(self.last_copies.get(&known.backup.id).cloned());
        if reasons.is_empty() && guard_is_up {
            reasons.push(Reason::Guard);
        }
        if let Some(period) = self.options.immutable_for.filter(|_| reasons.is_empty()) {
            // The manifest is written when the last item is.
            let written = known.header.as_ref().map_or(known.backup.id.started(), |header| header.finished_at);
            let until = written.plus(period);
            reasons.extend((self.now < until).then_some(Reason::Protected { until: Some(until) }));
        }
        Row { backup: known.backup.clone(), quality: known.quality, reasons }
    }

    /// Reads what is kept, marks its blobs, and learns what retention cannot know: a damaged backup must not take the
    /// place of a sound one, and a backup that goes must not take the last copy of an item with it.
    pub(super) async fn look(&mut self, rows: &[Row], holdings: &mut Holdings) -> Result<Look> {
        let mut learnt = Vec::new();
        let mut lonely = self.doubtful_items(rows, &mut learnt).await?;
        for row in rows.iter().filter(|row| !row.is_removed() && row.quality != Quality::Unreadable) {
            let quality = match open(self.repository, &row.backup).await? {
                Some(manifest) => {
                    manifest.items.iter().for_each(|item| drop(lonely.remove(&item.id)));
                    if holdings.keep(&manifest.items) { row.quality } else { Quality::Incomplete }
                }
                None => Quality::Unreadable,
            };
            if quality != row.quality {
                learnt.push((row.backup.clone(), quality));
            }
        }
        let look = if learnt.is_empty() && lonely.is_empty() { Look::AsExpected } else { Look::Surprised };
        for (backup, quality) in learnt {
            if let Some(known) = self.backups.iter_mut().find(|known| known.backup == backup) {
                known.quality = quality;
            }
        }
        let mut by_holder: BTreeMap<BackupId, Vec<ItemId>> = BTreeMap::new();
        for (item, holder) in lonely {
            by_holder.entry(holder).or_default().push(item);
        }
        for (holder, mut items) in by_holder {
            items.sort_unstable();
            let more = items.len() - 1;
            self.last_copies.insert(holder, Reason::LastCopy { item: items.swap_remove(0), more });
        }
        Ok(look)
    }

    /// The items of backups that go which may still be in the vault although the newest backup may not hold them: it
    /// could not read them, or its filter leaves them out. With the newest of the backups that hold each.
    ///
    /// An item that the newest backup neither holds nor excuses was not in the vault any more.
    async fn doubtful_items(
        &self,
        rows: &[Row],
        learnt: &mut Vec<(BackupRef, Quality)>,
    ) -> Result<HashMap<ItemId, BackupId>> {
        let mut found = HashMap::new();
        let mut regular = self.backups.iter().rev().filter(|known| !known.backup.is_safety_copy());
        let Some(newest) = regular.find_map(|known| known.header.as_ref()) else { return Ok(found) };
        let filter = ItemFilter::new(&newest.filter)?;
        let could_not_be_read = |item: &ItemId| {
            newest.failures.iter().any(|failure| {
                failure.kind == item.kind
                    && failure.name.as_deref().is_none_or(|name| name.eq_ignore_ascii_case(item.name.as_str()))
            })
        };
        for row in rows.iter().filter(|row| row.is_removed()) {
            let known = self.backups.iter().find(|known| known.backup == row.backup);
            let Some(header) = known.and_then(|known| known.header.as_ref()) else { continue };
            // A safety copy is of single items, whatever the filter of the vault's backups.
            let may_be_left_out = header.filter != newest.filter && !row.backup.is_safety_copy();
            if newest.failures.is_empty() && !may_be_left_out {
                continue;
            }
            match open(self.repository, &row.backup).await? {
                Some(manifest) => {
                    let items = manifest.items.into_iter().map(|item| item.id);
                    for item in items {
                        if could_not_be_read(&item) || (may_be_left_out && !filter.matches(&item)) {
                            found.entry(item).or_insert_with(|| row.backup.id.clone());
                        }
                    }
                }
                None => learnt.push((row.backup.clone(), Quality::Unreadable)),
            }
        }
        Ok(found)
    }
}

/// A whole manifest; `None` when it cannot be read.
pub(super) async fn open(repository: &Repository, backup: &BackupRef) -> Result<Option<Manifest>> {
    match repository.open(backup).await {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) if error.kind().is_of_stored_data() || error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
