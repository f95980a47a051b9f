//! Verifying the backups of a vault.

use std::collections::BTreeMap;

use crate::{
    config::connect::{Connections, Role},
    error::Result,
    event,
    events::name,
    model::{Timestamp, VaultName, are, counted, size},
    operation::{Attempts, Done, attempt},
    report::{Problem, Progress, Status},
    repository::{
        findings::{Finding, Findings},
        operation::Operation,
    },
    rows::Rows,
    verify::{self, Options},
};

/// So much damage is listed in the operation's record, which is written and read whole; the rest is counted.
const MOST_PROBLEMS: usize = 100;

/// Checks all backups of the operation's vault: the record, and what was found when it could be done. See [`attempt`]
/// for what is recorded.
pub async fn verify(
    connections: &Connections,
    operation: Operation,
    attempts: Attempts,
    progress: &Progress,
    now: Timestamp,
) -> Result<(Operation, Option<Findings>)> {
    let repository = connections.repository(Role::Backup)?;
    let vault = operation.vault.clone();
    let options = Options { operation: operation.id, concurrency: connections.config().concurrency };
    let mut found = None;
    let work = async {
        let findings = verify::run(&repository, &vault, &options, progress, now).await?;
        let done = done(&findings);
        found = Some(findings);
        Ok(done)
    };
    let result = attempt(&repository, operation, attempts, progress, now, work).await;
    tell(&vault, &result);
    result.map(|operation| (operation, found))
}

fn done(findings: &Findings) -> Done {
    let Findings { backups, sound_backups, blobs, bytes, .. } = *findings;
    let (damage, notes) = (findings.damage(), findings.findings.iter().filter(|finding| !finding.is_damage()).count());
    let vault = &findings.vault;
    let checked = format!("{} ({}) checked", counted(blobs, "item blob"), size(bytes));
    let (status, message) = match backups - sound_backups {
        0 if backups == 1 => (Status::Succeeded, format!("The only backup of vault {vault} is sound: {checked}.")),
        0 => (Status::Succeeded, format!("All {backups} backups of vault {vault} are sound: {checked}.")),
        damaged => {
            let status = if sound_backups > 0 { Status::PartiallySucceeded } else { Status::Failed };
            let message = format!(
                "{damaged} of {} of vault {vault} {} damaged in {}: {checked}.",
                counted(backups, "backup"),
                are(damaged),
                counted(damage, "place")
            );
            (status, message)
        }
    };
    let mut problems: Vec<Problem> =
        findings.findings.iter().filter(|finding| finding.is_damage()).take(MOST_PROBLEMS).map(problem).collect();
    if let Some(more) = damage.checked_sub(problems.len() as u64).filter(|more| *more > 0) {
        let message = format!(
            "There is damage in {}; `keyvault-backup verify {vault}` lists more of it.",
            counted(more, "more place")
        );
        problems.push(Problem { code: "Corrupt".to_owned(), message, target: None });
    }
    let counts = [
        ("backups", backups),
        ("soundBackups", sound_backups),
        ("blobs", blobs),
        ("unnamedBlobs", findings.unnamed_blobs),
        ("damage", damage),
        ("notes", notes as u64),
    ];
    Done {
        status,
        backup_id: None,
        counts: counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect::<BTreeMap<_, _>>(),
        message,
        problems,
        items: Rows::default(),
        drill: None,
    }
}

fn problem(finding: &Finding) -> Problem {
    Problem {
        code: finding.finding.kind().code().to_owned(),
        message: finding.message.clone(),
        target: Some(finding.blob.clone()),
    }
}

fn tell(vault: &VaultName, result: &Result<Operation>) {
    match result {
        Ok(operation) => {
            let message = operation.message.as_deref().unwrap_or_default();
            let problem = operation.problems.first().map(|problem| problem.message.as_str()).unwrap_or_default();
            match operation.status {
                Status::Succeeded => event!(INFO, name::VERIFY_COMPLETED, %vault, operation = %operation.id, message),
                _ => event!(ERROR, name::VERIFY_FAILED, %vault, operation = %operation.id, message, problem),
            }
        }
        Err(error) => {
            tracing::warn!(%vault, error = %error.chain(), "this attempt at a verification failed; another follows")
        }
    }
}
