//! Which vaults are protected how well: what is known of each from the headers of its backups and the records of its
//! operations. No vault is asked, and no item is read.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde::Deserialize;

use crate::{
    error::Result,
    measure,
    model::{Timestamp, VaultName, counted},
    report::{Problem, Status},
    repository::{
        BackupRef, CLOCKS_DIFFER, Repository,
        manifest::{Guard, Header},
        operation::{Operation, OperationKind},
    },
};

/// Vaults looked at together.
const VAULTS_AT_ONCE: usize = 8;

/// Headers of one vault read together in search of a good backup, when the newest is none.
const HEADERS_AT_ONCE: usize = 4;

/// What coverage is measured against.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The vaults in scope.
    pub scope: Vec<VaultName>,
    /// Whether a vault outside the scope must have a good and recent backup too. Else its backups are history.
    pub expect_all: bool,
    /// How old the newest good backup of a vault may be.
    pub max_age: Duration,
    /// The time it is.
    pub now: Timestamp,
}

/// How well one vault is protected. What could not be looked at is in `problems`, and the rest stands all the same.
#[derive(Debug)]
pub struct Coverage {
    /// The vault.
    pub vault: VaultName,
    /// Whether it is in scope.
    pub in_scope: bool,
    /// How many backups it has, safety copies included.
    pub backups: usize,
    /// Its newest backup, which may be unreadable. Its failures say what is stale or missing, and why.
    pub newest: Option<(BackupRef, Result<Header>)>,
    /// How many failures of its newest backup there are beside those in its header: an app that is asked tells the first
    /// only.
    pub more_failures: usize,
    /// Its newest good backup: one in which everything is.
    pub newest_good: Option<Header>,
    /// How old that is, in seconds: by when it began, because what changed after that may not be in it. Nothing when its
    /// date is in the future.
    pub age: Option<u64>,
    /// Why its guard is up, if it is.
    pub guard: Option<Guard>,
    /// The last backup, verification and drill that ended, without their items.
    pub last_backup: Option<Operation>,
    /// See `last_backup`.
    pub last_verify: Option<Operation>,
    /// See `last_backup`.
    pub last_drill: Option<Operation>,
    /// What could not be looked at.
    pub problems: Vec<Problem>,
    /// Why a person should look at this vault; nothing when all is well.
    pub attention: Vec<Attention>,
}

/// A reason for a person to look at a vault.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Attention {
    /// Which sort of reason.
    pub cause: Cause,
    /// The sentence.
    pub message: String,
}

/// The sorts of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// There is no backup at all.
    NeverBackedUp,
    /// There are backups, and in none is everything.
    NoGoodBackup,
    /// The newest good backup is older than it may be.
    TooOld,
    /// Too much vanished or was disabled at once.
    GuardUp,
    /// The last verification found damage, or could not be done.
    VerifyFailed,
    /// The last drill did not bring everything back, or could not be done.
    DrillFailed,
    /// Something could not be looked at.
    Unknown,
}

impl Cause {
    /// The word used in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverBackedUp => "neverBackedUp",
            Self::NoGoodBackup => "noGoodBackup",
            Self::TooOld => "tooOld",
            Self::GuardUp => "guardUp",
            Self::VerifyFailed => "verifyFailed",
            Self::DrillFailed => "drillFailed",
            Self::Unknown => "unknown",
        }
    }
}

/// The vaults in scope and those that have backups, by name.
pub async fn vaults(repository: &Repository, scope: &[VaultName]) -> Result<Vec<VaultName>> {
    let mut vaults = repository.vaults().await?;
    vaults.extend(scope.iter().cloned());
    vaults.sort_unstable();
    vaults.dedup();
    Ok(vaults)
}

/// Looks at each of these vaults. Trouble with one hides none of the others.
pub async fn look(repository: &Repository, vaults: Vec<VaultName>, terms: &Terms) -> Vec<Coverage> {
    stream::iter(vaults).map(|vault| look_at(repository, vault, terms)).buffered(VAULTS_AT_ONCE).collect().await
}

async fn look_at(repository: &Repository, vault: VaultName, terms: &Terms) -> Coverage {
    let mut problems = Vec::new();
    let last = |kind| repository.last_operation(&vault, kind);
    let (backups, last_backup, last_verify, last_drill) = futures::join!(
        newest(repository, &vault),
        last(OperationKind::Backup),
        last(OperationKind::Verify),
        last(OperationKind::Drill),
    );
    let listed = backups.is_ok();
    let Newest { count, newest, good } = known(backups, &mut problems);
    if let Some((_, Err(error))) = &newest {
        problems.push(Problem::from(error));
    }
    if let Some(good) = &good {
        measure!("good_backup", vault = vault.as_str(), at = good.started_at.unix());
    }
    let guard = match &newest {
        // Without a mark there is no word about it to look for.
        Some((_, Ok(header))) if header.guard.is_none() => Ok(None),
        None => Ok(None),
        Some(_) => repository.guard(&vault).await,
    };
    let mut coverage = Coverage {
        in_scope: terms.scope.contains(&vault),
        backups: count,
        age: good.as_ref().and_then(|good| age(good, terms.now)),
        newest,
        more_failures: 0,
        newest_good: good,
        guard: known(guard, &mut problems),
        last_backup: known(last_backup, &mut problems),
        last_verify: known(last_verify, &mut problems),
        last_drill: known(last_drill, &mut problems),
        problems,
        attention: Vec::new(),
        vault,
    };
    coverage.attention = attention(&coverage, listed, terms);
    coverage
}

/// Clocks may differ a little. A date further in the future says nothing, and would hide for as long as it is that no
/// other backup is made.
fn age(good: &Header, now: Timestamp) -> Option<u64> {
    let age = now.seconds_since(good.started_at);
    (good.started_at <= now.plus(CLOCKS_DIFFER)).then(|| age.try_into().unwrap_or_default())
}

/// What was found, or nothing and a problem more. One cause is told once, however many parts it spoils.
fn known<T: Default>(found: Result<T>, problems: &mut Vec<Problem>) -> T {
    found.unwrap_or_else(|error| {
        let problem = Problem::from(&error);
        if !problems.iter().any(|known| known.message == problem.message) {
            problems.push(problem);
        }
        T::default()
    })
}

#[derive(Default)]
struct Newest {
    count: usize,
    newest: Option<(BackupRef, Result<Header>)>,
    good: Option<Header>,
}

/// The newest backup, and the newest good one.
async fn newest(repository: &Repository, vault: &VaultName) -> Result<Newest> {
    let backups = repository.backups(vault).await?;
    let count = backups.len();
    let mut newest_first = backups.into_iter().rev().filter(|backup| !backup.is_safety_copy());
    let read = |backup: BackupRef| async move {
        let header = repository.header(&backup).await;
        (backup, header)
    };
    // The newest alone: nearly always it is the good one too.
    let first = stream::iter(newest_first.next()).then(read);
    let headers = first.chain(stream::iter(newest_first).map(read).buffered(HEADERS_AT_ONCE));
    futures::pin_mut!(headers);
    let (mut newest, mut good) = (None, None);
    while let Some((backup, header)) = headers.next().await {
        good = header.as_ref().ok().filter(|header| header.status == Status::Succeeded).cloned();
        match header {
            // What is wrong with the storage is wrong with every backup in it.
            Err(error) if !error.kind().is_of_stored_data() => return Err(error),
            header => drop(newest.get_or_insert((backup, header))),
        }
        if good.is_some() {
            break;
        }
    }
    Ok(Newest { count, newest, good })
}

fn attention(coverage: &Coverage, listed: bool, terms: &Terms) -> Vec<Attention> {
    let Coverage { vault, newest, newest_good, age, guard, last_verify, last_drill, problems, .. } = coverage;
    let mut attention = Vec::new();
    let mut because = |cause, message: String| attention.push(Attention { cause, message });
    match (newest, newest_good, age) {
        _ if !listed || !(coverage.in_scope || terms.expect_all) => (),
        (None, ..) => because(
            Cause::NeverBackedUp,
            format!("Vault {vault} has no backup. Make one with: keyvault-backup backup {vault}"),
        ),
        (_, Some(good), Some(age)) => {
            if *age > terms.max_age.as_secs() {
                let (hours, allowed) = (age / 3600, terms.max_age.as_secs() / 3600);
                let message = format!(
                    "The newest good backup of vault {vault} is {}, which is {} old; STATUS_MAX_AGE_HOURS \
                     allows {allowed}.{}",
                    good.backup_id,
                    counted(hours, "hour"),
                    outcome(coverage)
                );
                because(Cause::TooOld, message);
            }
        }
        (_, Some(good), None) => because(
            Cause::Unknown,
            format!(
                "The newest good backup of vault {vault} is {}, dated {}, which is in the future: a clock was wrong then, \
                 or is now, and nobody can say how old it is. Set the clock right, and make a backup.",
                good.backup_id, good.started_at
            ),
        ),
        _ => because(
            Cause::NoGoodBackup,
            format!("Vault {vault} has no backup in which everything is.{}", outcome(coverage)),
        ),
    }
    if let Some(guard) = guard {
        let message = format!(
            "The guard of vault {vault} is up since backup {}: {guard}. No backup is removed. Find out who did that; if \
             it was meant: keyvault-backup guard acknowledge {vault}",
            guard.tripped_by
        );
        because(Cause::GuardUp, message);
    }
    for (last, cause, work) in
        [(last_verify, Cause::VerifyFailed, "verification"), (last_drill, Cause::DrillFailed, "drill")]
    {
        if let Some(last) = last.as_ref().filter(|last| last.status != Status::Succeeded) {
            because(cause, format!("The last {work} of vault {vault} ended {}. {}", last.status, said(last)));
        }
    }
    for problem in problems {
        because(Cause::Unknown, problem.message.clone());
    }
    attention
}

/// Why there may be no newer good backup.
fn outcome(coverage: &Coverage) -> String {
    match &coverage.last_backup {
        Some(last) if last.status != Status::Succeeded => {
            format!(" The last run ended {}. {}", last.status, said(last))
        }
        Some(_) => " No later run has ended: look at the schedule and the queue.".to_owned(),
        None => String::new(),
    }
}

fn said(operation: &Operation) -> &str {
    let problem = operation.problems.first().map(|problem| problem.message.as_str());
    problem.or(operation.message.as_deref()).unwrap_or_default()
}
