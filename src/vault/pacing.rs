//! How fast one vault is asked: politely below its quota, and slower as soon as it says so.
//!
//! [`Pace`] is the pure core: it says when the next request may go and learns from the answers. [`Pacing`] puts it into
//! the pipeline of every client of one vault as a per-try policy, so that probes, pages and retries all count.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use azure_core::http::{
    Context, Request, StatusCode,
    headers::{AUTHORIZATION, RETRY_AFTER},
    policies::{Policy, PolicyResult},
};
use tokio::time::Instant;

/// Requests per second without a setting: a quarter of the 4,000 transactions in 10 seconds that Azure grants a vault
/// (Microsoft Learn, "Azure Key Vault service limits"), which leaves three quarters to the applications.
pub const DEFAULT_REQUESTS_PER_SECOND: f64 = 100.0;

/// One request in so many may be a restore: 25 restores per second at [`DEFAULT_REQUESTS_PER_SECOND`], which is 250 of
/// the 300 creations and imports in 10 seconds that Azure grants a vault (same page). It does not say where restores
/// count; this is the smaller of the two possible quotas. Whoever raises the requests per second raises the restores
/// with them; above 120 requests per second they exceed that quota, and the vault's refusals set the pace.
pub const REQUESTS_PER_RESTORE: f64 = 4.0;

/// A `Retry-After` longer than this is cut to it: the run goes on asking, slowly, instead of sleeping through its time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause after the first refusal; doubled for each that follows. Microsoft's throttling guidance: 1, 2, 4, 8, 16 s.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 4;

/// How long it takes to climb from nothing back to the full rate.
const RECOVERY: Duration = Duration::from_secs(30);

/// Never slower than this many requests per second: a run must come to an end.
const SLOWEST: f64 = 0.5;

/// When requests of one sort may go. Additive increase, multiplicative decrease.
#[derive(Debug)]
struct Pace {
    most: f64,
    rate: f64,
    next: Instant,
    /// Answers to requests sent before this moment say nothing new about the present rate.
    slowed: Instant,
    refusals_in_a_row: u32,
}

impl Pace {
    fn new(requests_per_second: f64, now: Instant) -> Self {
        Self { most: requests_per_second, rate: requests_per_second, next: now, slowed: now, refusals_in_a_row: 0 }
    }

    /// Reserves the next free moment for one request.
    fn reserve(&mut self, now: Instant) -> Instant {
        // A tenth of a second of unused time may be caught up: timers are not exact.
        let earliest = now.checked_sub(Duration::from_millis(100)).unwrap_or(now);
        let slot = self.next.max(earliest);
        self.next = slot + Duration::from_secs_f64(1.0 / self.rate);
        slot.max(now)
    }

    fn refused(&mut self, sent: Instant, retry_after: Option<Duration>, now: Instant) {
        if sent < self.slowed {
            return;
        }
        let pause = FIRST_PAUSE * 2_u32.pow(self.refusals_in_a_row.min(MOST_DOUBLINGS));
        let pause = retry_after.unwrap_or(pause).min(LONGEST_PAUSE);
        self.refusals_in_a_row += 1;
        self.rate = (self.rate / 2.0).max(SLOWEST.min(self.most));
        self.slowed = now;
        self.next = self.next.max(now + pause);
    }

    fn answered(&mut self, sent: Instant) {
        if sent >= self.slowed {
            self.refusals_in_a_row = 0;
            // Every answer earns the share of the full rate that brings it back within RECOVERY at the present pace.
            let step = self.most / (RECOVERY.as_secs_f64() * self.rate);
            self.rate = (self.rate + step).min(self.most);
        }
    }
}

/// What the pacing of a vault has seen; for progress and events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent, probes and retries included.
    pub requests: u64,
    /// Answers that asked for fewer requests (429).
    pub throttled: u64,
}

/// The pacing of one vault, shared by all its clients.
pub struct Pacing {
    inner: Mutex<Inner>,
}

struct Inner {
    all: Pace,
    restores: Pace,
    traffic: Traffic,
    /// When 429s came, newest last, for the state shown to people.
    refusals: VecDeque<Instant>,
}

impl Pacing {
    /// Allows so many requests per second, of which one in [`REQUESTS_PER_RESTORE`] may be a restore.
    pub fn new(requests_per_second: f64) -> Arc<Self> {
        let now = Instant::now();
        let inner = Inner {
            all: Pace::new(requests_per_second, now),
            restores: Pace::new(requests_per_second / REQUESTS_PER_RESTORE, now),
            traffic: Traffic::default(),
            refusals: VecDeque::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// How many restores a second are sent when nothing is refused.
    pub fn restores_per_second(&self) -> f64 {
        self.lock().restores.most
    }

    /// What was sent and refused so far.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    /// Whether the vault asked for fewer requests within the last ten seconds.
    pub fn is_throttled(&self) -> bool {
        self.lock().refusals.back().is_some_and(|last| last.elapsed() < Duration::from_secs(10))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, restore: bool) -> Instant {
        let mut inner = self.lock();
        let now = Instant::now();
        let slot = inner.all.reserve(now);
        if restore { slot.max(inner.restores.reserve(now)) } else { slot }
    }

    fn learn(&self, restore: bool, sent: Instant, status: Option<StatusCode>, retry_after: Option<Duration>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let now = Instant::now();
        inner.traffic.requests += 1;
        let pace = if restore { &mut inner.restores } else { &mut inner.all };
        match status {
            Some(StatusCode::TooManyRequests) => {
                inner.traffic.throttled += 1;
                inner.refusals.push_back(now);
                if inner.refusals.len() > 100 {
                    inner.refusals.pop_front();
                }
                pace.refused(sent, retry_after, now);
            }
            Some(_) => pace.answered(sent),
            None => (),
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
        let restore = is_restore(request);
        let turn = self.reserve(restore);
        let wait = turn.saturating_duration_since(Instant::now());
        // Nobody counts it when the caller has no time limit.
        let _ = WAITED.try_with(|waited| waited.fetch_add(wait.as_millis() as u64, Ordering::Relaxed));
        tokio::time::sleep_until(turn).await;
        let sent = Instant::now();
        let result = next[0].send(context, request, &next[1..]).await;
        let response = result.as_ref().ok();
        let retry_after = response.and_then(|response| {
            let seconds: u64 = response.headers().get_optional_string(&RETRY_AFTER)?.trim().parse().ok()?;
            Some(Duration::from_secs(seconds))
        });
        self.learn(restore, sent, response.map(|response| response.status()), retry_after);
        result
    }
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

/// Whether the request can create an item. Without a token it only asks which token is wanted: a run that restores many
/// items at once begins with as many such questions, which must not take the turns of restores.
fn is_restore(request: &Request) -> bool {
    request.url().path().ends_with("/restore") && request.headers().get_optional_str(&AUTHORIZATION).is_some()
}

#[cfg(test)]
mod tests {
    use azure_core::http::{Method, Url};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_spread_evenly_over_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(100.0, start);
        let last = (0..1000).map(|_| pace.reserve(start)).last().unwrap();
        let took = (last - start).as_secs_f64();
        assert!((9.8..=10.0).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_burst_of_refusals_halves_the_rate_once_and_pauses() {
        let start = Instant::now();
        let mut pace = Pace::new(100.0, start);
        for _ in 0..20 {
            pace.refused(start, None, start + Duration::from_millis(5));
        }
        assert!((pace.rate - 50.0).abs() < 0.01, "{}", pace.rate);
        assert!(pace.reserve(start) >= start + FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_is_honoured_and_bounded() {
        let start = Instant::now();
        let mut pace = Pace::new(100.0, start);
        pace.refused(start, Some(Duration::from_secs(7)), start);
        assert_eq!(pace.reserve(start), start + Duration::from_secs(7));
        let mut pace = Pace::new(100.0, start);
        pace.refused(start, Some(Duration::from_secs(3600)), start);
        assert_eq!(pace.reserve(start), start + LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_full_rate_is_back_half_a_minute_after_the_last_refusal() {
        let mut now = Instant::now();
        let mut pace = Pace::new(100.0, now);
        for _ in 0..10 {
            pace.refused(now, None, now);
            now += Duration::from_secs(20);
        }
        assert!(pace.rate < 1.0);
        let calm = now;
        while pace.rate < 100.0 {
            now = pace.reserve(now);
            pace.answered(now);
        }
        assert!((now - calm) < Duration::from_secs(60), "{:?}", now - calm);
    }

    #[tokio::test(start_paused = true)]
    async fn restores_are_a_quarter_of_the_requests_whatever_the_rate() {
        for (requests, restores) in [(DEFAULT_REQUESTS_PER_SECOND, 25), (4.0 * DEFAULT_REQUESTS_PER_SECOND, 100)] {
            let start = Instant::now();
            let pacing = Pacing::new(requests);
            let last = (0..10 * restores).fold(start, |_, _| pacing.reserve(true));
            let took = (last - start).as_secs_f64();
            assert!((9.8..=10.0).contains(&took), "{restores} restores per second took {took} s for ten");
        }
    }

    #[test]
    fn asking_which_token_is_wanted_takes_no_turn_of_a_restore() {
        let request = |path: &str| {
            let url: Url = format!("https://contoso.vault.azure.net/{path}?api-version=7.6").parse().unwrap();
            Request::new(url, Method::Post)
        };
        let mut restore = request("secrets/restore");
        assert!(!is_restore(&restore));
        restore.insert_header(AUTHORIZATION, "Bearer token");
        assert!(is_restore(&restore));
        let mut backup = request("secrets/restore/backup");
        backup.insert_header(AUTHORIZATION, "Bearer token");
        assert!(!is_restore(&backup));
    }
}
