//! Copies backups of a vault from one repository into another: only what is missing there, checked on the way, and each
//! manifest last, so that whatever a copy that was killed leaves behind is a sound repository.
//!
//! Nothing is replaced or deleted. The source is read only, and others may be at work on it: what is pruned meanwhile is
//! no damage. The target's lease of the vault is held, so that no prune there removes what is about to be named. Memory:
//! 33 to 66 bytes for each blob of the target.

mod damage;
mod index;
mod plan;

use futures::{StreamExt as _, stream::FuturesUnordered};
use uuid::Uuid;

pub use self::{damage::Damage, plan::plan};
use self::{
    damage::{Damages, MOST_LISTED},
    index::{Entry, Index},
    plan::Plan,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{VaultName, counted},
    report::{Progress, Status},
    repository::{
        BackupRef, Lock, Repository, Selector,
        inspection::{BlobKey, Inspection},
        manifest::Item,
    },
};

/// What came of [`run`].
#[derive(Debug)]
pub enum Copy {
    /// The plan was followed to its end.
    Done(Report),
    /// A backup, a prune or another copy is at work on this vault in the target.
    Busy,
}

/// What a copy did with a vault, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The vault.
    pub vault: VaultName,
    /// The chosen backups of the source, newest first, which is the order of copying.
    pub backups: Vec<Row>,
    /// Whether they were asked for by name. Then one that was removed meanwhile is missed.
    pub by_name: bool,
    /// What is in the way of some of them; a blob is told once, however many backups need it.
    pub damage: Vec<Damage>,
    /// Damage beyond what is listed; what is damaged in the target counts for each backup that needs it.
    pub more_damage: u64,
}

/// A backup and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The backup.
    pub backup: BackupRef,
    /// What became of it.
    pub fate: Fate,
    /// Item blobs that were copied for it; of a plan, that are to be. What several backups share counts for the newest.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What becomes of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The target has it, and every blob it names.
    Present,
    /// The target does not have it: it is to be copied.
    Missing,
    /// The target has it and lacks blobs that it names: they are to be copied.
    Incomplete,
    /// The target has it now.
    Copied,
    /// The target has again all that it names.
    Completed,
    /// Something of it is damaged, in the source or in the target, so that it was not copied or not completed.
    Damaged,
    /// It was removed from the source meanwhile.
    Removed,
}

impl Fate {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Incomplete => "incomplete",
            Self::Copied => "copied",
            Self::Completed => "completed",
            Self::Damaged => "damaged",
            Self::Removed => "removed",
        }
    }
}

impl Report {
    /// How many backups came to this.
    pub fn count(&self, fate: Fate) -> usize {
        self.backups.iter().filter(|row| row.fate == fate).count()
    }

    /// How many item blobs, and their bytes.
    pub fn total(&self) -> (u64, u64) {
        self.backups.iter().fold((0, 0), |(blobs, bytes), row| (blobs + row.blobs, bytes + row.bytes))
    }

    /// `PartiallySucceeded` when the target will lack some of the backups that were meant, `Failed` when all. One that was
    /// removed from the source meanwhile is not meant any more, unless it was asked for by name.
    pub fn status(&self) -> Status {
        let removed = if self.by_name { self.count(Fate::Removed) } else { 0 };
        match self.count(Fate::Damaged) + removed {
            0 => Status::Succeeded,
            lacking if lacking < self.backups.len() => Status::PartiallySucceeded,
            _ => Status::Failed,
        }
    }
}

/// Copies backups of a vault: those chosen, or all when none is.
///
/// Can be killed anywhere and repeated: the next call copies only what is missing. Damage is data; an error of any other
/// kind ends the copy, and leaves every backup of the target whole. `Conflict`, before anything is written: the target
/// holds another backup under the name of one of these.
pub async fn run(
    source: &Repository,
    target: &Repository,
    vault: &VaultName,
    chosen: &[Selector],
    concurrency: usize,
    progress: &Progress,
) -> Result<Copy> {
    // A wrong name is told before anything is written, and the lease is.
    let chosen = plan::choose(source, vault, chosen).await?;
    let Lock::Taken(lease) = target.lock(vault, Uuid::nil()).await? else { return Ok(Copy::Busy) };
    let result = async {
        let plan = plan::of_backups(source, target, vault, chosen).await?;
        plan.execute(source, target, concurrency, &|| lease.is_held(), progress).await.map(Copy::Done)
    }
    .await;
    lease.release().await;
    result
}

impl Plan {
    /// Follows the plan as long as `still_locked` says that nobody else may be at work on the target.
    async fn execute(
        self,
        source: &Repository,
        target: &Repository,
        concurrency: usize,
        still_locked: &(dyn Fn() -> bool + Sync),
        progress: &Progress,
    ) -> Result<Report> {
        let Self { mut report, index, damages } = self;
        progress.expect(report.total().0);
        let mut run = Run { source, target, concurrency, still_locked, progress, index, damages };
        // First, so that no backup that bears a guard's mark lacks the word that took it down.
        target.add_acknowledgements(source, &report.vault).await?;
        for at in 0..report.backups.len() {
            let row = &mut report.backups[at];
            let goal = match row.fate {
                Fate::Missing => Fate::Copied,
                Fate::Incomplete => Fate::Completed,
                _ => continue,
            };
            (row.blobs, row.bytes) = (0, 0);
            row.fate = match run.copy(row, goal).await {
                Ok(fate) => fate,
                Err(error) => return Err(run.stopped(&report, error)),
            };
        }
        (report.damage, report.more_damage) = run.damages.into_parts();
        Ok(report)
    }
}

struct Run<'a> {
    source: &'a Repository,
    target: &'a Repository,
    concurrency: usize,
    still_locked: &'a (dyn Fn() -> bool + Sync),
    progress: &'a Progress,
    index: Index,
    damages: Damages,
}

impl Run<'_> {
    /// Copies one backup, and says what became of it.
    async fn copy(&mut self, row: &mut Row, goal: Fate) -> Result<Fate> {
        let backup = row.backup.clone();
        let result = match self.copy_blobs(row).await {
            Ok(troubles) if troubles.is_empty() && goal == Fate::Copied => self.commit(&backup).await,
            Ok(troubles) if troubles.is_empty() => Ok(()),
            // A prune removes the manifest first, then the blobs.
            Ok(troubles) if self.source.exists(&backup).await? => {
                self.tell(&backup, troubles);
                return Ok(Fate::Damaged);
            }
            Ok(_) => return Ok(Fate::Removed),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(goal),
            Err(error) if error.kind().is_of_stored_data() => {
                self.damages.of_manifest(&backup, &damage::in_place(self.source, false, &error));
                Ok(Fate::Damaged)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !self.source.exists(&backup).await? => {
                Ok(Fate::Removed)
            }
            Err(error) => Err(error),
        }
    }

    /// Copies what the target lacks of the items of a backup. What could not be copied is answered.
    async fn copy_blobs(&mut self, row: &mut Row) -> Result<Troubles> {
        let (source, target) = (self.source, self.target);
        let mut reader = source.read_manifest(&row.backup).await?;
        let (mut under_way, mut is_read) = (FuturesUnordered::new(), false);
        let mut troubles = Troubles::default();
        loop {
            while !is_read && under_way.len() < self.concurrency {
                match reader.next().await? {
                    None => is_read = true,
                    Some(item) if self.index.has(&item.blob, item.size) => (),
                    Some(item) => match self.index.get(BlobKey::of(&item.blob)) {
                        Some(Entry::Lost) => troubles.add(item, None),
                        _ => under_way.push(carry(source, target, item)),
                    },
                }
            }
            match under_way.next().await {
                Some(Ok((item, size))) => {
                    self.index.set(BlobKey::of(&item.blob), Entry::Sound(size));
                    self.progress.advance(size);
                    (row.blobs, row.bytes) = (row.blobs + 1, row.bytes + size);
                }
                Some(Err((item, error))) if error.kind() == ErrorKind::Corrupt => {
                    self.progress.advance(0);
                    troubles.add(item, Some(error));
                }
                Some(Err((_, error))) => return Err(error),
                None if is_read => return Ok(troubles),
                None => (),
            }
        }
    }

    /// Makes a backup exist in the target, after looking once more that everything it names is there.
    async fn commit(&self, backup: &BackupRef) -> Result<()> {
        let (index, mut lacks) = (&self.index, None);
        let look = |item: &Item| {
            if !index.has(&item.blob, item.size) {
                lacks.get_or_insert_with(|| item.blob.clone());
            }
        };
        let text = self.source.manifest_text(backup, look).await?;
        if let Some(blob) = lacks {
            let message = format!("Backup {backup} came to name {blob} while it was copied. Copy it again.");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        if !(self.still_locked)() {
            let message = format!(
                "The copy of vault {} lost its lease in {}, so a prune may have begun there; it stopped.",
                backup.vault,
                self.target.describe()
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        self.target.add_manifest(backup, text).await
    }

    fn tell(&mut self, backup: &BackupRef, troubles: Troubles) {
        for (item, error) in troubles.listed {
            match error {
                Some(error) => {
                    // Other backups that need the blob do not read it again.
                    self.index.set(BlobKey::of(&item.blob), Entry::Lost);
                    self.damages.of_item(backup, &item, &error);
                }
                None => self.damages.again(backup, &item.blob),
            }
        }
        for key in troubles.more {
            if self.index.get(key) != Some(Entry::Lost) {
                self.index.set(key, Entry::Lost);
                self.damages.count(1);
            }
        }
    }

    fn stopped(&self, report: &Report, error: Error) -> Error {
        let done = report.count(Fate::Copied) + report.count(Fate::Completed);
        let message = format!(
            "Copying vault {} to {} stopped after {}: {} What is copied stays; give the command again, and it \
             goes on from there.",
            report.vault,
            self.target.describe(),
            counted(done as u64, "backup"),
            error.message()
        );
        Error::new(error.kind(), message).because(error)
    }
}

/// Items of one backup that could not be copied, each with the reason unless it was told before.
#[derive(Default)]
struct Troubles {
    listed: Vec<(Item, Option<Error>)>,
    /// The blobs of further items.
    more: Vec<BlobKey>,
}

impl Troubles {
    fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    fn add(&mut self, item: Item, error: Option<Error>) {
        if self.listed.len() < MOST_LISTED {
            self.listed.push((item, error));
        } else {
            self.more.push(BlobKey::of(&item.blob));
        }
    }
}

/// Reads an item's blob in the source, checks it, and writes it into the target.
async fn carry(source: &Repository, target: &Repository, item: Item) -> Result<(Item, u64), (Item, Error)> {
    let added = async { target.add_item(&item, &source.read_item(&item).await?).await };
    match added.await {
        Ok(Inspection::Sound { size }) if size == item.size => Ok((item, size)),
        Ok(inspection) => {
            let error = damage::in_target(target, &item, inspection);
            Err((item, error))
        }
        Err(error) => Err((item, error)),
    }
}
