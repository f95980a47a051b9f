//! Which backups go: what retention says, and what it cannot know.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    AT_ONCE, Choice, Options, Row,
    blobs::{Holdings, visit},
};
use crate::{
    error::Result,
    model::{BackupId, ItemId, Timestamp, VaultName, filter::ItemFilter},
    report::Status,
    repository::{
        BackupRef, Repository,
        manifest::{Gaps, Header},
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
    /// What it names is not all there, or it cannot be read in full.
    damaged: bool,
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
                Ok(Known { backup, quality, damaged: header.is_none(), header })
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self { repository, options, now, backups, last_copies: HashMap::new() })
    }

    /// The decision with what is known so far, newest first.
    pub(super) fn decide(&self, guard_is_up: bool) -> Vec<Row> {
        let backups = self.backups.iter().rev().map(|known| Backup {
            id: known.backup.id.clone(),
            label: known.backup.label.clone(),
            quality: known.quality,
        });
        let decisions = match &self.options.choice {
            Choice::ByPolicy(policy) => retention::apply(policy, backups.collect(), self.now),
            Choice::Named(named) => retention::all_but(named, backups.collect(), self.now),
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
        let mut damaged = HashMap::new();
        let mut lonely = self.doubtful_items(rows, holdings, &mut damaged).await?;
        for row in rows.iter().filter(|row| !row.is_removed() && row.quality != Quality::Unreadable) {
            let (mut is_whole, mut held) = (true, Vec::new());
            let is_sound = visit(self.repository, &row.backup, |item| {
                if !holdings.keep(&item) {
                    is_whole = false;
                } else if lonely.contains_key(&item.id) {
                    held.push(item.id);
                }
            });
            if !is_sound.await? {
                damaged.insert(row.backup.clone(), Quality::Unreadable);
                continue;
            }
            if !is_whole {
                damaged.insert(row.backup.clone(), Quality::Incomplete);
            }
            for item in held {
                lonely.remove(&item);
            }
        }
        let mut look = if lonely.is_empty() { Look::AsExpected } else { Look::Surprised };
        for known in &mut self.backups {
            if let Some(quality) = damaged.remove(&known.backup).filter(|_| !known.damaged) {
                (known.quality, known.damaged) = (quality, true);
                look = Look::Surprised;
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
    /// could not read them, its filter leaves them out, or it is damaged. With the newest of the backups that hold each.
    ///
    /// An item that the newest backup neither holds nor excuses was not in the vault any more.
    async fn doubtful_items(
        &self,
        rows: &[Row],
        holdings: &Holdings,
        damaged: &mut HashMap<BackupRef, Quality>,
    ) -> Result<HashMap<ItemId, BackupId>> {
        let mut found = HashMap::new();
        let mut known = rows.iter().zip(self.backups.iter().rev());
        let Some((_, newest)) = known.find(|(row, _)| row.reasons.contains(&Reason::Newest)) else { return Ok(found) };
        let filter = newest.header.as_ref().map_or(&[][..], |newest| &newest.filter[..]);
        let gaps = Gaps::new(newest.header.as_ref().map(|newest| newest.failures.clone()).unwrap_or_default());
        let in_scope = ItemFilter::new(filter)?;
        for (row, known) in rows.iter().zip(self.backups.iter().rev()).filter(|(row, _)| row.is_removed()) {
            // One whose header cannot be read goes only when a person has named it.
            let Some(header) = &known.header else { continue };
            // A safety copy is of single items, whatever the filter of the vault's backups.
            let may_be_left_out = header.filter != filter && !row.backup.is_safety_copy();
            if gaps.failures().is_empty() && !may_be_left_out && !newest.damaged {
                continue;
            }
            let mut doubtful = Vec::new();
            let is_sound = visit(self.repository, &row.backup, |item| {
                let may_be_missed =
                    newest.damaged || gaps.of(&item.id).is_some() || (may_be_left_out && !in_scope.matches(&item.id));
                if may_be_missed && holdings.has(&item) {
                    doubtful.push(item.id);
                }
            });
            if !is_sound.await? {
                damaged.insert(row.backup.clone(), Quality::Unreadable);
                continue;
            }
            for item in doubtful {
                found.entry(item).or_insert_with(|| row.backup.id.clone());
            }
        }
        Ok(found)
    }
}
