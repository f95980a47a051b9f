//! Removes the backups that retention does not keep, and then the item blobs that no manifest names any more.
//!
//! Decide, then do: [`plan`] looks at everything and changes nothing; [`Plan::execute`] follows it. Manifests go first, so
//! that a prune that is killed anywhere leaves whole backups and blobs that nobody names, which the next one removes.

mod blobs;
mod planner;

use std::time::Duration;

use futures::TryStreamExt as _;
use uuid::Uuid;

use self::{
    blobs::{Fate, Holdings, Rules},
    planner::{Look, Planner},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, Timestamp, VaultName, are, counted, size},
    repository::{BackupRef, Lock, Repository, manifest::Guard},
    retention::{Policy, Quality, Reason},
};

/// An item blob that no manifest names is left alone for this long: a run that is writing has not committed yet. The
/// vault's lease keeps backups away already; this covers the safety copies of a restore, a lease that was lost without
/// notice, and clocks that differ.
pub const SAFETY_AGE: Duration = Duration::from_secs(24 * 3600);

/// Headers that are read, and blobs that are deleted, at once.
const AT_ONCE: usize = 8;

/// What to remove and what stands in the way.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which backups are to go.
    pub choice: Choice,
    /// How long the container protects a blob from its creation, if that is known: nothing younger is even tried.
    pub immutable_for: Option<Duration>,
}

/// Which backups are to go.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Those that the policy does not keep.
    ByPolicy(Policy),
    /// These, and no others.
    Named(Vec<BackupId>),
}

/// What a prune will do. Made under the vault's lease and followed under it, or only shown.
#[derive(Debug)]
pub struct Plan {
    /// The vault.
    pub vault: VaultName,
    /// The guard, while it is up: then nothing is removed.
    pub guard: Option<Guard>,
    /// All backups, newest first.
    pub backups: Vec<Row>,
    /// What becomes of item blobs that no remaining manifest names.
    pub unnamed: Unnamed,
    named: Vec<BackupId>,
    holdings: Holdings,
    rules: Rules,
}

/// A backup and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The backup.
    pub backup: BackupRef,
    /// What it is worth.
    pub quality: Quality,
    /// Why it is kept; removed when there is no reason.
    pub reasons: Vec<Reason>,
}

impl Row {
    /// Whether it is removed.
    pub fn is_removed(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Item blobs that no remaining manifest names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unnamed {
    /// Blobs to remove.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs younger than [`SAFETY_AGE`], which a run under way may be about to name.
    pub young: u64,
    /// Blobs that the container protects.
    pub protected: u64,
    /// Blobs that stay because there is a manifest that cannot be read, which may name them.
    pub doubtful: u64,
}

/// What a prune has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Backups removed.
    pub backups: u64,
    /// Item blobs removed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Backups that are to go and that the container protects: refused by it, or known to be.
    pub protected_backups: u64,
    /// Item blobs, likewise.
    pub protected_blobs: u64,
    /// When the first of what is protected can be removed, as far as it is known.
    pub protected_until: Option<Timestamp>,
}

/// What came of [`run`].
#[derive(Debug)]
pub enum Prune {
    /// The plan was followed to its end.
    Done(Box<Plan>, Report),
    /// A backup or another prune is at work on this vault.
    Busy,
}

/// Prunes a vault under the vault's lease: never beside a backup or another prune of it. A backup that comes meanwhile
/// waits.
///
/// Can be killed anywhere and repeated. An error leaves whole backups; the next prune goes on.
pub async fn run(repository: &Repository, vault: &VaultName, options: &Options, now: Timestamp) -> Result<Prune> {
    let Lock::Taken(lease) = repository.lock(vault, Uuid::nil()).await? else { return Ok(Prune::Busy) };
    let result = async {
        let mut plan = plan(repository, vault, options, now).await?;
        let report = plan.execute(repository, &|| lease.is_held()).await?;
        Ok(Prune::Done(Box::new(plan), report))
    }
    .await;
    lease.release().await;
    result
}

/// Decides what is to be removed. Changes nothing.
///
/// What this never gives away, whoever asks: the newest backup; the newest whole one; the last copy of an item that may
/// still be in the vault; an item blob that a remaining manifest names. By the policy alone, no unreadable manifest
/// either, and while there is one, no item blob. While the guard is up, nothing.
pub async fn plan(repository: &Repository, vault: &VaultName, options: &Options, now: Timestamp) -> Result<Plan> {
    let guard = repository.guard(vault).await?;
    let mut planner = Planner::read(repository, vault, options, now).await?;
    let mut backups = planner.decide(guard.is_some());
    let mut holdings = Holdings::default();
    if guard.is_none() {
        holdings = Holdings::list(repository, vault).await?;
        // Each round learns of one more damaged backup or last copy, so this comes to an end.
        while planner.look(&backups, &mut holdings).await? == Look::Surprised {
            backups = planner.decide(false);
        }
    }
    let all_readable = backups.iter().all(|row| row.is_removed() || row.quality != Quality::Unreadable);
    let rules = Rules { all_readable, immutable_for: options.immutable_for, now };
    let mut unnamed = Unnamed::default();
    let mut blobs = repository.item_blobs(vault);
    while let Some(blob) = blobs.try_next().await? {
        match rules.fate(&blob, &holdings) {
            Fate::Named => (),
            Fate::Young => unnamed.young += 1,
            Fate::Doubtful => unnamed.doubtful += 1,
            Fate::Protected(_) => unnamed.protected += 1,
            Fate::Removed => {
                unnamed.blobs += 1;
                unnamed.bytes += blob.size;
            }
        }
    }
    let named = match &options.choice {
        Choice::Named(named) => named.clone(),
        Choice::ByPolicy(_) => Vec::new(),
    };
    Ok(Plan { vault: vault.clone(), guard, backups, unnamed, named, holdings, rules })
}

impl Plan {
    /// The backups that are removed.
    pub fn removed(&self) -> impl Iterator<Item = &Row> {
        self.backups.iter().filter(|row| row.is_removed())
    }

    /// Whether somebody named this backup and it stays all the same, or the policy gives it up and the guard does not.
    pub fn was_asked_for(&self, row: &Row) -> bool {
        !row.is_removed() && (self.named.contains(&row.backup.id) || row.reasons.contains(&Reason::Guard))
    }

    /// What following it came to, in sentences.
    pub fn describe(&self, report: &Report) -> String {
        if let Some(guard) = &self.guard {
            return format!(
                "Retention removed nothing, because the guard is up: backup {} found {} of {} gone and {} disabled. \
                 See `keyvault-backup guard`.",
                guard.tripped_by,
                guard.deleted,
                counted(guard.items, "item"),
                guard.disabled
            );
        }
        let (backups, blobs) = (counted(report.backups, "backup"), counted(report.blobs, "item blob"));
        let mut text = format!("Retention removed {backups} and {blobs} ({}).", size(report.bytes));
        let Report { protected_backups, protected_blobs, protected_until, .. } = *report;
        if protected_backups + protected_blobs > 0 {
            let (backups, blobs) = (counted(protected_backups, "backup"), counted(protected_blobs, "item blob"));
            let until = protected_until.map(|until| format!(", the first until {until}")).unwrap_or_default();
            text.push_str(&format!(" {backups} and {blobs} are kept by the container's immutability policy{until}."));
        }
        if self.unnamed.doubtful > 0 {
            text.push_str(&format!(
                " {} that no manifest names {} kept, because a manifest that cannot be read may name them; \
                 `keyvault-backup list {}` shows which.",
                counted(self.unnamed.doubtful, "item blob"),
                are(self.unnamed.doubtful),
                self.vault
            ));
        }
        text
    }

    /// Does it. `still_locked` tells whether the vault's lease is still held: without it nothing more is removed.
    ///
    /// What an immutability policy or a legal hold protects stays, and is counted; a backup that it protects has that for
    /// a reason from then on.
    pub async fn execute(
        &mut self,
        repository: &Repository,
        still_locked: &(dyn Fn() -> bool + Sync),
    ) -> Result<Report> {
        let mut report = Report::default();
        for reason in self.backups.iter().flat_map(|row| &row.reasons) {
            if let Reason::Protected { until } = reason {
                report.protected_backups += 1;
                report.protected_until(*until);
            }
        }
        let (mut holdings, mut rules) = (self.holdings.clone(), self.rules);
        // Oldest first: when this ends early, the newest are left.
        for at in (0..self.backups.len()).rev() {
            if !self.backups[at].is_removed() {
                continue;
            }
            self.check(still_locked)?;
            let backup = &self.backups[at].backup;
            match repository.remove_backup(backup).await {
                Ok(()) => report.backups += 1,
                Err(error) if error.kind() == ErrorKind::Refused => {
                    report.protected_backups += 1;
                    // It still exists, so what it names has to stay. Those blobs are older than it is, and may be
                    // unprotected already.
                    rules.all_readable &= holdings.keep_all(repository, backup).await?;
                    self.backups[at].reasons.push(Reason::Protected { until: None });
                }
                Err(error) => return Err(error),
            }
        }
        self.sweep(repository, &holdings, &rules, still_locked, &mut report).await?;
        Ok(report)
    }

    /// Removes the item blobs that no manifest names any more.
    async fn sweep(
        &self,
        repository: &Repository,
        holdings: &Holdings,
        rules: &Rules,
        still_locked: &(dyn Fn() -> bool + Sync),
        report: &mut Report,
    ) -> Result<()> {
        let fates = repository.item_blobs(&self.vault).map_ok(|blob| async move {
            let fate = rules.fate(&blob, holdings);
            if fate != Fate::Removed {
                return Ok((fate, blob));
            }
            self.check(still_locked)?;
            match repository.remove_item_blob(&blob.name).await {
                Ok(()) => Ok((fate, blob)),
                Err(error) if error.kind() == ErrorKind::Refused => Ok((Fate::Protected(None), blob)),
                Err(error) => Err(error),
            }
        });
        let mut fates = std::pin::pin!(fates.try_buffer_unordered(AT_ONCE));
        while let Some((fate, blob)) = fates.try_next().await? {
            match fate {
                Fate::Removed => {
                    report.blobs += 1;
                    report.bytes += blob.size;
                }
                Fate::Protected(until) => {
                    report.protected_blobs += 1;
                    report.protected_until(until);
                }
                Fate::Named | Fate::Young | Fate::Doubtful => (),
            }
        }
        Ok(())
    }

    fn check(&self, still_locked: &(dyn Fn() -> bool + Sync)) -> Result<()> {
        if still_locked() { Ok(()) } else { Err(self.lost()) }
    }

    fn lost(&self) -> Error {
        let message = format!(
            "The prune of vault {} lost its lease in the storage, so a backup may have begun; it stopped. The next one \
             goes on from here.",
            self.vault
        );
        Error::new(ErrorKind::Unavailable, message)
    }
}

impl Report {
    fn protected_until(&mut self, until: Option<Timestamp>) {
        self.protected_until = [self.protected_until, until].into_iter().flatten().min();
    }
}
