//! The timer and the two workers, and the queue messages between them and the HTTP functions.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::host::{Invocation, Reply};
use crate::{
    config::{
        Config,
        connect::{Connections, Role},
    },
    error::{Error, ErrorKind, Result},
    event,
    events::name,
    jobs::{self, BackupRequest, DrillRequest, RestoreRequest},
    model::{Label, Timestamp, VaultName, counted},
    operation::Attempts,
    report::Progress,
    repository::operation::{Operation, OperationKind},
};

/// How often the host delivers a message before it gives up: `maxDequeueCount` in host.json, which a test compares.
pub const MOST_DELIVERIES: u32 = 5;

/// A message of `BACKUP_QUEUE`: one vault to back up, to verify, or to drill. Complete in itself: the timers write no
/// record for a vault whose turn has not come.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobMessage {
    pub(super) operation_id: Uuid,
    #[serde(default = "backup_kind")]
    pub(super) kind: OperationKind,
    pub(super) vault: VaultName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<Label>,
    #[serde(default)]
    pub(super) full: bool,
    /// The round of drills that it is part of: when this one has ended, the next vault has its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) round: Option<Uuid>,
    /// What a drill is to restore, where somebody has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) drill: Option<DrillRequest>,
    pub(super) created_at: Timestamp,
}

fn backup_kind() -> OperationKind {
    OperationKind::Backup
}

impl JobMessage {
    pub(super) fn new(operation_id: Uuid, kind: OperationKind, vault: VaultName, now: Timestamp) -> Self {
        Self { operation_id, kind, vault, label: None, full: false, round: None, drill: None, created_at: now }
    }

    /// The record of the operation that this message asks for.
    pub(super) fn operation(&self) -> Operation {
        let request = match self.kind {
            OperationKind::Backup => json!(BackupRequest { full: self.full }),
            OperationKind::Drill => json!(self.drill.clone().unwrap_or_default()),
            _ => json!({}),
        };
        let mut operation = Operation::new(self.operation_id, self.kind, self.vault.clone(), request, self.created_at);
        operation.label = self.label.clone();
        operation
    }
}

/// A message of `RESTORE_QUEUE`; what is to be restored is in the operation's record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RestoreMessage {
    pub(super) operation_id: Uuid,
}

/// The record of a restore that was asked for.
pub(super) fn restore_operation(id: Uuid, request: &RestoreRequest, now: Timestamp) -> Operation {
    let mut operation = Operation::new(id, OperationKind::Restore, request.vault.clone(), json!(request), now);
    operation.target_vault = Some(request.target_vault.clone());
    operation
}

/// The timer of backups, which also looks for operations that nobody will finish.
pub(super) async fn start_backups(connections: &Connections, now: Timestamp) -> Result<Reply> {
    if let Err(error) = jobs::sweep(connections, now).await {
        // The backups are worth more.
        tracing::warn!(error = %error.chain(), "could not look for abandoned operations; the next tick does");
    }
    start(connections, OperationKind::Backup, now)
}

/// A timer: one message for each vault in scope. The queue spreads them over the instances of the app.
pub(super) fn start(connections: &Connections, kind: OperationKind, now: Timestamp) -> Result<Reply> {
    let vaults = &connections.config().vaults;
    if vaults.is_empty() {
        let message = "BACKUP_VAULTS is empty, so nothing is backed up. Set it to the names of your vaults.";
        return Err(Error::invalid("BACKUP_VAULTS", message));
    }
    let mut messages: Vec<String> = vaults
        .iter()
        .map(|vault| {
            let (operation_id, vault) = (Uuid::new_v4(), vault.clone());
            encode(&JobMessage::new(operation_id, kind, vault, now))
        })
        .collect();
    let line = format!("Asked for the {} of {}.", kind.as_str(), counted(messages.len() as u64, "vault"));
    let mut reply = Reply::default().log(line);
    if kind == OperationKind::Verify
        && let Some(first) = next_drill(connections.config(), Uuid::new_v4(), None, now)
    {
        messages.push(encode(&first));
        reply = reply.log("Asked for a round of drills.");
    }
    Ok(reply.queue(messages))
}

/// The drill that follows the one of `last` in a round, or the first one. All drills share one vault, so that they take
/// turns: each asks for the next. Its id follows from the round and the vault, so that a message that is delivered twice
/// begins no second round.
fn next_drill(config: &Config, round: Uuid, last: Option<&VaultName>, now: Timestamp) -> Option<JobMessage> {
    config.drill_vault.as_ref()?;
    // The vaults are sorted.
    let vault = config.vaults.iter().find(|vault| last.is_none_or(|last| *vault > last))?.clone();
    let id = Uuid::new_v5(&round, vault.as_str().as_bytes());
    Some(JobMessage { round: Some(round), ..JobMessage::new(id, OperationKind::Drill, vault, now) })
}

/// A message as the text that goes through the queue.
pub(super) fn encode(message: &impl Serialize) -> String {
    // Structs of strings always become JSON.
    serde_json::to_string(message).unwrap_or_default()
}

/// Backs up, verifies or drills the vault that a message names.
pub(super) async fn do_job(connections: &Connections, invocation: &Invocation, now: Timestamp) -> Result<Reply> {
    let message: JobMessage = invocation.message("job").inspect_err(|error| refused("BACKUP_QUEUE", error))?;
    if message.kind == OperationKind::Restore {
        let message = format!("Operation {} is a restore, which RESTORE_QUEUE is for.", message.operation_id);
        let error = Error::new(ErrorKind::InvalidInput, message);
        refused("BACKUP_QUEUE", &error);
        return Err(error);
    }
    let asked = message.operation();
    let repository = connections.repository(Role::Backup)?;
    let operation = repository.create_operation(&asked).await?.unwrap_or(asked);
    let next = message.round.and_then(|round| next_drill(connections.config(), round, Some(&message.vault), now));
    let next: Vec<String> = next.iter().map(encode).collect();
    if operation.status.is_final() {
        return Ok(ended_before(&operation).queue(next));
    }
    let attempts = attempts(invocation);
    let progress = Progress::default();
    if message.round.is_some() && attempts == Attempts::Last {
        // A failed invocation hands nothing on, and no other delivery follows: the round goes on instead.
        let operation = jobs::give_up_drill(connections, operation, &progress, now).await?;
        return Ok(ended_before(&operation).queue(next));
    }
    let reply = end(match operation.kind {
        OperationKind::Backup => jobs::back_up(connections, operation, attempts, &progress, now).await?,
        OperationKind::Verify => jobs::verify(connections, operation, attempts, &progress, now).await?.0,
        OperationKind::Drill => jobs::drill(connections, operation, attempts, &progress, now).await?,
        OperationKind::Restore => {
            let message = format!("Operation {} is a restore, which RESTORE_QUEUE is for.", operation.id);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    })?;
    Ok(reply.queue(next))
}

/// Restores what the operation of a message asks for.
pub(super) async fn restore(connections: &Connections, invocation: &Invocation, now: Timestamp) -> Result<Reply> {
    let message: RestoreMessage = invocation.message("job").inspect_err(|error| refused("RESTORE_QUEUE", error))?;
    let operation = connections.repository(Role::Restore)?.operation(message.operation_id).await?;
    if operation.status.is_final() {
        return Ok(ended_before(&operation));
    }
    let attempts = attempts(invocation);
    end(jobs::restore(connections, operation, None, attempts, &Progress::default(), now).await?)
}

fn attempts(invocation: &Invocation) -> Attempts {
    if invocation.dequeue_count() >= MOST_DELIVERIES { Attempts::Last } else { Attempts::MoreToCome }
}

fn refused(queue: &str, error: &Error) {
    event!(ERROR, name::MESSAGE_REFUSED, queue, message = %error.chain());
}

/// A message that comes again after its operation has ended: nothing is left to do, and it must leave the queue.
fn ended_before(operation: &Operation) -> Reply {
    Reply::default().log(format!("Operation {} ended before: {}.", operation.id, operation.status))
}

/// A run that leaves anything unprotected or not restored ends as a failed invocation, so that Azure Monitor sees it.
/// The host delivers the message once more and then learns that the operation has ended.
fn end(operation: Operation) -> Result<Reply> {
    let message = operation.message.unwrap_or_default();
    if operation.status == crate::report::Status::Succeeded {
        return Ok(Reply::default().log(message));
    }
    Err(Error::new(ErrorKind::Refused, format!("Operation {} ended {}: {message}", operation.id, operation.status)))
}
