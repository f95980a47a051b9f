//! Whether answers of one sort take longer than they should: pure, without a clock.
//!
//! Compared are the quickest answers, as LEDBAT (RFC 6817) does: an item with many versions is slow by itself, but a vault
//! that is busy has no quick answers left.

use std::time::Duration;

use super::pace::Moment;

/// So many answers make a comparison. Slow items in a row must not look like a busy vault.
const SAMPLE: u32 = 16;

/// A comparison counts for so long.
const FRESH: Duration = Duration::from_secs(5);

/// What is usual is the quickest answer of so much time: a vault that has become slower for good is not waited for.
const HISTORY: Duration = Duration::from_secs(300);

/// Rising is more than double what is usual, and this much beside: networks and this machine have their moods.
const TOLERANCE: Duration = Duration::from_millis(50);

/// How long answers of one sort take.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// The quickest answers of the present and of the past stretch of [`HISTORY`].
    present: Option<Duration>,
    past: Option<Duration>,
    began: Moment,
    sample: Option<Duration>,
    answers: u32,
    /// When the last sample was full, and whether it was slow.
    judged: Option<(Moment, bool)>,
}

impl Latency {
    /// An answer took so long. Says whether this made a comparison.
    pub(super) fn took(&mut self, took: Duration, now: Moment) -> bool {
        if now >= self.began + HISTORY {
            self.past = self.present.take();
            self.began = now;
        }
        let quickest = |known: Option<Duration>| Some(known.map_or(took, |known| known.min(took)));
        self.present = quickest(self.present);
        self.sample = quickest(self.sample);
        self.answers += 1;
        if self.answers < SAMPLE {
            return false;
        }
        let sample = self.sample.take().unwrap_or(took);
        let usual = self.present.into_iter().chain(self.past).min().unwrap_or(sample);
        self.judged = Some((now, sample > usual * 2 + TOLERANCE));
        self.answers = 0;
        true
    }

    /// Whether answers are slow just now; `None` when nothing is known.
    pub(super) fn slow(&self, now: Moment) -> Option<bool> {
        self.judged.filter(|(at, _)| now < *at + FRESH).map(|(_, slow)| slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(latency: &mut Latency, now: &mut Moment, count: u32, took: impl Fn(u32) -> u64) {
        for number in 0..count {
            *now += Duration::from_millis(50);
            latency.took(Duration::from_millis(took(number)), *now);
        }
    }

    #[test]
    fn a_vault_whose_quickest_answers_become_slow_is_busy() {
        let (mut latency, mut now) = (Latency::default(), Duration::ZERO);
        answers(&mut latency, &mut now, 64, |number| 20 + u64::from(number % 5));
        assert_eq!(latency.slow(now), Some(false));
        answers(&mut latency, &mut now, 32, |number| 120 + u64::from(number % 5));
        assert_eq!(latency.slow(now), Some(true));
        assert_eq!(latency.slow(now + FRESH), None);
    }

    #[test]
    fn items_with_many_versions_are_not_a_busy_vault() {
        let (mut latency, mut now) = (Latency::default(), Duration::ZERO);
        answers(&mut latency, &mut now, 64, |_| 20);
        answers(&mut latency, &mut now, 64, |number| if number % 8 == 0 { 25 } else { 3_000 });
        assert_eq!(latency.slow(now), Some(false));
    }

    #[test]
    fn what_has_become_slow_for_good_is_usual_after_ten_minutes() {
        let (mut latency, mut now) = (Latency::default(), Duration::ZERO);
        answers(&mut latency, &mut now, 64, |_| 20);
        answers(&mut latency, &mut now, 6_000, |_| 150);
        assert_eq!(latency.slow(now), Some(true));
        answers(&mut latency, &mut now, 8_000, |_| 150);
        assert_eq!(latency.slow(now), Some(false));
    }
}
