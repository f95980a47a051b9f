//! One bounded way to try again, around every call. The SDK's own retries are off: they sleep as long as a
//! `Retry-After` says, however long that is, and their limits do not cover a server that never answers.

use std::future::Future;
use std::time::Duration;

use azure_core::error::ErrorKind as Cause;
use tokio::time::{Instant, sleep, timeout_at};

use super::refusal::{Answer, is_transient};
use crate::{measure, store::DEADLINE};

/// Attempts in all.
const TRIES: u32 = 8;

/// How long one attempt may take. Leaves room for a second one within [`DEADLINE`] when a server never answers.
const ATTEMPT: Duration = Duration::from_secs(50);

/// The longest pause after the first failure; it doubles with each further one up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// As far as a `Retry-After` is believed. More would use up the deadline in one sleep.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// When a call of the store that begins now has to end, however many requests it takes.
pub(super) fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

/// Calls until it succeeds, fails for good, or the time is up; then the last failure is the answer.
pub(super) async fn with_retries<T, F>(deadline: Instant, mut call: impl FnMut() -> F) -> azure_core::Result<T>
where
    F: Future<Output = azure_core::Result<T>>,
{
    let mut failures = 0;
    loop {
        let error = match timeout_at(deadline.min(Instant::now() + ATTEMPT), call()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error,
            Err(_) => azure_core::Error::with_message(Cause::Io, "The server did not answer in time."),
        };
        failures += 1;
        let pause = pause(failures, Answer::of(&error).and_then(|answer| answer.retry_after));
        if !is_transient(&error) || failures >= TRIES || Instant::now() + pause >= deadline {
            return Err(error);
        }
        measure!("retry", service = "storage", count = 1_u64);
        tracing::debug!(failures, ?pause, "a storage call failed and is tried again");
        sleep(pause).await;
    }
}

/// Full jitter: clients that failed together do not come back together.
fn pause(failures: u32, retry_after: Option<Duration>) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST_PAUSE);
    longest.mul_f64(rand::random::<f64>()).max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for failures in 1..100 {
            assert!(pause(failures, None) <= LONGEST_PAUSE);
            assert!(pause(1, None) <= FIRST_PAUSE);
            assert_eq!(pause(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
            assert_eq!(pause(failures, Some(Duration::from_secs(600))), LONGEST_RETRY_AFTER);
        }
    }
}
