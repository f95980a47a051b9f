//! The budget of one vault: the pace of all requests, and that of each sort that has a quota of its own. Pure.
//!
//! A refusal does not say which quota is used up, and keys of some types count for more than documents tell. A quota that
//! all share is used up by whoever comes next, so that sorts are refused by turns. When it is the same one time after time,
//! while others are answered, the quota is its own: it alone gets slower, and the others are given back what they lost.

use std::time::Duration;

use super::{
    counter::Counter,
    latency::Latency,
    pace::{Moment, Pace, QUOTA},
    sort::{Sort, Verb},
};

/// One request in so many may be a restore at first: 25 a second at the default, of the 30 that are documented.
const REQUESTS_PER_RESTORE: f64 = 4.0;

/// Secrets set and keys and certificates imported in ten seconds, together (Microsoft Learn, "Azure Key Vault service
/// limits"), per second. It does not say where restores count: this is the smaller of the two possible quotas.
const RESTORE_QUOTA: f64 = 30.0;

/// What latency says is looked at so often: long enough that the effect of the last step shows.
const LATENCY_STEP: Duration = Duration::from_secs(2);

/// So many times in a row the same sort is refused, and others are answered, before its quota counts as its own.
const TIMES_ALONE: u32 = 3;

/// Refusals so close to each other are of one quota.
const TOGETHER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Budget {
    most: f64,
    all: Pace,
    sorts: [Known; Sort::COUNT],
    suspicion: Option<Suspicion>,
    eased: Moment,
}

/// What is known of one sort of request.
#[derive(Debug)]
struct Known {
    /// Where it has a quota of its own.
    own: Option<Pace>,
    refused: Option<Moment>,
    answered: Counter,
    latency: Latency,
}

/// That a quota is one sort's own.
#[derive(Clone, Debug)]
struct Suspicion {
    quota: usize,
    times: u32,
    others_answered: bool,
    /// The pace of all, before.
    before: Pace,
}

impl Budget {
    pub(super) fn new(requests_per_second: f64, now: Moment) -> Self {
        let unknown = || Known { own: None, refused: None, answered: Counter::new(now), latency: Latency::default() };
        let mut sorts: [Known; Sort::COUNT] = std::array::from_fn(|_| unknown());
        let guess = requests_per_second / REQUESTS_PER_RESTORE;
        sorts[Sort::RESTORES.quota()].own = Some(Pace::guessed(requests_per_second, RESTORE_QUOTA, guess, now));
        let all = Pace::new(requests_per_second, QUOTA, now);
        Self { most: requests_per_second, all, sorts, suspicion: None, eased: now }
    }

    /// Requests per second that are allowed now.
    pub(super) fn rate(&self) -> f64 {
        self.all.rate()
    }

    /// Restores per second that can be expected.
    pub(super) fn restores(&self) -> f64 {
        let own = self.sorts[Sort::RESTORES.quota()].own.as_ref().map_or(self.most, Pace::ceiling);
        own.min(self.all.ceiling())
    }

    /// Reserves the next free moment for one request.
    pub(super) fn reserve(&mut self, sort: Sort, now: Moment) -> Moment {
        let known = &mut self.sorts[sort.quota()];
        let own = known.own.as_mut().map_or(now, |own| own.reserve(now));
        own.max(self.all.reserve(now))
    }

    /// Whether requests of that sort have to wait, although they had a turn.
    pub(super) fn holds(&self, sort: Sort, now: Moment) -> bool {
        let own = self.sorts[sort.quota()].own.as_ref().map_or(now, Pace::held);
        own.max(self.all.held()) > now
    }

    /// A request was refused. `jitter` is random, from 0 to 1.
    pub(super) fn refused(
        &mut self,
        sort: Sort,
        sent: Moment,
        retry_after: Option<Duration>,
        jitter: f64,
        now: Moment,
    ) {
        let quota = sort.quota();
        self.sorts[quota].refused = Some(now);
        if let Some(own) = &mut self.sorts[quota].own {
            own.refused(sent, retry_after, jitter, now);
            return;
        }
        let new = self.all.is_news(sent);
        match &mut self.suspicion {
            Some(suspicion) if suspicion.quota == quota => suspicion.times += u32::from(new),
            suspicion => {
                let before = self.all.clone();
                *suspicion = Some(Suspicion { quota, times: 1, others_answered: false, before });
            }
        }
        if let Some(suspicion) = self.suspicion.take_if(|it| it.times >= TIMES_ALONE && it.others_answered) {
            self.all.revert(suspicion.before);
            let own = Pace::found(self.most, self.sorts[quota].answered.clone(), sent);
            self.sorts[quota].own.insert(own).refused(sent, retry_after, jitter, now);
            return;
        }
        self.all.refused(sent, retry_after, jitter, now);
        // What seemed to be the quota of one sort was that of all. Restores keep theirs, which is documented.
        for (index, known) in self.sorts.iter_mut().enumerate() {
            if index != Sort::RESTORES.quota() && known.refused.is_some_and(|refused| now < refused + TOGETHER) {
                known.own = None;
            }
        }
    }

    /// A request was answered, whatever the answer was.
    pub(super) fn answered(&mut self, sort: Sort, sent: Moment, now: Moment) {
        self.all.answered(sent, now);
        // Questions which token is wanted need not count, and what has a quota of its own says nothing about others.
        let tells = sort.verb != Verb::Ask && self.sorts[sort.quota()].own.is_none();
        if let Some(suspicion) = self.suspicion.as_mut().filter(|it| tells && it.quota != sort.quota()) {
            suspicion.others_answered |= !self.all.is_refused();
        }
        let known = &mut self.sorts[sort.quota()];
        known.answered.count(now);
        if let Some(own) = &mut known.own {
            own.answered(sent, now);
        }
        if self.sorts[sort.index()].latency.took(now.saturating_sub(sent), now) && now >= self.eased + LATENCY_STEP {
            self.ease(now);
        }
    }

    /// A vault that is busy is slow in everything.
    fn ease(&mut self, now: Moment) {
        self.eased = now;
        let mut judged = self.sorts.iter().filter_map(|known| known.latency.slow(now)).peekable();
        if judged.peek().is_some() && judged.all(|slow| slow) {
            self.all.strained();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cmp::Reverse,
        collections::{BinaryHeap, VecDeque},
    };

    use super::*;

    const BACKUP: Sort = Sort { verb: Verb::BackUp, kind: 0 };
    const VERSIONS: Sort = Sort { verb: Verb::ListVersions, kind: 0 };
    const BACKUP_OF_KEYS: Sort = Sort { verb: Verb::BackUp, kind: 1 };

    fn at(seconds: f64) -> Moment {
        Duration::from_secs_f64(seconds)
    }

    /// A budget whose requests were all answered for half a minute.
    fn experienced(sorts: &[Sort]) -> (Budget, Moment) {
        let (mut budget, mut now) = (Budget::new(1_000.0, Moment::ZERO), Moment::ZERO);
        for sort in sorts.iter().cycle() {
            now = budget.reserve(*sort, now);
            budget.answered(*sort, now, now + at(0.02));
            if now > at(30.0) {
                break;
            }
        }
        (budget, now)
    }

    #[test]
    fn a_sort_that_alone_is_refused_slows_itself_alone() {
        let (mut budget, mut now) = experienced(&[BACKUP, VERSIONS, BACKUP_OF_KEYS]);
        let rate = budget.rate();
        for _ in 0..TIMES_ALONE {
            now = budget.reserve(BACKUP_OF_KEYS, now);
            budget.refused(BACKUP_OF_KEYS, now, None, 0.5, now + at(0.01));
            let other = budget.reserve(BACKUP, now + at(0.02));
            budget.answered(BACKUP, other, other + at(0.02));
        }
        assert!(budget.rate() >= rate, "{} of {rate}", budget.rate());
        assert!(budget.holds(BACKUP_OF_KEYS, now + at(0.5)) && !budget.holds(BACKUP, now + at(0.5)));
        let (known, later) = (rate / 3.0, now + at(5.0));
        let keys = (0..1_000).map(|_| budget.reserve(BACKUP_OF_KEYS, later)).last().unwrap() - later;
        let keys = 1_000.0 / keys.as_secs_f64();
        assert!((known * 0.5..known).contains(&keys), "{keys} of {known}");
    }

    #[test]
    fn when_sorts_are_refused_by_turns_the_quota_is_the_vaults() {
        let (mut budget, mut now) = experienced(&[BACKUP, VERSIONS]);
        for sort in [BACKUP, VERSIONS, BACKUP, VERSIONS, BACKUP, VERSIONS] {
            let rate = budget.rate();
            now = budget.reserve(sort, now);
            budget.refused(sort, now, None, 0.5, now + at(0.01));
            assert!(budget.rate() < rate && budget.holds(BACKUP_OF_KEYS, now + at(0.02)), "everything waits");
            now = budget.reserve(BACKUP_OF_KEYS, now);
            budget.answered(BACKUP_OF_KEYS, now, now + at(0.02));
        }
    }

    #[test]
    fn when_nothing_else_is_asked_a_refusal_means_the_quota_of_the_vault() {
        let (mut budget, now) = experienced(&[BACKUP]);
        let rate = budget.rate();
        budget.refused(BACKUP, now, Some(at(2.0)), 0.5, now);
        assert!(budget.reserve(VERSIONS, now) >= now + at(2.0));
        assert!(budget.rate() < rate && budget.rate() > 0.9 * rate);
    }

    #[test]
    fn restores_begin_at_the_smaller_quota_and_find_out_whether_it_is_theirs() {
        for (setting, restores) in [(40.0, 10.0), (100.0, 25.0), (1_000.0, 29.55)] {
            let mut budget = Budget::new(setting, Moment::ZERO);
            assert!((budget.restores() - restores).abs() < 0.01, "{}", budget.restores());
            let mut now = Moment::ZERO;
            while now < at(600.0) {
                now = budget.reserve(Sort::RESTORES, now);
                budget.answered(Sort::RESTORES, now, now + at(0.02));
            }
            let soon = (0..100).map(|_| budget.reserve(Sort::RESTORES, now)).last().unwrap() - now;
            assert!(100.0 / soon.as_secs_f64() > 2.0 * restores, "nothing was refused for ten minutes");
        }
    }

    #[test]
    fn a_vault_that_is_slow_in_everything_is_asked_less() {
        let (mut budget, mut now) = experienced(&[BACKUP, VERSIONS]);
        let rate = budget.rate();
        let mut ask = |budget: &mut Budget, backup: f64, versions: f64| {
            for (sort, took) in [(BACKUP, backup), (VERSIONS, versions)].into_iter().cycle().take(4_000) {
                now += at(0.002);
                budget.answered(sort, now - at(took), now);
            }
        };
        // Items with many versions.
        ask(&mut budget, 2.0, 0.02);
        assert!(budget.rate() >= rate);
        ask(&mut budget, 0.3, 0.3);
        assert!(budget.rate() < 0.6 * rate, "{}", budget.rate());
    }

    /// How the vault of [`run`] counts.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Window {
        /// Anew every ten seconds.
        Fixed,
        /// The last ten seconds at any time.
        Sliding,
    }

    /// A vault of 4,000 requests in ten seconds. Refused requests do not count.
    struct Vault {
        window: Window,
        began: u64,
        used: usize,
        answered: VecDeque<u64>,
    }

    impl Vault {
        const LENGTH: u64 = 10_000_000;

        fn answers(&mut self, micros: u64) -> bool {
            match self.window {
                Window::Fixed => {
                    // Windows do not begin when a run does.
                    let began = (micros + 3_700_000) / Self::LENGTH;
                    if began != self.began {
                        (self.began, self.used) = (began, 0);
                    }
                    self.used += 1;
                    self.used <= 4_000
                }
                Window::Sliding => {
                    while self.answered.front().is_some_and(|at| at + Self::LENGTH <= micros) {
                        self.answered.pop_front();
                    }
                    let free = self.answered.len() < 4_000;
                    if free {
                        self.answered.push_back(micros);
                    }
                    free
                }
            }
        }
    }

    #[derive(Clone, Copy, Debug, Default)]
    struct Outcome {
        answered: u64,
        refused: u64,
        production: u64,
        production_refused: u64,
    }

    impl Outcome {
        fn share(&self, quota: f64, seconds: u64) -> f64 {
            self.answered as f64 / (quota * seconds as f64)
        }

        /// The share of production's requests that were refused.
        fn hurt(&self) -> f64 {
            self.production_refused as f64 / self.production as f64
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        Wants(Sort),
        HasTurn(Sort),
        Arrives(Sort, u64),
        Returns(Sort, u64, bool),
        Production,
    }

    /// Sixteen tasks that back up, next to a production load of so many requests per second at each time; 20 ms per
    /// request, of which the way there takes a varying part.
    fn run(
        window: Window,
        most: f64,
        retry_after: Option<u64>,
        seconds: u64,
        production: impl Fn(f64) -> f64,
    ) -> Outcome {
        let mut random = fastrand::Rng::with_seed(7);
        let mut vault = Vault { window, began: u64::MAX, used: 0, answered: VecDeque::new() };
        let mut budget = Budget::new(most, Moment::ZERO);
        let mut outcome = Outcome::default();
        let tasks = [BACKUP, VERSIONS].into_iter().cycle().take(16);
        let mut events: BinaryHeap<Reverse<(u64, Event)>> =
            tasks.map(|sort| Reverse((0, Event::Wants(sort)))).collect();
        events.push(Reverse((0, Event::Production)));
        while let Some(Reverse((micros, event))) = events.pop() {
            if micros >= seconds * 1_000_000 {
                break;
            }
            let now = Duration::from_micros(micros);
            let next = match event {
                Event::Wants(sort) => (budget.reserve(sort, now).as_micros() as u64, Event::HasTurn(sort)),
                Event::HasTurn(sort) if budget.holds(sort, now) => (micros, Event::Wants(sort)),
                Event::HasTurn(sort) => (micros + random.u64(5_000..15_000), Event::Arrives(sort, micros)),
                Event::Arrives(sort, sent) => {
                    let answers = vault.answers(micros);
                    outcome.answered += u64::from(answers);
                    outcome.refused += u64::from(!answers);
                    (micros + 10_000, Event::Returns(sort, sent, answers))
                }
                Event::Returns(sort, sent, answered) => {
                    let sent = Duration::from_micros(sent);
                    if answered {
                        budget.answered(sort, sent, now);
                    } else {
                        budget.refused(sort, sent, retry_after.map(Duration::from_secs), random.f64(), now);
                    }
                    // The same again, or the other half of the work on an item.
                    (micros, Event::Wants(if !answered || sort == VERSIONS { BACKUP } else { VERSIONS }))
                }
                Event::Production => {
                    let rate = production(now.as_secs_f64());
                    if rate > 0.0 {
                        outcome.production += 1;
                        outcome.production_refused += u64::from(!vault.answers(micros));
                    }
                    // Its requests come at random.
                    let gap = if rate > 0.0 { -(1.0 - random.f64()).ln() / rate } else { 0.1 };
                    (micros + (gap * 1e6) as u64, Event::Production)
                }
            };
            events.push(Reverse(next));
        }
        outcome
    }

    #[test]
    fn alone_it_uses_nearly_all_of_the_quota_and_is_hardly_refused() {
        for window in [Window::Fixed, Window::Sliding] {
            for (retry_after, seconds) in [(None, 60), (None, 300), (Some(1), 300), (Some(10), 300)] {
                let outcome = run(window, 1_000.0, retry_after, seconds, |_| 0.0);
                let share = outcome.share(400.0, seconds);
                assert!(share >= 0.95, "{window:?}, {retry_after:?}, {seconds} s: {share:.4} {outcome:?}");
                assert!(outcome.refused * 1_000 <= outcome.answered, "{window:?}, {retry_after:?}: {outcome:?}");
            }
        }
    }

    #[test]
    fn next_to_production_it_takes_what_is_left_and_production_hardly_notices() {
        // Most of it is the first window, in which nothing is known yet.
        for (most, production, hurt_at_most) in [
            (100.0, 200.0, 0.0),
            (100.0, 300.0, 0.004),
            (100.0, 360.0, 0.01),
            (1_000.0, 200.0, 0.02),
            (1_000.0, 360.0, 0.03),
        ] {
            for window in [Window::Fixed, Window::Sliding] {
                let outcome = run(window, most, None, 300, |_| production);
                let (share, hurt) = (outcome.share((400.0 - production).min(most), 300), outcome.hurt());
                let text =
                    format!("{window:?}, at most {most} next to {production}: {share:.3} of the rest, {outcome:?}");
                assert!(share >= 0.6 && hurt <= hurt_at_most, "{text}");
            }
        }
    }

    #[test]
    fn production_that_jumps_up_is_given_way_to_and_what_it_leaves_is_found() {
        for window in [Window::Fixed, Window::Sliding] {
            let jump = run(window, 1_000.0, None, 300, |seconds| if seconds < 100.0 { 50.0 } else { 350.0 });
            assert!(jump.hurt() <= 0.04, "{window:?}: {jump:?}");
            let until = run(window, 1_000.0, None, 100, |_| 300.0);
            let after = run(window, 1_000.0, None, 400, |seconds| if seconds < 100.0 { 300.0 } else { 0.0 });
            let share = (after.answered - until.answered) as f64 / (400.0 * 300.0);
            assert!(share >= 0.5, "{window:?}: {share:.3} of the quota in the five minutes after it left");
        }
    }
}
