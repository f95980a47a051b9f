//! What time it is for the simulated Azure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// The simulator's only source of time: a start plus what `tokio` says has passed since.
///
/// In a test with a paused `tokio` clock time stands still and jumps with the timers, so a delete that takes ten
/// seconds takes none. Clones share the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    base_millis: i64,
    start: Instant,
    advanced_millis: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that starts at the time of this machine.
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at_millis(since_epoch.as_millis() as i64)
    }

    /// A clock that starts at `unix` seconds.
    pub fn starting_at(unix: i64) -> Self {
        Self::starting_at_millis(unix * 1000)
    }

    /// Unix seconds, rounded down.
    pub fn now(&self) -> i64 {
        self.now_millis().div_euclid(1000)
    }

    /// Unix milliseconds.
    pub fn now_millis(&self) -> i64 {
        let passed = Instant::now().saturating_duration_since(self.start).as_millis() as i64;
        self.base_millis + passed + self.advanced_millis.load(Ordering::Relaxed)
    }

    /// Jumps ahead without waiting, for every clone.
    pub fn advance(&self, by: Duration) {
        self.advanced_millis.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
    }

    /// Jumps back, for every clone.
    pub fn set_back(&self, by: Duration) {
        self.advanced_millis.fetch_sub(by.as_millis() as i64, Ordering::Relaxed);
    }

    fn starting_at_millis(base_millis: i64) -> Self {
        Self { base_millis, start: Instant::now(), advanced_millis: Arc::default() }
    }
}
