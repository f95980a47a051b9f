//! How fast one vault is asked: politely below its quota, and slower as soon as it says so.
//!
//! The core is pure: [`pace`] finds out a quota, [`counter`] knows how much was answered, [`latency`] whether a vault is
//! busy, and [`budget`] which quota a refusal means. [`Pacing`] puts them into the pipeline of every client of one vault as
//! a per-try policy, so that probes, pages and retries all count. Why it is made like this:
//! `docs/decisions/0025-pacing-finds-the-quota.md`.

mod budget;
mod counter;
mod latency;
mod pace;
mod sort;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use azure_core::{
    http::{
        Context, Request, StatusCode,
        headers::{HeaderName, Headers, RETRY_AFTER},
        policies::{Policy, PolicyResult},
    },
    time::parse_rfc7231,
};
use tokio::time::Instant;

use self::{
    budget::Budget,
    pace::{Moment, Turns},
    sort::Sort,
};

/// Requests per second without a setting: a quarter of the 4,000 transactions in 10 seconds that Azure grants a vault
/// (Microsoft Learn, "Azure Key Vault service limits"), which leaves three quarters to the applications.
pub const DEFAULT_REQUESTS_PER_SECOND: f64 = pace::QUOTA / 4.0;

/// From so many requests per second on, ten times the quota of a vault, the pace starts at the full rate and assumes nothing
/// about quotas: no vault of Azure can be meant.
pub const FOR_EMULATORS: f64 = pace::FOR_EMULATORS;

/// All vaults of a subscription in one region may together be asked so many times what one may (same page).
pub const VAULTS_PER_SUBSCRIPTION: f64 = 5.0;

/// A vault counts as throttled for so long after its last refusal: the windows in which Azure counts.
const THROTTLED_FOR: Duration = Duration::from_secs(10);

/// What the pacing of a vault has seen; for progress and events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent, probes and retries included.
    pub requests: u64,
    /// Answers that asked for fewer requests (429).
    pub throttled: u64,
}

/// How a vault is paced at this moment; for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Requests per second that are allowed now.
    pub requests_per_second: f64,
    /// Whether the vault asked for fewer requests within the last ten seconds.
    pub throttled: bool,
    /// What was sent and refused so far.
    pub traffic: Traffic,
}

/// What all vaults may be asked together.
#[derive(Debug)]
pub struct Total {
    requests_per_second: f64,
    start: Instant,
    turns: Mutex<Turns>,
}

impl Total {
    /// Allows so many requests per second to all vaults that share this.
    pub fn new(requests_per_second: f64) -> Arc<Self> {
        let turns = Mutex::new(Turns::new(Moment::ZERO));
        Arc::new(Self { requests_per_second, start: Instant::now(), turns })
    }

    fn reserve(&self) -> Instant {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        self.start + turns.take(self.requests_per_second, self.start.elapsed())
    }
}

/// The pacing of one vault, shared by all its clients.
pub struct Pacing {
    total: Option<Arc<Total>>,
    start: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    budget: Budget,
    traffic: Traffic,
    refused: Option<Moment>,
}

impl Pacing {
    /// Allows at most so many requests per second.
    pub fn new(requests_per_second: f64) -> Arc<Self> {
        Self::make(requests_per_second, None)
    }

    /// The same for one of several vaults that share a total.
    pub fn sharing(requests_per_second: f64, total: &Arc<Total>) -> Arc<Self> {
        Self::make(requests_per_second, Some(total.clone()))
    }

    fn make(requests_per_second: f64, total: Option<Arc<Total>>) -> Arc<Self> {
        let budget = Budget::new(requests_per_second, Moment::ZERO);
        let inner = Mutex::new(Inner { budget, traffic: Traffic::default(), refused: None });
        Arc::new(Self { total, start: Instant::now(), inner })
    }

    /// How many restores a second can be expected.
    pub fn restores_per_second(&self) -> f64 {
        self.lock().budget.restores()
    }

    /// What was sent and refused so far.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    /// Whether the vault asked for fewer requests within the last ten seconds.
    pub fn is_throttled(&self) -> bool {
        self.look().throttled
    }

    /// How the vault is paced at this moment.
    pub fn look(&self) -> Look {
        let inner = self.lock();
        let throttled = inner.refused.is_some_and(|last| self.start.elapsed() < last + THROTTLED_FOR);
        Look { requests_per_second: inner.budget.rate(), throttled, traffic: inner.traffic }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the request may be sent.
    async fn turn(&self, sort: Sort) {
        loop {
            let turn = self.start + self.lock().budget.reserve(sort, self.start.elapsed());
            self.sleep(turn).await;
            // Meanwhile another request may have been refused: then this turn is void.
            if !self.lock().budget.holds(sort, self.start.elapsed()) {
                break;
            }
        }
        if let Some(total) = &self.total {
            self.sleep(total.reserve()).await;
        }
    }

    async fn sleep(&self, until: Instant) {
        let wait = until.saturating_duration_since(Instant::now());
        // Nobody counts it when the caller has no time limit.
        let _ = WAITED.try_with(|waited| waited.fetch_add(wait.as_millis() as u64, Ordering::Relaxed));
        tokio::time::sleep_until(until).await;
    }

    fn learn(&self, sort: Sort, sent: Moment, answer: Option<(StatusCode, Option<Duration>)>) {
        let now = self.start.elapsed();
        let mut inner = self.lock();
        inner.traffic.requests += 1;
        match answer {
            Some((StatusCode::TooManyRequests, retry_after)) => {
                inner.traffic.throttled += 1;
                inner.refused = Some(now);
                inner.budget.refused(sort, sent, retry_after, fastrand::f64(), now);
            }
            // A vault that fails says nothing about its quota.
            Some((status, _)) if !status.is_server_error() => inner.budget.answered(sort, sent, now),
            _ => (),
        }
    }
}

impl fmt::Debug for Pacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pacing").finish_non_exhaustive()
    }
}

#[async_trait]
impl Policy for Pacing {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let sort = Sort::of(request);
        self.turn(sort).await;
        let sent = self.start.elapsed();
        let result = next[0].send(context, request, &next[1..]).await;
        let answer = result.as_ref().ok().map(|response| (response.status(), retry_after(response.headers())));
        self.learn(sort, sent, answer);
        result
    }
}

/// How long the answer asks to wait, in either form of RFC 9110. A date is taken from that of the answer, so that no two
/// clocks are compared; one that is past is no wait.
fn retry_after(headers: &Headers) -> Option<Duration> {
    let value = headers.get_optional_str(&RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = headers.get_optional_str(&HeaderName::from_static("date"))?;
    let wait = parse_rfc7231(value).ok()? - parse_rfc7231(now.trim()).ok()?;
    Some(wait.try_into().unwrap_or_default())
}

tokio::task_local! {
    /// Milliseconds for which the work in [`within`] has waited for its turns.
    static WAITED: Arc<AtomicU64>;
}

/// Does `work`, which may take so long beside waiting for its turns; `None` when it takes longer. Many requests at a
/// slow pace wait for minutes before they are sent: that is no sign that the vault does not answer, and to give up then
/// would only waste the turn.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let waited = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let work = WAITED.scope(waited.clone(), work);
    tokio::pin!(work);
    let mut end = start + limit;
    loop {
        if let Ok(result) = tokio::time::timeout_at(end, &mut work).await {
            return Some(result);
        }
        let later = start + limit + Duration::from_millis(waited.load(Ordering::Relaxed));
        if later <= end {
            return None;
        }
        end = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.insert(HeaderName::from_static(name), *value);
        }
        headers
    }

    #[test]
    fn both_forms_of_a_retry_after_are_read_and_none_is_negative() {
        let seconds = |pairs: &[(&'static str, &'static str)]| retry_after(&headers(pairs)).map(|it| it.as_secs());
        let date = ("date", "Sun, 22 Nov 2026 02:00:00 GMT");
        assert_eq!(seconds(&[("retry-after", "7")]), Some(7));
        assert_eq!(seconds(&[("retry-after", "Sun, 22 Nov 2026 02:00:30 GMT"), date]), Some(30));
        assert_eq!(seconds(&[("retry-after", "Sun, 22 Nov 2026 01:00:00 GMT"), date]), Some(0));
        for odd in ["-5", "soon", "1.5", "Sun, 22 Nov", ""] {
            assert_eq!(seconds(&[("retry-after", odd), date]), None, "{odd}");
        }
        assert_eq!(seconds(&[("retry-after", "Sun, 22 Nov 2026 02:00:30 GMT")]), None, "there is no date to compare");
        assert_eq!(seconds(&[date]), None);
    }
}
