//! The guard against mass deletion and mass disabling: a pure comparison of what is there with the last good backup.
//!
//! It is up from the backup that trips it until a person acknowledges what that backup found. Nothing else takes it
//! down: neither time, nor a next backup that finds nothing more to complain about.

/// When the guard trips unless a setting says otherwise, in percent of the items.
pub const DEFAULT_PERCENT: f64 = 20.0;

/// So many items may vanish or be disabled whatever their share. In a vault of ten, tidying three away is 30 percent and
/// an ordinary Tuesday; an alarm that rings for that is soon switched off.
pub const HANDFUL: u64 = 5;

/// From how much on the guard trips: more than a [`HANDFUL`], and more than this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Percent of the items that may vanish from one backup to the next. 100 switches this half off.
    pub deleted_percent: f64,
    /// Percent of the items that may be disabled from one backup to the next. 100 switches this half off.
    pub disabled_percent: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deleted_percent: DEFAULT_PERCENT, disabled_percent: DEFAULT_PERCENT }
    }
}

/// What a run knows of an item that an earlier backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: its kind could not be listed to the end, or it is out of scope now.
    Unknown,
    /// It is not there any more.
    Gone,
    /// It is there and enabled.
    Enabled,
    /// It is there and disabled.
    Disabled,
}

/// What vanished and what was disabled, from one state of a vault to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How many items were compared.
    pub items: u64,
    /// How many of them are gone.
    pub deleted: u64,
    /// How many of them were enabled and are disabled.
    pub disabled: u64,
}

impl Losses {
    /// Counts one item of the earlier state: whether it was enabled, and what became of it. One of unknown fate does not
    /// count at all.
    pub fn add(&mut self, was_enabled: bool, fate: Fate) {
        self.items += u64::from(fate != Fate::Unknown);
        self.deleted += u64::from(fate == Fate::Gone);
        self.disabled += u64::from(fate == Fate::Disabled && was_enabled);
    }

    /// Whether this is too much to be taken for ordinary.
    pub fn trip(&self, limits: &Limits) -> bool {
        is_mass(self.deleted, self.items, limits.deleted_percent)
            || is_mass(self.disabled, self.items, limits.disabled_percent)
    }

    /// What is lost beyond what was known to be lost.
    fn beyond(&self, known: &Self) -> Self {
        Self {
            items: self.items,
            deleted: self.deleted.saturating_sub(known.deleted),
            disabled: self.disabled.saturating_sub(known.disabled),
        }
    }

    fn total(&self) -> u64 {
        self.deleted + self.disabled
    }
}

#[allow(clippy::cast_precision_loss, reason = "numbers of items are far below 2^52")]
fn is_mass(lost: u64, items: u64, percent: f64) -> bool {
    lost > HANDFUL && lost as f64 * 100.0 > items as f64 * percent
}

/// A guard that is up while a backup is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Up {
    /// What tripped it.
    pub found: Losses,
    /// What is lost by now since the backup from before all that; nothing when that backup cannot be read any more.
    pub since: Option<Losses>,
}

/// What the guard makes of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing unusual.
    Down,
    /// It was up, and what made it trip still waits for a person.
    StillUp,
    /// It trips, for what is lost since the last backup.
    TrippedSinceLast,
    /// It was up and trips anew, for what is lost since the backup from before it all. A person has to acknowledge
    /// that too: their word for what was lost then does not cover what was lost since.
    TrippedSinceBefore,
}

/// Judges what is lost since the last backup. While the guard is up, steps that are each below the limits are added up:
/// they are compared with the backup from before it all as well.
pub fn judge(since_last: &Losses, up: Option<&Up>, limits: &Limits) -> Verdict {
    let since_before = up.and_then(|up| Some((up.since?, up.since?.beyond(&up.found))));
    match since_before {
        Some((since, further)) if since_last.trip(limits) || further.trip(limits) => {
            // Whichever tells more. They differ when items came back or were added meanwhile.
            let more = since.total() >= since_last.total();
            if more { Verdict::TrippedSinceBefore } else { Verdict::TrippedSinceLast }
        }
        _ if since_last.trip(limits) => Verdict::TrippedSinceLast,
        _ if up.is_some() => Verdict::StillUp,
        _ => Verdict::Down,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn losses(items: u64, deleted: u64, disabled: u64) -> Losses {
        Losses { items, deleted, disabled }
    }

    #[test]
    fn it_takes_more_than_a_handful_and_more_than_the_percentage() {
        let limits = Limits { deleted_percent: 20.0, disabled_percent: 50.0 };
        for (items, deleted, disabled, trips) in [
            (0, 0, 0, false),
            (5, 5, 0, false),
            (5, 0, 5, false),
            (6, 6, 0, true),
            (6, 0, 6, true),
            (30, 6, 0, false),
            (29, 6, 0, true),
            (100, 20, 0, false),
            (100, 21, 0, true),
            (100, 0, 50, false),
            (100, 0, 51, true),
            (100, 20, 50, false),
            (1_000_000, 200_000, 0, false),
            (1_000_000, 200_001, 0, true),
        ] {
            let found = losses(items, deleted, disabled);
            assert_eq!(found.trip(&limits), trips, "{found:?}");
            let verdict = if trips { Verdict::TrippedSinceLast } else { Verdict::Down };
            assert_eq!(judge(&found, None, &limits), verdict, "{found:?}");
        }
    }

    #[test]
    fn a_hundred_percent_switches_it_off_and_none_leaves_only_the_handful() {
        let off = Limits { deleted_percent: 100.0, disabled_percent: 100.0 };
        assert!(!losses(1_000, 1_000, 0).trip(&off) && !losses(1_000, 0, 1_000).trip(&off));
        let strict = Limits { deleted_percent: 0.0, disabled_percent: 0.0 };
        assert!(!losses(1_000, 5, 5).trip(&strict));
        assert!(losses(1_000, 6, 0).trip(&strict) && losses(1_000, 0, 6).trip(&strict));
    }

    #[test]
    fn steps_below_the_limits_add_up_while_it_is_up() {
        // 30 of 100 tripped it. Then eight vanish a day, each time less than 20 percent of what is left.
        let limits = Limits::default();
        let found = losses(100, 30, 0);
        for (gone, wanted) in [
            (30, Verdict::StillUp),
            (38, Verdict::StillUp),
            (46, Verdict::StillUp),
            (50, Verdict::StillUp),
            (54, Verdict::TrippedSinceBefore),
        ] {
            let up = Up { found, since: Some(losses(100, gone, 0)) };
            assert_eq!(judge(&losses(70, 8, 0), Some(&up), &limits), wanted, "{gone} are gone");
        }
    }

    #[test]
    fn a_new_trip_tells_whichever_comparison_tells_more() {
        let limits = Limits::default();
        let found = losses(100, 30, 0);
        let came_back = Up { found, since: Some(losses(100, 0, 0)) };
        assert_eq!(judge(&losses(200, 90, 0), Some(&came_back), &limits), Verdict::TrippedSinceLast);
        let unreadable = Up { found, since: None };
        assert_eq!(judge(&losses(70, 40, 0), Some(&unreadable), &limits), Verdict::TrippedSinceLast);
        assert_eq!(judge(&losses(70, 4, 0), Some(&unreadable), &limits), Verdict::StillUp);
        let more = Up { found, since: Some(losses(100, 70, 0)) };
        assert_eq!(judge(&losses(70, 40, 0), Some(&more), &limits), Verdict::TrippedSinceBefore);
    }

    fn any_losses() -> impl Strategy<Value = Losses> {
        (0..2_000_u64).prop_flat_map(|items| {
            (0..=items).prop_flat_map(move |deleted| {
                (0..=items - deleted).prop_map(move |disabled| losses(items, deleted, disabled))
            })
        })
    }

    fn any_limits() -> impl Strategy<Value = Limits> {
        (0..=100_u8, 0..=100_u8).prop_map(|(deleted, disabled)| Limits {
            deleted_percent: deleted.into(),
            disabled_percent: disabled.into(),
        })
    }

    proptest! {
        #[test]
        fn what_is_lost_is_counted_item_by_item(fates in prop::collection::vec((0..4_u8, any::<bool>()), 0..50)) {
            let fate = |number: u8| [Fate::Unknown, Fate::Gone, Fate::Enabled, Fate::Disabled][usize::from(number)];
            let mut found = Losses::default();
            fates.iter().for_each(|(number, was_enabled)| found.add(*was_enabled, fate(*number)));
            let count = |wanted: &dyn Fn(&(u8, bool)) -> bool| fates.iter().filter(|it| wanted(it)).count() as u64;
            prop_assert_eq!(found.items, count(&|(number, _)| *number != 0));
            prop_assert_eq!(found.deleted, count(&|(number, _)| *number == 1));
            prop_assert_eq!(found.disabled, count(&|(number, enabled)| *number == 3 && *enabled));
        }

        #[test]
        fn it_never_trips_for_a_handful_and_losing_more_never_untrips_it(
            found in any_losses(), limits in any_limits(),
        ) {
            if found.deleted <= HANDFUL && found.disabled <= HANDFUL {
                prop_assert!(!found.trip(&limits));
            }
            if found.trip(&limits) && found.deleted < found.items {
                prop_assert!(losses(found.items, found.deleted + 1, found.disabled).trip(&limits));
            }
        }

        #[test]
        fn while_it_is_up_it_never_comes_down_by_itself(
            last in any_losses(), found in any_losses(), since in prop::option::of(any_losses()), limits in any_limits(),
        ) {
            let verdict = judge(&last, Some(&Up { found, since }), &limits);
            prop_assert_ne!(verdict, Verdict::Down);
            prop_assert!(!last.trip(&limits) || verdict != Verdict::StillUp, "what trips it afresh is a new trip");
        }
    }
}
