//! Does what a plan says, and compares what came of it.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::{task::coop::consume_budget, time::Instant};
use tracing::{Instrument as _, Span, debug_span, field::Empty};

use super::{Action, OnDeleted, Options, Plan, Step, replace::Safety};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Attributes, Kind, Sealed},
    report::{ItemReport, Outcome, Problem, Progress, Status},
    repository::{
        Repository,
        manifest::{Item, Manifest},
    },
    rows::Rows,
    vault::{Current, Vault},
};

/// How long a name that nobody holds may still refuse a restore: a purge frees it only some seconds after its answer
/// (recorded: 3 s for a secret, 5 s for a key, 11 s for a certificate).
const PURGE_LAG: Duration = Duration::from_secs(120);

/// How long a restored item may take to be seen.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks.
const POLL: Duration = Duration::from_secs(2);

/// Does what the plan says and reports every item, in the order of kind and name. `resumed` says that an earlier attempt
/// may have done part of it.
///
/// The failure of one item is its report. An error means that plan or reports could not be kept
/// ([`Spool`](crate::spool::Spool)): then no further item is begun, and what was begun is brought to its end, because an
/// item that is being replaced is gone for a while.
pub async fn execute(
    plan: &Plan,
    manifest: &Manifest,
    repository: &Repository,
    target: &Vault,
    options: &Options,
    resumed: bool,
    progress: &Progress,
) -> Result<Rows<ItemReport>> {
    progress.expect(plan.steps.len() as u64);
    let safety = Safety::take(plan, repository, target, options.concurrency);
    let safety = safety.instrument(debug_span!("safetyCopies")).await;
    let run = Run { manifest, repository, target, safety: &safety, on_deleted: options.on_deleted, resumed, progress };
    let (mut reports, mut numbers) = (Rows::default(), Vec::with_capacity(plan.steps.len()));
    let (mut failure, stopped) = (None, AtomicBool::new(false));
    // Certificates first: each brings a key and a secret, whose names nothing else may take before.
    for certificates in [true, false] {
        let batch = async {
            let is_of_batch = |step: &Step| (step.item.kind == Kind::Certificates) == certificates;
            let steps = plan.steps.iter().enumerate();
            let steps = steps.filter(|(_, step)| step.as_ref().map_or(true, is_of_batch));
            let steps = steps.take_while(|_| !stopped.load(Ordering::Relaxed));
            let running = stream::iter(steps).map(|(number, step)| run.numbered(number, step));
            let mut running = pin!(running.buffer_unordered(options.concurrency));
            let before = numbers.len();
            while let Some(ended) = running.next().await {
                let kept = ended.and_then(|(number, report)| {
                    reports.push(&report)?;
                    numbers.push(number);
                    Ok(())
                });
                if let Err(error) = kept {
                    stopped.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
            Span::current().record("items", numbers.len() - before);
        };
        batch.instrument(debug_span!("items", certificates, items = Empty)).await;
    }
    reports.sort_by_keys(numbers);
    failure.map_or(Ok(reports), Err)
}

/// The state of a restore as a whole, by how its items ended.
pub fn status(outcomes: impl IntoIterator<Item = Outcome>) -> Status {
    let (mut good, mut bad) = (false, false);
    outcomes.into_iter().for_each(|outcome| *if outcome.is_good() { &mut good } else { &mut bad } = true);
    match (good, bad) {
        (_, false) => Status::Succeeded,
        (false, true) => Status::Failed,
        (true, true) => Status::PartiallySucceeded,
    }
}

pub(super) struct Run<'a> {
    manifest: &'a Manifest,
    pub(super) repository: &'a Repository,
    pub(super) target: &'a Vault,
    pub(super) safety: &'a Safety,
    on_deleted: OnDeleted,
    resumed: bool,
    progress: &'a Progress,
}

impl Run<'_> {
    async fn numbered(&self, number: usize, step: Result<Step>) -> Result<(usize, ItemReport)> {
        consume_budget().await; // one thread, and steps that need no request
        Ok((number, self.step(&step?).await?))
    }

    async fn step(&self, step: &Step) -> Result<ItemReport> {
        let item = self.manifest.items.get(&step.item)?;
        let result = match (step.action, &item) {
            (Action::AlreadyPresent, _) => {
                self.progress.advance(0);
                let problem = step.reason.as_ref().map(|reason| {
                    let message = format!("{} was left as it is in vault {}: {reason}", step.item, self.target.name());
                    Problem::from(&Error::new(ErrorKind::Conflict, message).at(step.item.to_string()))
                });
                let (item, version) = (step.item.clone(), Some(step.version.clone()));
                return Ok(ItemReport { item, outcome: Outcome::AlreadyPresent, version, problem });
            }
            (Action::Restore, Some(item)) => self.restore(item).await,
            (Action::Recover, Some(item)) => self.recover(item).await,
            (Action::Replace, Some(item)) => self.replace(item).await,
            (Action::Skip | Action::Blocked, Some(item)) => {
                let reason = step.reason.as_deref().unwrap_or("its name is in use.");
                let outcome = if step.action == Action::Skip { Outcome::Skipped } else { Outcome::Blocked };
                let message = format!("{} was not restored into vault {}: {reason}", item.id, self.target.name());
                self.progress.advance(0);
                let problem = Some(Problem::from(&Error::new(ErrorKind::Conflict, message).at(item.id.to_string())));
                return Ok(ItemReport { item: step.item.clone(), outcome, version: None, problem });
            }
            (_, None) => Err(Error::new(
                ErrorKind::Internal,
                format!("The plan names {}, which is not in backup {}.", step.item, self.manifest.header.backup_id),
            )),
        };
        let bytes = item.map_or(0, |item| item.size);
        Ok(match result {
            Ok((outcome, version)) => {
                self.progress.advance(if matches!(outcome, Outcome::Restored | Outcome::Replaced) { bytes } else { 0 });
                ItemReport { item: step.item.clone(), outcome, version, problem: None }
            }
            Err(error) => {
                self.progress.advance(0);
                let problem = Some(Problem::from(&error));
                ItemReport { item: step.item.clone(), outcome: Outcome::Failed, version: None, problem }
            }
        })
    }

    async fn restore(&self, item: &Item) -> Result<(Outcome, Option<Box<str>>)> {
        let present = if self.resumed { self.target.current(&item.id, Some(&item.attributes)).await? } else { None };
        let current = match present {
            Some(current) => current,
            None => {
                let backup = self.repository.read_item(item).await?;
                match self.bring_back(item, &backup, Held::LeaveAlone).await {
                    Ok(current) => current,
                    // It was being deleted when the restore was planned, or has been since.
                    Err(error) if self.may_recover(item, &error).await? => return self.recover(item).await,
                    Err(error) => return Err(error),
                }
            }
        };
        self.compare(item, &current)?;
        Ok((Outcome::Restored, Some(current.version)))
    }

    /// The name was free when the restore was planned.
    fn changed(&self, item: &Item, current: &Current) -> Error {
        let message = format!(
            "{} was not restored: since the restore was planned, vault {} has got version {} of it, which is not the one \
             of the backup ({}). Look at it, and restore again.",
            item.id,
            self.target.name(),
            current.version,
            item.version
        );
        Error::new(ErrorKind::Conflict, message).at(item.id.to_string())
    }

    async fn may_recover(&self, item: &Item, error: &Error) -> Result<bool> {
        let wanted = error.kind() == ErrorKind::Conflict && self.on_deleted == OnDeleted::Recover;
        Ok(wanted && self.target.deleted(&item.id).await?.is_some())
    }

    /// Restores until the item is there. A name that nobody seems to hold is tried again while a purge may linger.
    pub(super) async fn bring_back(&self, item: &Item, backup: &Sealed, held: Held) -> Result<Current> {
        let start = Instant::now();
        loop {
            // Asked before the try: with a slow pace the tries are minutes apart, and the time alone says little.
            let last = start.elapsed() >= PURGE_LAG;
            match self.target.restore(&item.id, backup).await {
                Ok(version) => {
                    let mut current = self.appearing(item).await?;
                    // Key Vault's own word for which version is current: the newest one may not be, and then that is
                    // the difference to report.
                    if let Some(version) = version.filter(|version| !item.may_be(version)) {
                        current.version = version;
                        current.ties.clear();
                    }
                    return Ok(current);
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    // Either our own restore, whose answer was lost, or somebody was faster: comparing tells.
                    match self.target.current(&item.id, Some(&item.attributes)).await? {
                        Some(current) if held == Held::LeaveAlone && !is_of(item, &current) => {
                            return Err(self.changed(item, &current));
                        }
                        Some(current) => return Ok(current),
                        None => (),
                    }
                    let deleted = self.target.deleted(&item.id).await?.is_some();
                    match held {
                        Held::LeaveAlone if deleted => return Err(error),
                        Held::Purge if deleted => self.target.purge(&item.id).await?,
                        _ => (),
                    }
                    if last {
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
            let last = start.elapsed() >= APPEARS_WITHIN;
            if let Some(current) = self.target.current(&item.id, Some(&item.attributes)).await? {
                return Ok(current);
            }
            if last {
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

    pub(super) fn compare(&self, item: &Item, current: &Current) -> Result<()> {
        compare(item, current, self.target)
    }
}

/// A difference between what came back and what was backed up is a failure, not a success.
pub fn compare(item: &Item, current: &Current, target: &Vault) -> Result<()> {
    let mut differences = differences(&item.attributes, &current.attributes);
    if !is_of(item, current) {
        differences.insert(0, format!("the current version is {} instead of {}", current.version, item.version));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} is in vault {} but not as it was backed up: {}. Look at it in the vault before you use it.",
        item.id,
        target.name(),
        differences.join("; ")
    );
    Err(Error::new(ErrorKind::Conflict, message).at(item.id.to_string()))
}

/// What differs of what a restore brings back beside the versions.
pub(super) fn differences(wanted: &Attributes, got: &Attributes) -> Vec<String> {
    let fields = [
        ("enabled differs", wanted.enabled == got.enabled),
        ("the not-before date differs", wanted.not_before == got.not_before),
        ("the expiry date differs", wanted.expires == got.expires),
        ("the content type differs", wanted.content_type == got.content_type),
        ("the tags differ", wanted.tags == got.tags),
    ];
    fields.into_iter().filter(|(_, same)| !same).map(|(field, _)| field.to_owned()).collect()
}

/// Whether the current version is the one that was backed up.
fn is_of(item: &Item, current: &Current) -> bool {
    current.may_be(&item.version) || item.ties.iter().any(|tie| current.may_be(tie))
}

/// What to do with a deleted item that holds the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It is somebody's; the restore fails.
    LeaveAlone,
    /// A safety copy of it exists.
    Purge,
}
