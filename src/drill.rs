//! Proves that a backup can be restored, by restoring it into an empty vault.
//!
//! A drill finds the newest good backup, restores it (all, or a sample), compares everything with the manifest, and
//! deletes and purges what it restored, so that the drill vault is left as it was found. How far it is, and what it may
//! remove, stands in a note that is written before anything is restored: whichever attempt comes next goes on from there,
//! and the next drill first removes what one that was never finished has left.

mod clean_up;
mod fitness;
mod note;

use std::{collections::HashSet, pin::pin, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};
use uuid::Uuid;

use self::{
    clean_up::Lost,
    note::{Note, Stage},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, ItemId, Timestamp, VaultName, counted, filter::ItemFilter},
    report::{ItemReport, Outcome, Problem, Progress, Status},
    repository::{
        Lock, Repository, Selector,
        items::Items,
        manifest::{Item, Manifest},
        operation::Measured,
    },
    restore::{self, OnConflict, OnDeleted, Plan},
    rows::Rows,
    store::Lease,
    vault::Vault,
};

/// How long a drill waits for another one in the same vault. The queue delivers five times, so a drill waits five times
/// as long.
const TURN: Duration = Duration::from_secs(20 * 60);

/// Between two tries to take the lease of the drill vault.
const LOCK_POLL: Duration = Duration::from_secs(2);

/// What to drill and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which backup; of the latest, the newest whose manifest can be read.
    pub backup: Selector,
    /// How many items, chosen at random; `None` means all.
    pub sample: Option<usize>,
    /// How many items are dealt with at once.
    pub concurrency: usize,
}

/// What a drill has shown.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The backup.
    pub backup_id: BackupId,
    /// `Succeeded` when every item came back as it was and the drill vault is as it was found.
    pub status: Status,
    /// How much, and how long it took.
    pub measured: Measured,
    /// The items with trouble.
    pub items: Rows<ItemReport>,
    /// What went wrong as a whole.
    pub problems: Vec<Problem>,
}

/// Drills a backup of `vault` in the vault `target`. May be repeated with the same `operation`: an attempt goes on where
/// the one before it was stopped.
///
/// An item that does not come back is data. An error means that nothing was restored (`NotFound`: there is no backup;
/// `Conflict`, `Forbidden`, `Refused`: the drill vault is not fit for it), or that this attempt could not be finished.
pub async fn run(
    vault: &VaultName,
    target: &Vault,
    repository: &Repository,
    operation: Uuid,
    options: &Options,
    progress: &Progress,
    now: Timestamp,
) -> Result<Evidence> {
    if target.name() == vault {
        let message = format!(
            "Vault {vault} cannot be drilled in itself. A drill deletes what it has restored: give it a vault of its own \
             that holds nothing else."
        );
        return Err(Error::invalid("targetVault", message));
    }
    let start = Instant::now();
    let clock = || now.plus(start.elapsed());
    let lease = take_turn(target, repository, operation).await?;
    let drill = Drill { vault, target, repository, operation, options, progress, clock: &clock, lease: &*lease };
    let result = drill.run().await;
    lease.release().await;
    result
}

/// Two drills in one vault would take each other's items for their own.
async fn take_turn(target: &Vault, repository: &Repository, operation: Uuid) -> Result<Box<dyn Lease>> {
    let start = Instant::now();
    loop {
        if let Lock::Taken(lease) = repository.lock(target.name(), operation).await? {
            return Ok(lease);
        }
        if start.elapsed() >= TURN {
            let message = format!(
                "Another drill has been running in vault {} for {} minutes. Try again when it has ended.",
                target.name(),
                TURN.as_secs() / 60
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

struct Drill<'a> {
    vault: &'a VaultName,
    target: &'a Vault,
    repository: &'a Repository,
    operation: Uuid,
    options: &'a Options,
    progress: &'a Progress,
    clock: &'a (dyn Fn() -> Timestamp + Sync),
    lease: &'a dyn Lease,
}

impl Drill<'_> {
    async fn run(&self) -> Result<Evidence> {
        let known = Note::read(self.repository, self.target.name()).await?;
        let (mut note, resumed) = match known {
            Some(note) if note.operation == self.operation => (note, true),
            Some(abandoned) => {
                self.tidy(abandoned).await?;
                (self.begin().instrument(debug_span!("plan")).await?, false)
            }
            None => (self.begin().instrument(debug_span!("plan")).await?, false),
        };
        let mut lost = Lost::Perhaps;
        if note.stage == Stage::Restoring {
            self.restore(&mut note, resumed).await?;
            lost = lost_in(&note.reports)?;
        }
        let left = match note.stage {
            Stage::Done => None,
            _ => self.remove(&mut note, lost).instrument(debug_span!("remove")).await?,
        };
        Ok(evidence(note, left))
    }

    /// Removes what a drill that nobody finished has left.
    async fn tidy(&self, mut note: Note) -> Result<()> {
        if note.stage == Stage::Done {
            return Ok(());
        }
        tracing::warn!(target_vault = %self.target.name(), operation = %note.operation,
            "removing what an unfinished drill has left");
        let left =
            clean_up::remove(&note.items, self.target, self.options.concurrency, Lost::Perhaps, self.lease).await?;
        if let Some(error) = clean_up::error(&left, self.target) {
            return Err(error);
        }
        note.stage = Stage::Done;
        self.save(&note).await
    }

    /// Finds the backup and chooses the items, makes sure that the drill vault is fit for them, and notes them down.
    async fn begin(&self) -> Result<Note> {
        let start = Instant::now();
        let (manifest, passed_over) = self.find().await?;
        let in_backup = manifest.items.len();
        let chosen = Manifest { items: sample(manifest.items, self.options.sample, self.operation), ..manifest };
        fitness::check(self.target, &chosen, &self.how()).await?;
        let measured = Measured {
            items: chosen.items.len() as u64,
            items_in_backup: in_backup as u64,
            plan_seconds: seconds(start.elapsed()),
            ..Measured::default()
        };
        let backup_id = &chosen.header.backup_id;
        let mut note = Note::new(self.operation, self.vault, backup_id, &chosen.items, measured, (self.clock)())?;
        note.problems = passed_over;
        self.save(&note).await?;
        Ok(note)
    }

    /// The backup. For the latest, manifests that cannot be read are passed over, and told of.
    async fn find(&self) -> Result<(Manifest, Vec<Problem>)> {
        let backup = self.repository.find(self.vault, &self.options.backup).await?;
        let damaged = match self.repository.open(&backup).await {
            Err(error) if self.options.backup == Selector::Latest && error.kind().is_of_stored_data() => error,
            manifest => return Ok((manifest?, Vec::new())),
        };
        let mut passed_over = vec![Problem::from(&damaged)];
        let backups = self.repository.backups(self.vault).await?;
        for backup in backups.iter().rev().filter(|other| !other.is_safety_copy() && other.id < backup.id) {
            match self.repository.open(backup).await {
                Err(error) if error.kind().is_of_stored_data() => passed_over.push(Problem::from(&error)),
                manifest => return Ok((manifest?, passed_over)),
            }
        }
        Err(damaged)
    }

    /// Restores what the note names, and compares all of it with the manifest.
    async fn restore(&self, note: &mut Note, resumed: bool) -> Result<()> {
        note.reports = match self.noted_backup(note).await {
            Ok(manifest) => {
                let start = Instant::now();
                let back = self.bring_back(note, &manifest, resumed).instrument(debug_span!("restore"));
                let reports = back.await?;
                let all_attempts = (self.clock)().seconds_since(note.since).unsigned_abs();
                note.measured.restore_seconds = seconds(start.elapsed()).max(all_attempts);
                note.measured.recovery_seconds = note.measured.plan_seconds + note.measured.restore_seconds;
                let start = Instant::now();
                let troubles = self.troubles(&reports, &manifest).instrument(debug_span!("compare")).await?;
                note.measured.compare_seconds = seconds(start.elapsed());
                troubles
            }
            Err(error) if error.kind().is_transient() => return Err(error),
            // Gone or damaged since an earlier attempt began; what that one has restored must go all the same.
            Err(error) => {
                let mut reports = Rows::default();
                for entry in note.items.iter() {
                    reports.push(&failed(&entry?.item, &error))?;
                }
                reports
            }
        };
        note.since = (self.clock)();
        note.stage = Stage::Removing;
        self.save(note).await
    }

    async fn noted_backup(&self, note: &Note) -> Result<Manifest> {
        let backup = self.repository.find(self.vault, &Selector::Id(note.backup_id.clone())).await?;
        self.repository.open(&backup).await
    }

    /// Until one item is there, one after the other: only an item tells whether the vault has purge protection.
    async fn bring_back(&self, note: &mut Note, manifest: &Manifest, resumed: bool) -> Result<Rows<ItemReport>> {
        let how = self.how();
        let execute = async |steps| {
            let plan = Plan {
                backup_id: manifest.header.backup_id.clone(),
                vault: self.vault.clone(),
                target_vault: self.target.name().clone(),
                safety_backup: None,
                estimated_seconds: 0,
                steps,
            };
            restore::execute(&plan, manifest, self.repository, self.target, &how, resumed, self.progress).await
        };
        let mut reports = Rows::default();
        while let Some(entry) = note.items.get(reports.len())? {
            for report in execute(Rows::of([entry.step()])?).await?.iter() {
                reports.push(&report?)?;
            }
            match fitness::check_purgeable(self.target, &entry.item).await {
                Err(refusal) if refusal.kind() == ErrorKind::Refused => {
                    return Err(self.leave(note, &entry.item, refusal).await);
                }
                checked => checked?,
            }
            let is_there = reports.iter().next_back().transpose()?.is_some_and(|report| report.outcome.is_good());
            if is_there {
                break;
            }
        }
        let mut others = Rows::default();
        for entry in note.items.iter().skip(reports.len()) {
            others.push(&entry?.step())?;
        }
        for report in execute(others).await?.iter() {
            reports.push(&report?)?;
        }
        Ok(reports)
    }

    /// Deletes the one item that told that it can never be purged.
    async fn leave(&self, note: &mut Note, item: &ItemId, refusal: Error) -> Error {
        let deleted = self.target.delete(item).await;
        note.stage = Stage::Done;
        let (noted, name) = (self.save(note).await, self.target.name());
        match deleted.and(noted) {
            Ok(()) => {
                let message = format!(
                    "{} This showed when {item} was there, as the first item; it stays among the deleted items of vault \
                     {name} until its retention is over.",
                    refusal.message()
                );
                Error::new(refusal.kind(), message).at("targetVault")
            }
            Err(error) => {
                let message = format!("{} {item} is left there: {}", refusal.message(), error.chain());
                Error::new(error.kind(), message).at("targetVault")
            }
        }
    }

    /// Looks at everything once more when all is there: at the end nothing has disturbed anything else, and every
    /// version is back. Returns the items with trouble, also of the restore.
    async fn troubles(&self, reports: &Rows<ItemReport>, manifest: &Manifest) -> Result<Rows<ItemReport>> {
        let looks = stream::iter(reports.iter()).map(|report| self.look(report, manifest));
        let mut looks = pin!(looks.buffered(self.options.concurrency));
        let mut troubles = Rows::default();
        while let Some(report) = looks.try_next().await? {
            if !report.outcome.is_good() {
                troubles.push(&report)?;
            }
        }
        Ok(troubles)
    }

    async fn look(&self, report: Result<ItemReport>, manifest: &Manifest) -> Result<ItemReport> {
        let report = report?;
        let trouble = match manifest.items.get(&report.item)?.filter(|_| report.outcome.is_good()) {
            Some(item) => self.trouble(&item).await,
            None => None,
        };
        Ok(trouble.map(|error| failed(&report.item, &error)).unwrap_or(report))
    }

    async fn trouble(&self, item: &Item) -> Option<Error> {
        let name = self.target.name();
        let message = match self.target.current(&item.id, Some(&item.attributes)).await {
            Err(error) => return Some(error),
            Ok(None) => format!("{} was restored into vault {name} and is not there any more.", item.id),
            Ok(Some(current)) if current.versions != item.versions => {
                format!(
                    "{} is in vault {name} with {} of its {}.",
                    item.id,
                    current.versions,
                    counted(item.versions.into(), "version")
                )
            }
            Ok(Some(current)) => return restore::compare(item, &current, self.target).err(),
        };
        Some(Error::new(ErrorKind::Conflict, message).at(item.id.to_string()))
    }

    /// Removes what the note names. Returns why something is left that will not go by trying again.
    async fn remove(&self, note: &mut Note, lost: Lost) -> Result<Option<Error>> {
        let left = clean_up::remove(&note.items, self.target, self.options.concurrency, lost, self.lease).await.map_err(|error| {
            let message = format!(
                "What the drill restored into vault {} may still be there, because the vault could not be looked at. The \
                 next drill into it removes it.",
                self.target.name()
            );
            Error::new(error.kind(), message).because(error)
        })?;
        note.measured.clean_up_seconds = (self.clock)().seconds_since(note.since).unsigned_abs().max(1);
        match clean_up::error(&left, self.target) {
            Some(error) if error.kind().is_transient() => Err(error),
            Some(error) => Ok(Some(error)),
            None => {
                note.stage = Stage::Done;
                self.save(note).await?;
                Ok(None)
            }
        }
    }

    /// Nothing that is there is ever replaced or recovered.
    fn how(&self) -> restore::Options {
        restore::Options {
            filter: ItemFilter::all(),
            on_conflict: OnConflict::Fail,
            on_deleted: OnDeleted::Fail,
            concurrency: self.options.concurrency,
        }
    }

    /// Writes the note, unless another drill may have begun meanwhile.
    async fn save(&self, note: &Note) -> Result<()> {
        still_held(self.lease, self.target)?;
        note.save(self.repository, self.target.name()).await
    }
}

fn still_held(lease: &dyn Lease, target: &Vault) -> Result<()> {
    if lease.is_held() {
        return Ok(());
    }
    let message = format!(
        "The drill in vault {} lost its lease in the storage, so another one may have begun. Try again.",
        target.name()
    );
    Err(Error::new(ErrorKind::Unavailable, message))
}

fn failed(item: &ItemId, error: &Error) -> ItemReport {
    ItemReport { item: item.clone(), outcome: Outcome::Failed, version: None, problem: Some(Problem::from(error)) }
}

/// So many items at random, in their order: the same ones for every attempt at an operation.
fn sample(items: Items, size: Option<usize>, operation: Uuid) -> Items {
    let Some(size) = size.filter(|size| *size < items.len()) else { return items };
    let (high, low) = operation.as_u64_pair();
    let chosen = fastrand::Rng::with_seed(high ^ low).choose_multiple(0..items.len(), size);
    let chosen: HashSet<usize> = chosen.into_iter().collect();
    items.filtered(|place, _| chosen.contains(&place))
}

/// Whole seconds, rounded up: no drill takes no time.
fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

/// Whether a request may yet take effect whose outcome nobody has seen.
fn lost_in(reports: &Rows<ItemReport>) -> Result<Lost> {
    for report in reports.iter() {
        let kind = report?.problem.and_then(|problem| ErrorKind::from_code(&problem.code));
        if kind.is_some_and(|kind| kind.is_transient() || kind == ErrorKind::Conflict) {
            return Ok(Lost::Perhaps);
        }
    }
    Ok(Lost::Nothing)
}

fn evidence(note: Note, left: Option<Error>) -> Evidence {
    let Note { backup_id, measured, reports, mut problems, items, .. } = note;
    let status = match reports.len() {
        _ if left.is_some() => Status::Failed,
        0 if problems.is_empty() => Status::Succeeded,
        failures if failures == items.len() && failures > 0 => Status::Failed,
        _ => Status::PartiallySucceeded,
    };
    problems.extend(left.iter().map(Problem::from));
    Evidence { backup_id, status, measured, items: reports, problems }
}
