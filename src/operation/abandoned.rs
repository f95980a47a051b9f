//! Operations that nobody will finish: which they are, and how they are shown. Pure; the timer makes it final.

use std::time::Duration;

use crate::{
    error::{Error, ErrorKind},
    model::Timestamp,
    report::{Problem, Status},
    repository::operation::{Operation, OperationKind},
};

/// How long an attempt may be silent before it counts as dead. Its record is written every
/// [`super::SIGN_OF_LIFE`]; one write takes at most two minutes ([`crate::store::DEADLINE`]), two clocks may differ by
/// five, and the rest is for a storage that fails for a while.
pub const SILENCE: Duration = Duration::from_secs(15 * 60);

/// How long a queue message lives unless it is told otherwise, and the host does not (Azure Queue Storage, Put Message:
/// seven days). Whatever has happened to a message, nobody is given it after that.
pub const MESSAGE_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// Why no worker will ever finish the operation; `None` when it has ended, or when one still may.
///
/// Silence alone proves nothing while the queue may deliver again: a message waits as long as the app is stopped or
/// other messages are before it. So an attempt that is followed by no other is given up when it is silent, and all else
/// when no message can be left.
pub fn reason(operation: &Operation, now: Timestamp) -> Option<Error> {
    let longer_ago = |moment: Timestamp, time: Duration| moment.plus(time) < now;
    let Operation { kind, status, created_at, updated_at, attempts, progress, .. } = operation;
    let no_message = longer_ago(*created_at, MESSAGE_LIFE);
    let why = match status {
        Status::NotStarted if no_message => format!(
            "No worker has begun with this {} since it was asked for at {created_at}, and a queue keeps a message for 7 \
             days: it was lost, or it is in the poison queue.",
            kind.as_str()
        ),
        Status::Running if longer_ago(*updated_at, SILENCE) && (operation.last_attempt || no_message) => format!(
            "Attempt {attempts} at this {}, the last one, was heard of at {updated_at} for the last time, with {} of {} \
             items dealt with: its process was ended, perhaps for want of memory or time.",
            kind.as_str(),
            progress.done,
            progress.total
        ),
        _ => return None,
    };
    Some(Error::new(ErrorKind::Abandoned, format!("{why} {}", what_to_do(*kind))))
}

fn what_to_do(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Backup => "Start the backup again; if that is the end of it too, look at the app's memory.",
        OperationKind::Restore => "Start the restore again: what is restored already is recognised.",
        OperationKind::Verify => "Start the verification again.",
        OperationKind::Drill => "Look for what it left in the drill vault, then start the drill again.",
    }
}

/// The operation as it is to be shown at that moment: ended, if nobody will finish it.
#[must_use]
pub fn seen_at(operation: Operation, now: Timestamp) -> Operation {
    match reason(&operation, now) {
        Some(reason) => given_up(operation, &reason),
        None => operation,
    }
}

/// The operation as it ended: at the moment it was last heard of, with what was said of its last attempt beside the
/// reason.
fn given_up(mut operation: Operation, reason: &Error) -> Operation {
    operation.status = Status::Failed;
    operation.finished_at = Some(operation.updated_at);
    operation.message = Some(reason.message().to_owned());
    operation.problems.insert(0, Problem::from(reason));
    operation
}

/// Whether it ended this way. A person may have it taken up again; the queue may not.
pub fn is_given_up(operation: &Operation) -> bool {
    let given_up = ErrorKind::Abandoned.code();
    operation.status == Status::Failed && operation.problems.first().is_some_and(|problem| problem.code == given_up)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const ASKED: i64 = 1_795_226_400;

    fn operation(status: Status, last_attempt: bool, heard: Duration) -> Operation {
        let at = Timestamp::from_unix(ASKED);
        let vault = "contoso-prod".parse().unwrap();
        let mut operation = Operation::new(Uuid::nil(), OperationKind::Restore, vault, json!({}), at);
        operation.status = status;
        operation.last_attempt = last_attempt;
        operation.updated_at = at.plus(heard);
        operation
    }

    #[test]
    fn only_what_nobody_can_finish_is_given_up() {
        let (hour, day, week) = (Duration::from_secs(3600), Duration::from_secs(86_400), MESSAGE_LIFE);
        let second = Duration::from_secs(1);
        let cases = [
            // No worker yet: as long as the message may live.
            (Status::NotStarted, false, Duration::ZERO, week, false),
            (Status::NotStarted, false, Duration::ZERO, week + second, true),
            // Another delivery may come, after a weekend on which the app was stopped.
            (Status::Running, false, hour, 3 * day, false),
            (Status::Running, false, hour, week + second, true),
            // It is late, and still being worked at.
            (Status::Running, false, week, week + SILENCE, false),
            (Status::Running, false, week, week + SILENCE + second, true),
            // Nobody comes after this one.
            (Status::Running, true, hour, hour + SILENCE, false),
            (Status::Running, true, hour, hour + SILENCE + second, true),
            // The clock of whoever asks is behind.
            (Status::Running, true, hour, Duration::ZERO, false),
        ];
        for (status, last, heard, asked, given_up) in cases {
            let now = Timestamp::from_unix(ASKED).plus(asked);
            let operation = operation(status, last, heard);
            assert_eq!(reason(&operation, now).is_some(), given_up, "{status} {last} {heard:?} {asked:?}");
            let seen = seen_at(operation.clone(), now);
            assert_eq!(is_given_up(&seen), given_up);
            assert_eq!(seen == operation, !given_up);
            assert_eq!(seen_at(seen.clone(), now), seen, "what has ended stays as it is");
        }
        for status in [Status::Succeeded, Status::PartiallySucceeded, Status::Failed] {
            let ended = operation(status, true, Duration::ZERO);
            assert!(reason(&ended, Timestamp::from_unix(ASKED).plus(52 * week)).is_none());
        }
    }

    #[test]
    fn what_was_said_of_the_last_attempt_is_kept_beside_the_reason() {
        let mut operation = operation(Status::Running, true, Duration::ZERO);
        let earlier = Problem { code: "Throttled".into(), message: "Too many requests.".into(), target: None };
        operation.problems = vec![earlier.clone()];
        operation.attempts = 5;
        let seen = seen_at(operation, Timestamp::from_unix(ASKED).plus(2 * SILENCE));
        assert_eq!((seen.problems.len(), &seen.problems[1]), (2, &earlier));
        let message = seen.message.unwrap();
        assert!(
            message.starts_with("Attempt 5 at this restore, the last one, was heard of at 2026-11-21T"),
            "{message}"
        );
        assert!(message.ends_with("Start the restore again: what is restored already is recognised."), "{message}");
        assert_eq!(seen.finished_at, Some(Timestamp::from_unix(ASKED)));
    }
}
