//! How much was answered in the last seconds: pure, without a clock.

use std::time::Duration;

use super::pace::Moment;

/// The length of the windows in which Azure counts (Microsoft Learn, "Azure Key Vault service limits"), and so for how long
/// it is remembered how much was answered.
const WINDOW_SECONDS: usize = 10;

/// How much was answered lately.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    began: Moment,
    /// By second, modulo their number; with the second they belong to.
    seconds: [(u64, u32); WINDOW_SECONDS],
}

impl Counter {
    pub(super) fn new(now: Moment) -> Self {
        Self { began: now, seconds: [(0, 0); WINDOW_SECONDS] }
    }

    /// One more.
    pub(super) fn count(&mut self, now: Moment) {
        let second = now.as_secs();
        let slot = &mut self.seconds[second as usize % WINDOW_SECONDS];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 += 1;
    }

    /// How many a second in the last ten seconds.
    pub(super) fn per_second(&self, now: Moment) -> f64 {
        let second = now.as_secs();
        let recent = self.seconds.iter().filter(|(of, _)| of + WINDOW_SECONDS as u64 > second && *of <= second);
        let counted: u32 = recent.map(|(_, count)| count).sum();
        // The present second is not over.
        let span = (now - Duration::from_secs((second + 1).saturating_sub(WINDOW_SECONDS as u64))).as_secs_f64();
        let span = span.min(now.saturating_sub(self.began).as_secs_f64());
        f64::from(counted) / span.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_last_ten_seconds_count_and_what_was_before_is_forgotten() {
        let mut counter = Counter::new(Moment::ZERO);
        assert_eq!(counter.per_second(Moment::ZERO), 0.0);
        // So many in each second of the first half minute.
        for second in 0..30 {
            (0..second + 1).for_each(|number| counter.count(SECOND * second + SECOND / 100 * number));
        }
        // From 21 to 30.
        let at_the_end = counter.per_second(30 * SECOND - SECOND / 1_000_000);
        assert!((25.49..25.51).contains(&at_the_end), "{at_the_end}");
        let later = |seconds: u32| counter.per_second(SECOND * (30 + seconds));
        assert!(later(4) < 20.0 && later(9) < later(4), "{} {}", later(4), later(9));
        assert_eq!(later(10), 0.0);
    }

    #[test]
    fn what_has_just_begun_is_not_counted_as_if_a_second_had_passed() {
        let mut counter = Counter::new(20 * SECOND);
        (0..5).for_each(|_| counter.count(20 * SECOND));
        assert_eq!(counter.per_second(20 * SECOND + SECOND / 10), 5.0);
        assert_eq!(counter.per_second(22 * SECOND), 2.5);
    }
}
