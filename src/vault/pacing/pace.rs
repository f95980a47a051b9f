//! When the next request may go, and what refusals and good answers teach: pure, without a clock.
//!
//! A quota is found like this. The rate approaches the ceiling, which is at first a guess; at the ceiling it creeps upwards,
//! faster the longer nothing is refused. A refusal puts the ceiling a little below the rate at which it came, and the
//! longer the refusals last, the lower: who runs out of a quota that is counted in windows long before the window's end has
//! asked for far too much. A ceiling that is found again where it was is not tried again soon.

use std::time::Duration;

use super::counter::Counter;

/// A moment: the time since the pacing began.
pub(super) type Moment = Duration;

/// What a vault answers in ten seconds (Microsoft Learn, "Azure Key Vault service limits"), per second.
pub(super) const QUOTA: f64 = 400.0;

/// No vault of Azure answers so many requests per second, ten times its quota: who sets as many talks to an emulator, and
/// starts at the full rate.
pub(super) const FOR_EMULATORS: f64 = 10.0 * QUOTA;

/// A `Retry-After` longer than this is cut to it: the run goes on asking, slowly, instead of sleeping through its time.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause after the first refusal; doubled for each that follows. Microsoft's throttling guidance: 1, 2, 4, 8, 16 s.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 4;

/// Never slower than this many requests per second: a run must come to an end.
pub(super) const SLOWEST: f64 = 0.5;

/// Unused time that may be caught up: timers are not exact.
pub(super) const BURST: Duration = Duration::from_millis(100);

/// The first requests are sent at a quarter of the ceiling, within these bounds, until the first answers are in.
const FIRST_RATES: (f64, f64) = (25.0, 100.0);

/// From nothing to the ceiling in so many seconds: at first, with a setting above the quarter of the quota that is the
/// default, and after refusals.
const FIRST_CLIMB: f64 = 10.0;
const BOLD_CLIMB: f64 = 1.5;
const CLIMB: f64 = 30.0;

/// The ceiling is put this far below the rate at which the refusals began,
const MARGIN: f64 = 0.985;

/// or this far when that is well below the quota that is documented, because then somebody else lives on it too; whose use
/// goes up and down.
const MARGIN_FOR_OTHERS: f64 = 0.92;
const WELL_BELOW: f64 = 0.9;

/// Then, and when the last refusals are so short a time ago, the way up begins at this share of the ceiling.
const SHARE_FOR_OTHERS: f64 = 0.85;
const SHARE_SO_SOON: f64 = 0.6;
const SO_SOON: Duration = Duration::from_secs(25);

/// For each second for which refusals last the ceiling is lower by this share, as the window of that length was too short,
const CEILING_PER_SECOND: f64 = 0.1;

/// and the way up begins so much lower; but one series of refusals never takes more than the last share off.
const START_PER_SECOND: f64 = 0.2;
const LEAST_SHARE: f64 = 0.2;

/// Above the ceiling the rate grows by this share of the ceiling in a second,
const CREEP: f64 = 0.0001;

/// and by this share of what it is above it,
const ACCELERATION: f64 = 0.06;

/// but never by more than this share of itself.
const FASTEST_GROWTH: f64 = 0.015;

/// How many times slower a ceiling is tried that is documented, and at most one that was found again where it was.
const DOCUMENTED_PATIENCE: f64 = 2.0;
const MOST_PATIENCE: f64 = 4.0;

/// All patience comes to an end, 63 % of it in so many seconds.
const PATIENCE_LASTS: f64 = 600.0;

/// What costs a pause of many seconds is tried as many times slower, at most:
const MOST_PATIENCE_FOR_COST: f64 = 10.0;

/// After rising latency: the share that is left of the rate,
const STRAINED: f64 = 0.8;

/// at least, however long it goes on: latency is a sign, and not a refusal;
const LEAST_STRAINED: f64 = 0.1;

/// and what of it comes back in a second: all of it within 45 seconds.
const RELIEF: f64 = 0.02;

/// Turns, one after the other at a rate.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    next: Moment,
}

impl Turns {
    /// The first turn is now.
    pub(super) fn new(now: Moment) -> Self {
        Self { next: now }
    }

    /// Takes the next free turn, of so many per second.
    pub(super) fn take(&mut self, per_second: f64, now: Moment) -> Moment {
        let turn = self.next.max(now.saturating_sub(BURST));
        self.next = turn + Duration::from_secs_f64(1.0 / per_second);
        turn.max(now)
    }
}

/// When requests of one sort may go.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    most: f64,
    documented: f64,
    rate: f64,
    ceiling: f64,
    climb: f64,
    patience: f64,
    /// Below 1 while answers take longer than they should.
    ease: f64,
    turns: Turns,
    /// Nothing is sent until then.
    held: Moment,
    /// Answers to requests sent before this moment say nothing new about the present rate.
    slowed: Moment,
    grown: Moment,
    outage: Option<Outage>,
    refused_before: Option<Moment>,
    refusals_in_a_row: u32,
    answered: Counter,
}

/// Refusals without a good answer between them.
#[derive(Clone, Debug)]
struct Outage {
    began: Moment,
    rate: f64,
    ceiling: f64,
    alone: bool,
    share: f64,
}

impl Pace {
    /// Never more than `most` requests per second, and not soon more than `quota`, which is documented.
    pub(super) fn new(most: f64, quota: f64, now: Moment) -> Self {
        let emulator = most >= FOR_EMULATORS;
        let ceiling = if emulator { most } else { (quota * MARGIN).min(most) };
        let rate = if emulator { most } else { (ceiling / 4.0).clamp(FIRST_RATES.0, FIRST_RATES.1).min(ceiling) };
        Self {
            most,
            documented: quota,
            rate,
            ceiling,
            climb: if ceiling > QUOTA / 4.0 { BOLD_CLIMB } else { FIRST_CLIMB },
            patience: DOCUMENTED_PATIENCE,
            ease: 1.0,
            turns: Turns::new(now),
            held: now,
            slowed: now,
            grown: now,
            outage: None,
            refused_before: None,
            refusals_in_a_row: 0,
            answered: Counter::new(now),
        }
    }

    /// The same, with a guess at the ceiling that is to be tried soon.
    pub(super) fn guessed(most: f64, quota: f64, guess: f64, now: Moment) -> Self {
        let pace = Self::new(most, quota, now);
        if most >= FOR_EMULATORS {
            return pace;
        }
        let ceiling = pace.ceiling.min(guess).max(SLOWEST.min(most));
        Self { rate: pace.rate.min(ceiling), ceiling, patience: 1.0, ..pace }
    }

    /// A pace for what was answered like this so far, and is refused now.
    pub(super) fn found(most: f64, answered: Counter, now: Moment) -> Self {
        let rate = answered.per_second(now).clamp(SLOWEST.min(most), most);
        Self { rate, ceiling: rate, patience: 1.0, answered, ..Self::new(most, rate, now) }
    }

    /// Whether a refusal of what was sent then is not one of a burst that is known.
    pub(super) fn is_news(&self, sent: Moment) -> bool {
        sent >= self.slowed
    }

    /// Forgets what it has learned since it was `before`.
    pub(super) fn revert(&mut self, before: Self) {
        let Self { rate, ceiling, patience, climb, held, .. } = before;
        *self = Self { rate, ceiling, patience, climb, held, outage: None, ..self.clone() };
    }

    /// Whether nothing was answered since the last refusal.
    pub(super) fn is_refused(&self) -> bool {
        self.outage.is_some()
    }

    /// Requests per second that are allowed now.
    pub(super) fn rate(&self) -> f64 {
        (self.rate * self.ease).max(SLOWEST.min(self.most))
    }

    /// Requests per second that are expected to be allowed for long.
    pub(super) fn ceiling(&self) -> f64 {
        self.ceiling
    }

    /// Reserves the next free moment for one request.
    pub(super) fn reserve(&mut self, now: Moment) -> Moment {
        let rate = self.rate();
        self.turns.take(rate, now)
    }

    /// Until when nothing may be sent. A turn that was reserved earlier is void.
    pub(super) fn held(&self) -> Moment {
        self.held
    }

    /// Holds everything until then.
    pub(super) fn hold(&mut self, until: Moment) {
        self.held = self.held.max(until);
        self.turns.next = self.turns.next.max(until);
    }

    /// A request sent at `sent` was refused. `jitter` is random, from 0 to 1.
    pub(super) fn refused(&mut self, sent: Moment, retry_after: Option<Duration>, jitter: f64, now: Moment) {
        if let Some(retry_after) = retry_after {
            self.hold(now + retry_after.min(LONGEST_PAUSE));
        }
        // One burst of refusals is one.
        if !self.is_news(sent) {
            return;
        }
        if retry_after.is_none() {
            self.hold(now + pause(self.refusals_in_a_row, jitter));
        }
        self.refusals_in_a_row += 1;
        self.slowed = now;
        let answered = self.answered.per_second(now);
        let (rate, soon) = (self.rate(), self.refused_before.is_some_and(|before| now < before + SO_SOON));
        self.refused_before = Some(now);
        let outage = self.outage.get_or_insert_with(|| {
            // Who has sent little has not found out what the vault can do.
            let rate = answered.clamp(rate / 2.0, rate);
            let alone = rate >= WELL_BELOW * self.documented;
            let share = if soon {
                SHARE_SO_SOON
            } else if alone {
                1.0
            } else {
                SHARE_FOR_OTHERS
            };
            Outage { began: now, rate, ceiling: self.ceiling, alone, share }
        });
        let lasted = now.saturating_sub(outage.began).as_secs_f64();
        let margin = if outage.alone { MARGIN } else { MARGIN_FOR_OTHERS };
        let left = |share: f64| (1.0 - share * lasted).max(LEAST_SHARE);
        let ceiling = outage.rate * margin * left(CEILING_PER_SECOND);
        let again = outage.alone && (0.95..=1.05).contains(&(ceiling / outage.ceiling));
        self.patience = if again { (self.patience * 2.0).min(MOST_PATIENCE) } else { 1.0 };
        // What costs a long pause is tried the more seldom.
        let cost = self.held.saturating_sub(now).as_secs_f64();
        self.patience = self.patience.max(cost.min(MOST_PATIENCE_FOR_COST));
        let least = SLOWEST.min(self.most);
        self.ceiling = ceiling.clamp(least, self.most);
        self.rate = self.rate.min((outage.rate * margin * outage.share * left(START_PER_SECOND)).max(least));
        self.climb = CLIMB;
    }

    /// A request sent at `sent` was answered.
    pub(super) fn answered(&mut self, sent: Moment, now: Moment) {
        self.answered.count(now);
        if sent < self.slowed {
            return;
        }
        self.refusals_in_a_row = 0;
        self.outage = None;
        // Time counts only as far as it was used: who sends nothing finds out nothing.
        let passed = now.saturating_sub(self.grown).as_secs_f64().min(1.25 / self.rate());
        self.grown = now;
        self.ease = (self.ease + RELIEF * passed).min(1.0);
        if self.rate < self.ceiling {
            self.rate = (self.rate + self.ceiling * passed / self.climb).min(self.ceiling);
        } else {
            let above = self.rate - self.ceiling;
            let growth = (CREEP * self.ceiling + ACCELERATION * above).min(FASTEST_GROWTH * self.rate);
            self.rate = (self.rate + growth * passed / self.patience).min(self.most);
            self.patience -= (self.patience - 1.0) * (passed / PATIENCE_LASTS).min(1.0);
        }
    }

    /// Answers take longer than they should.
    pub(super) fn strained(&mut self) {
        self.ease = (self.ease * STRAINED).max(LEAST_STRAINED);
    }
}

/// The pause after so many refusals in a row, when the vault does not name one.
pub(super) fn pause(refusals_before: u32, jitter: f64) -> Duration {
    (FIRST_PAUSE * 2_u32.pow(refusals_before.min(MOST_DOUBLINGS))).mul_f64(0.75 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// When the pace of [`known`] begins.
    const START: Moment = Duration::from_secs(20);

    /// A pace of which 100 requests per second were answered before [`START`].
    fn known(most: f64) -> Pace {
        let mut answered = Counter::new(Duration::ZERO);
        (1..=1_000).rev().for_each(|number| answered.count(START - 10 * MILLISECOND * number));
        Pace::found(most, answered, START)
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// One after the other, as fast as the pace allows, all answered after 20 ms, for so long.
    fn undisturbed(pace: &mut Pace, from: Moment, length: Duration) -> Moment {
        let mut now = from;
        while now < from + length {
            now = pace.reserve(now);
            pace.answered(now, now + 20 * MILLISECOND);
        }
        now
    }

    #[test]
    fn requests_are_spread_evenly_over_a_second() {
        let mut pace = known(100.0);
        let last = (0..1000).map(|_| pace.reserve(START)).last().unwrap() - START;
        assert!((9.8..=10.2).contains(&last.as_secs_f64()), "{last:?}");
    }

    #[test]
    fn the_first_requests_are_few_until_there_are_answers() {
        for (most, first) in [(1.0, 1.0), (100.0, 25.0), (1_000.0, 98.5), (FOR_EMULATORS, FOR_EMULATORS)] {
            let mut pace = Pace::new(most, QUOTA, Duration::ZERO);
            assert_eq!(pace.rate(), first, "at {most}");
            undisturbed(&mut pace, Duration::ZERO, seconds(10.0));
            assert!(pace.rate() >= most.min(QUOTA * MARGIN), "{} at {most}", pace.rate());
        }
    }

    #[test]
    fn one_burst_of_refusals_is_one_refusal() {
        let (now, mut pace) = (START, known(100.0));
        pace.refused(now, None, 0.5, now + 5 * MILLISECOND);
        let (rate, held) = (pace.rate(), pace.held());
        for _ in 0..20 {
            pace.refused(now, None, 0.5, now + 6 * MILLISECOND);
        }
        assert_eq!((pace.rate(), pace.held()), (rate, held));
        assert!((90.0..99.0).contains(&rate), "{rate}");
        assert_eq!(held, now + 5 * MILLISECOND + FIRST_PAUSE);
    }

    #[test]
    fn without_a_retry_after_pauses_double_up_to_sixteen_seconds() {
        for (jitter, share) in [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)] {
            let mut pace = known(100.0);
            for pause in [1.0, 2.0, 4.0, 8.0, 16.0, 16.0] {
                let now = pace.held().max(START);
                pace.refused(now, None, jitter, now);
                assert_eq!(pace.held() - now, seconds(pause * share));
            }
        }
    }

    #[test]
    fn a_ceiling_is_remembered_and_approached_but_not_soon_passed() {
        let mut pace = Pace::new(1_000.0, QUOTA, Duration::ZERO);
        let now = undisturbed(&mut pace, Duration::ZERO, seconds(30.0));
        let began = pace.rate();
        pace.refused(now, None, 0.5, now);
        let now = undisturbed(&mut pace, now, seconds(30.0));
        let share = pace.rate() / began;
        assert!((0.95..1.0).contains(&share), "{share} of the rate at which it was refused");
        undisturbed(&mut pace, now, seconds(600.0));
        assert!(pace.rate() > 1.5 * began, "{} after ten good minutes", pace.rate());
    }

    #[test]
    fn a_pace_that_is_not_used_does_not_rise() {
        let mut pace = known(1_000.0);
        for minute in 0..600 {
            let now = START + START + Duration::from_secs(60 * minute);
            pace.answered(now, now + 20 * MILLISECOND);
        }
        assert!(pace.rate() < 101.0, "{}", pace.rate());
    }

    #[test]
    fn rising_latency_slows_and_passes() {
        let mut pace = known(100.0);
        pace.strained();
        assert!((75.0..=80.0).contains(&pace.rate()), "{}", pace.rate());
        (0..100).for_each(|_| pace.strained());
        assert!(pace.rate() > 9.0, "{}: it is a sign and no refusal", pace.rate());
        undisturbed(&mut pace, START, seconds(60.0));
        assert!(pace.rate() > 90.0, "{}", pace.rate());
    }

    /// What happens to a pace, and how many milliseconds after the event before.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Reserve,
        Answered,
        Refused(Option<u64>),
        Strained,
    }

    /// Settings of every size: below the slowest pace, below what is documented, above it, and for an emulator.
    fn settings() -> impl Strategy<Value = f64> {
        prop_oneof![0.1_f64..2.0, 2.0_f64..120.0, 120.0_f64..2_000.0, FOR_EMULATORS..3.0 * FOR_EMULATORS]
    }

    fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
        let event = prop_oneof![
            8 => Just(Event::Reserve),
            4 => Just(Event::Answered),
            1 => proptest::option::of(0_u64..400).prop_map(Event::Refused),
            1 => Just(Event::Strained),
        ];
        // As dense as requests are, with gaps that are as long as pauses.
        let after = prop_oneof![9 => 0_u64..300, 1 => 1_000_u64..20_000];
        proptest::collection::vec((after, event), 1..400)
    }

    proptest! {
        #[test]
        fn whatever_happens_the_pace_keeps_its_promises(most in settings(), events in events(), jitter in 0.0_f64..1.0) {
            let mut now = Duration::ZERO;
            let mut pace = Pace::new(most, QUOTA, now);
            let mut turns: Vec<Moment> = Vec::new();
            let mut asked_to_wait = Duration::ZERO;
            for (after, event) in events {
                now += Duration::from_millis(after);
                // An answer to the newest request that can have been sent by now.
                let sent = turns.iter().copied().filter(|turn| *turn <= now).max().unwrap_or(now);
                match event {
                    Event::Reserve => {
                        let turn = pace.reserve(now);
                        prop_assert!(turn >= asked_to_wait, "a Retry-After is undercut");
                        turns.push(turn);
                    }
                    Event::Answered => pace.answered(sent, now),
                    Event::Refused(retry_after) => {
                        let retry_after = retry_after.map(Duration::from_secs);
                        pace.refused(sent, retry_after, jitter, now);
                        if let Some(wait) = retry_after {
                            asked_to_wait = asked_to_wait.max(now + wait.min(LONGEST_PAUSE));
                        }
                        prop_assert!(pace.held() >= asked_to_wait, "a Retry-After is forgotten");
                        prop_assert!(pace.held() <= now + LONGEST_PAUSE, "a pause is too long");
                    }
                    Event::Strained => pace.strained(),
                }
                prop_assert!(pace.rate() >= SLOWEST.min(most) && pace.rate() <= most, "{}", pace.rate());
            }
            // In no stretch of time more than the setting allows, and what timers may catch up.
            for (index, first) in turns.iter().enumerate() {
                for (count, last) in turns[index..].iter().enumerate() {
                    let allowed = most * (last.saturating_sub(*first) + BURST).as_secs_f64() + 1.0;
                    prop_assert!(count as f64 <= allowed + 1e-6, "{} from {first:?} to {last:?}", count + 1);
                }
            }
            // Nothing is held against a vault for ever: with good answers only, the rate never falls, so that what it
            // comes to within an hour it has after it.
            let (goal, calm) = (most.min(QUOTA / 4.0), pace.held().max(now));
            let mut now = calm;
            while pace.rate() < goal && now < calm + Duration::from_secs(3_600) {
                let before = pace.rate();
                now = pace.reserve(now);
                pace.answered(now, now + 20 * MILLISECOND);
                prop_assert!(pace.rate() >= before, "{before} fell to {} by a good answer", pace.rate());
            }
            prop_assert!(pace.rate() >= goal, "{} of {most} after an hour", pace.rate());
        }
    }
}
