//! One attempt at an operation, with its record kept up to date: the same for the functions and the command line.

pub mod abandoned;

use std::{collections::BTreeMap, future::Future, pin::pin, time::Duration};

use tokio::time::Instant;
use tracing::{Instrument as _, Span, error_span, field::Empty};

use crate::{
    error::{Error, Result},
    measure,
    model::{BackupId, Timestamp},
    report::{ItemReport, Problem, Progress, Status},
    repository::{
        Repository,
        operation::{Measured, Operation, OperationKind},
    },
    rows::Rows,
};

/// The counts of an operation that say how many items ended how. The others count something else.
const OUTCOMES: [&str; 11] = [
    "read",
    "carriedOver",
    "stale",
    "missing",
    "restored",
    "alreadyPresent",
    "recovered",
    "replaced",
    "skipped",
    "blocked",
    "failed",
];

/// How often the record follows the progress.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How often it is written all the same when nothing has moved, so that silence means something ([`abandoned`]).
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// What an attempt that got to its end has to say.
#[derive(Clone, Debug)]
pub struct Done {
    /// A final status.
    pub status: Status,
    /// The backup that was made or restored, if there is one.
    pub backup_id: Option<BackupId>,
    /// How many items ended how.
    pub counts: BTreeMap<String, u64>,
    /// What a drill measured.
    pub drill: Option<Measured>,
    /// A sentence.
    pub message: String,
    /// What went wrong beside single items.
    pub problems: Vec<Problem>,
    /// The items worth recording.
    pub items: Rows<ItemReport>,
}

/// Whether an attempt that fails may be followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempts {
    /// The queue delivers again.
    MoreToCome,
    /// Nobody will try again.
    Last,
}

/// Runs `work` as an attempt at `operation` and records how it goes and ends.
///
/// Returns the final record, or the error of an attempt that is to be repeated: then the record still says `Running`
/// and why. The record's own failure to be written while the work goes on is logged, not fatal; at the end it is.
pub async fn attempt(
    repository: &Repository,
    mut operation: Operation,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
    work: impl Future<Output = Result<Done>>,
) -> Result<Operation> {
    let (span, start) = (span(&operation), Instant::now());
    let (kind, vault) = (operation.kind.as_str(), operation.vault.clone());
    let result = async {
        begin(repository, &mut operation, attempts, progress, now).await?;
        let result = watched(repository, &mut operation, progress, now, work).await;
        end(repository, operation, attempts, progress, now.plus(start.elapsed()), result).await
    };
    let result = result.instrument(span.clone()).await;
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(operation) => {
            span.record("status", operation.status.as_str());
            if let Some(backup) = &operation.backup_id {
                span.record("backup", backup.as_str());
            }
            measure!("operation", kind, status = operation.status.as_str(), seconds);
            for (outcome, count) in operation.counts.iter().filter(|(name, _)| OUTCOMES.contains(&name.as_str())) {
                measure!("items", kind, vault = vault.as_str(), outcome = outcome.as_str(), count);
            }
        }
        Err(error) => {
            span.record("status", "Repeated").record("failure", error.kind().code());
            measure!("operation", kind, status = "Repeated", failure = error.kind().code(), seconds);
        }
    }
    result
}

/// The span of one attempt. Of the highest level, so that the lines of every level are within it.
fn span(operation: &Operation) -> Span {
    let Operation { id, vault, attempts, .. } = operation;
    let target = operation.target_vault.as_ref().map(tracing::field::display);
    macro_rules! span {
        ($name:literal) => {
            error_span!(
                $name,
                operation = %id,
                %vault,
                target_vault = target,
                attempt = attempts + 1,
                backup = Empty,
                status = Empty,
                failure = Empty
            )
        };
    }
    match operation.kind {
        OperationKind::Backup => span!("backup"),
        OperationKind::Restore => span!("restore"),
        OperationKind::Verify => span!("verify"),
        OperationKind::Drill => span!("drill"),
    }
}

/// The record says that an attempt has begun.
async fn begin(
    repository: &Repository,
    operation: &mut Operation,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
) -> Result<()> {
    if operation.status.is_final() {
        // It is taken up again.
        repository.mark_unfinished(operation.id).await?;
        operation.finished_at = None;
    }
    operation.status = Status::Running;
    operation.attempts += 1;
    operation.last_attempt = attempts == Attempts::Last;
    operation.started_at.get_or_insert(now);
    operation.updated_at = now;
    operation.message = None;
    operation.problems.clear();
    // The record is written again and again from now on: it must stay small until the end.
    operation.items = Rows::default();
    operation.progress = progress.look();
    repository.save_operation(operation).await
}

/// Does the work, and lets the record follow its progress.
async fn watched(
    repository: &Repository,
    operation: &mut Operation,
    progress: &Progress,
    now: Timestamp,
    work: impl Future<Output = Result<Done>>,
) -> Result<Done> {
    let start = Instant::now();
    let mut heartbeat = tokio::time::interval_at(start + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut work, mut written) = (pin!(work), start);
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = heartbeat.tick() => (),
        }
        let look = progress.look();
        if look == operation.progress && written.elapsed() < SIGN_OF_LIFE {
            continue;
        }
        operation.progress = look;
        operation.updated_at = now.plus(start.elapsed());
        // The work goes on meanwhile: answers that nobody takes count as late, and a save may last as long as the storage
        // has patience.
        let (mut save, mut ended) = (pin!(repository.save_operation(operation)), None);
        let saved = loop {
            tokio::select! {
                saved = &mut save => break saved,
                result = &mut work, if ended.is_none() => ended = Some(result),
            }
        };
        match saved {
            Ok(()) => written = Instant::now(),
            Err(error) => {
                tracing::warn!(operation = %operation.id, error = %error, "could not record the progress");
            }
        }
        if let Some(result) = ended {
            return result;
        }
    }
}

/// The record says how the attempt ended, unless it is to be repeated: then that is the error.
async fn end(
    repository: &Repository,
    mut operation: Operation,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
    result: Result<Done>,
) -> Result<Operation> {
    operation.progress = progress.look();
    operation.updated_at = now;
    let outcome = match result {
        Ok(done) => {
            operation.status = done.status;
            operation.finished_at = Some(now);
            operation.backup_id = done.backup_id;
            operation.counts = done.counts;
            operation.drill = done.drill;
            operation.message = Some(done.message);
            operation.problems = done.problems;
            operation.items = done.items;
            Ok(())
        }
        Err(error) => {
            operation.problems = vec![Problem::from(&error)];
            if attempts == Attempts::MoreToCome && error.kind().is_transient() {
                operation.message = Some(format!("Attempt {} failed and will be repeated.", operation.attempts));
                Err(error)
            } else {
                operation.status = Status::Failed;
                operation.finished_at = Some(now);
                operation.message = Some(error.message().to_owned());
                Ok(())
            }
        }
    };
    let saved = async {
        // First: when only one of the two is written, the attempt after this one writes both again.
        if operation.status.is_final() && !operation.counts.contains_key("notNeeded") {
            repository.save_last_operation(&operation).await?;
        }
        repository.save_operation(&operation).await
    };
    saved.await.map_err(|error| {
        let message = format!("The outcome of operation {} could not be recorded.", operation.id);
        Error::new(error.kind(), message).because(error)
    })?;
    outcome.map(|()| operation)
}
