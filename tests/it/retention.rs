//! Which backups a policy keeps and why: a table to read, and what holds for every list and every policy.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use keyvault_backup::{
    model::{BackupId, Label, Timestamp},
    retention::{Backup, Decision, Policy, Quality, Reason, Rhythm, SAFETY_COPIES_KEPT_FOR, all_but, apply},
};
use proptest::prelude::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// 2026-11-21T12:00:00Z, a Saturday.
const NOW: i64 = 1_795_262_400;

const POLICIES: [&str; 30] = [
    "last=1",
    "last=5",
    "last=14",
    "last=1000",
    "hourly=1",
    "hourly=10",
    "hourly=48",
    "daily=1",
    "daily=3",
    "daily=10",
    "daily=35",
    "weekly=1",
    "weekly=4",
    "weekly=8",
    "weekly=200",
    "monthly=1",
    "monthly=6",
    "monthly=12",
    "monthly=100",
    "yearly=1",
    "yearly=2",
    "yearly=10",
    "last=2,daily=2",
    "last=3,hourly=3,daily=3",
    "daily=7,weekly=4",
    "daily=7,monthly=12",
    "daily=7,weekly=4,monthly=12,yearly=7",
    "last=7,daily=35,weekly=8,monthly=12,yearly=7",
    "hourly=24,daily=7,weekly=5,monthly=12,yearly=3",
    "weekly=2,yearly=2",
];

/// Thirteen months of a vault: a backup every night but some, every three hours of the last two days; a fortnight in
/// which an item could not be read; labels, safety copies, and a manifest that cannot be read.
fn thirteen_months() -> Vec<Backup> {
    let at = |time: i64, label: Option<&str>, quality: Quality| Backup {
        id: BackupId::new(Timestamp::from_unix(time), 0x1f2e_3d4c),
        label: label.map(|label| label.parse().unwrap()),
        quality,
    };
    let night = |days_ago: i64| NOW - 10 * HOUR - days_ago * DAY;
    let mut backups = Vec::new();
    for days_ago in 0..390 {
        let quality = match days_ago {
            // The app was away.
            20..25 | 100..130 => continue,
            40..54 | 200 => Quality::Incomplete,
            70 => Quality::Unreadable,
            _ => Quality::Whole,
        };
        let label = match days_ago {
            55 => Some("before-upgrade"),
            45 => Some("audit"),
            _ => None,
        };
        backups.push(at(night(days_ago), label, quality));
    }
    for step in 1..16 {
        let quality = if step % 5 == 0 { Quality::Incomplete } else { Quality::Whole };
        backups.push(at(NOW - step * 3 * HOUR, None, quality));
    }
    backups.push(at(NOW - 2 * DAY - HOUR, Some("safety-0b6ec4a1"), Quality::Whole));
    backups.push(at(NOW - 29 * DAY, Some("safety-1b6ec4a1"), Quality::Whole));
    backups.push(at(NOW - 31 * DAY, Some("safety-2b6ec4a1"), Quality::Whole));
    backups
}

#[test]
fn what_each_policy_keeps_and_why() {
    let backups = thirteen_months();
    assert!(backups.len() > 350);
    let mut table = String::new();
    for policy in POLICIES {
        let decisions = decide(policy, backups.clone());
        let kept: Vec<&Decision> = decisions.iter().filter(|decision| !decision.reasons.is_empty()).collect();
        table.push_str(&format!("\n{policy} keeps {} of {}\n", kept.len(), decisions.len()));
        for Decision { backup, reasons } in kept {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            let mark = match backup.quality {
                Quality::Whole => ' ',
                Quality::Incomplete => '~',
                Quality::Unreadable => '?',
            };
            table.push_str(&format!("  {} {mark} {}\n", &backup.id.as_str()[..13], reasons.join(", ")));
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_policy_is_written_as_it_is_read() {
    for policy in POLICIES {
        assert_eq!(policy.parse::<Policy>().unwrap().to_string(), policy);
    }
    for wrong in ["", "daily", "daily=-1", "daily=x", "fortnightly=2", "daily=0"] {
        assert!(wrong.parse::<Policy>().is_err(), "{wrong}");
    }
}

#[test]
fn an_incomplete_backup_is_kept_until_its_period_has_a_whole_one() {
    let backup = |hour: i64, quality| Backup {
        id: BackupId::new(Timestamp::from_unix(NOW - DAY + hour * HOUR), 0),
        label: None,
        quality,
    };
    let later = Backup { id: BackupId::new(Timestamp::from_unix(NOW), 0), label: None, quality: Quality::Whole };
    let (early, late) = (backup(-3, Quality::Incomplete), backup(-1, Quality::Incomplete));
    let kept = kept("daily=7", vec![early.clone(), late.clone(), later.clone()]);
    assert_eq!(kept, ids(&[&late, &later]));
    let whole = backup(-2, Quality::Whole);
    assert_eq!(self::kept("daily=7", vec![early, late, whole.clone(), later.clone()]), ids(&[&whole, &later]));
}

#[test]
fn a_vault_of_which_no_backup_is_ever_whole_keeps_its_history_and_does_not_grow_without_bound() {
    let backups: Vec<Backup> = (0..400)
        .map(|days| Backup {
            id: BackupId::new(Timestamp::from_unix(NOW - days * DAY), 0),
            label: None,
            quality: Quality::Incomplete,
        })
        .collect();
    let kept = kept("daily=7,monthly=12", backups);
    assert_eq!(kept.len(), 7 + 11, "seven days, and the months before the present one");
}

#[test]
fn a_backup_from_the_future_pushes_nothing_out_and_is_never_the_newest() {
    let backup = |time: i64| Backup {
        id: BackupId::new(Timestamp::from_unix(NOW + time), 0),
        label: None,
        quality: Quality::Whole,
    };
    let (yesterday, today, differing, planted) = (backup(-DAY), backup(0), backup(300), backup(301));
    let decisions = decide("last=1", vec![yesterday.clone(), today.clone(), planted.clone()]);
    assert_eq!(of(&decisions, true), ids(&[&today, &planted]));
    assert_eq!(decisions[0].reasons, [Reason::Future]);
    assert_eq!(kept("last=1", vec![yesterday, today, differing.clone()]), ids(&[&differing]), "clocks differ");
    let named = all_but(std::slice::from_ref(&planted.id), vec![planted.clone()], Timestamp::from_unix(NOW));
    assert_eq!(named[0].reasons, [], "a person may remove it");
}

#[test]
fn safety_copies_are_kept_for_thirty_days_and_are_never_the_newest() {
    let copy = Backup {
        id: BackupId::new(Timestamp::from_unix(NOW), 0),
        label: Some("safety-0b6ec4a1".parse().unwrap()),
        quality: Quality::Whole,
    };
    let older = Backup { id: BackupId::new(Timestamp::from_unix(NOW - DAY), 0), label: None, quality: Quality::Whole };
    for (age, is_kept) in [(0, true), (30 * DAY - 1, true), (30 * DAY, false)] {
        let now = Timestamp::from_unix(NOW + age);
        let decisions = apply(&"last=1".parse().unwrap(), vec![copy.clone(), older.clone()], now);
        assert_eq!(!decisions[0].reasons.is_empty(), is_kept, "{age}");
        assert!(decisions[1].reasons.contains(&Reason::Newest));
    }
    assert_eq!(SAFETY_COPIES_KEPT_FOR.as_secs(), 30 * 86_400);
}

fn decide(policy: &str, backups: Vec<Backup>) -> Vec<Decision> {
    apply(&policy.parse().unwrap(), backups, Timestamp::from_unix(NOW))
}

fn kept(policy: &str, backups: Vec<Backup>) -> BTreeSet<BackupId> {
    of(&decide(policy, backups), true)
}

fn of(decisions: &[Decision], kept: bool) -> BTreeSet<BackupId> {
    let chosen = decisions.iter().filter(|decision| decision.reasons.is_empty() != kept);
    chosen.map(|decision| decision.backup.id.clone()).collect()
}

fn ids(backups: &[&Backup]) -> BTreeSet<BackupId> {
    backups.iter().map(|backup| backup.id.clone()).collect()
}

/// restic's rule, written down the way its documentation tells it: newest first, each rhythm takes a backup whose period
/// is not the one it took last, until its number is used up; the oldest is taken while the number is not.
fn as_restic_keeps(policy: &Policy, backups: &[Backup]) -> BTreeSet<BackupId> {
    let mut newest_first: Vec<&BackupId> = backups.iter().map(|backup| &backup.id).collect();
    newest_first.sort_by(|a, b| b.cmp(a));
    let mut kept: BTreeSet<BackupId> = newest_first.first().map(|id| (*id).clone()).into_iter().collect();
    let Policy { last, hourly, daily, weekly, monthly, yearly } = *policy;
    // How much of an id, such as 20261121T020000Z, names the period.
    for (mut left, digits) in [(last, 25), (hourly, 11), (daily, 8), (weekly, 0), (monthly, 6), (yearly, 4)] {
        let mut taken = String::new();
        for (index, id) in newest_first.iter().enumerate() {
            let period = match digits {
                // Day 0 of the epoch was a Thursday.
                0 => ((id.started().unix() / DAY + 3) / 7).to_string(),
                _ => id.as_str()[..digits].to_owned(),
            };
            let oldest = index == newest_first.len() - 1;
            if left > 0 && (period != taken || oldest) {
                kept.insert((*id).clone());
                taken = period;
                left -= 1;
            }
        }
    }
    kept
}

fn policies() -> impl Strategy<Value = Policy> {
    let numbers = (0..6_u32, 0..6_u32, 0..10_u32, 0..6_u32, 0..6_u32, 0..4_u32);
    numbers.prop_map(|(last, hourly, daily, weekly, monthly, yearly)| Policy {
        last,
        hourly,
        daily,
        weekly,
        monthly,
        yearly,
    })
}

fn lists(all_whole: bool) -> impl Strategy<Value = Vec<Backup>> {
    let spans = prop_oneof![Just(2 * DAY), Just(40 * DAY), Just(1500 * DAY)];
    spans.prop_flat_map(move |span| proptest::collection::vec(backups(span, all_whole), 0..60)).prop_map(|mut list| {
        let mut seen = HashSet::new();
        list.retain(|backup: &Backup| seen.insert(backup.id.clone()));
        list
    })
}

fn backups(span: i64, all_whole: bool) -> impl Strategy<Value = Backup> {
    let qualities =
        prop_oneof![4 => Just(Quality::Whole), 3 => Just(Quality::Incomplete), 1 => Just(Quality::Unreadable)];
    let labels = prop_oneof![6 => Just(None), 1 => Just(Some("before-upgrade")), 1 => Just(Some("safety-0b6ec4a1"))];
    (0..span, qualities, labels).prop_map(move |(age, quality, label)| Backup {
        id: BackupId::new(Timestamp::from_unix(NOW - age), 7),
        label: label.filter(|_| !all_whole).map(|label| label.parse().unwrap()),
        quality: if all_whole { Quality::Whole } else { quality },
    })
}

fn more_of(policy: &Policy, rhythm: Rhythm) -> Policy {
    let mut more = policy.clone();
    *match rhythm {
        Rhythm::Last => &mut more.last,
        Rhythm::Hourly => &mut more.hourly,
        Rhythm::Daily => &mut more.daily,
        Rhythm::Weekly => &mut more.weekly,
        Rhythm::Monthly => &mut more.monthly,
        Rhythm::Yearly => &mut more.yearly,
    } += 1;
    more
}

const RHYTHMS: [Rhythm; 6] =
    [Rhythm::Last, Rhythm::Hourly, Rhythm::Daily, Rhythm::Weekly, Rhythm::Monthly, Rhythm::Yearly];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn of_whole_backups_it_keeps_what_restic_keeps(policy in policies(), backups in lists(true)) {
        let decisions = apply(&policy, backups.clone(), Timestamp::from_unix(NOW));
        prop_assert_eq!(of(&decisions, true), as_restic_keeps(&policy, &backups));
    }

    #[test]
    fn what_holds_for_every_list_and_every_policy(
        policy in policies(), backups in lists(false), rhythm in 0..6_usize,
    ) {
        let now = Timestamp::from_unix(NOW);
        let decisions = apply(&policy, backups.clone(), now);
        let (kept, removed) = (of(&decisions, true), of(&decisions, false));

        // Kept and removed are the input.
        prop_assert_eq!(kept.union(&removed).cloned().collect::<BTreeSet<_>>(), ids(&backups.iter().collect::<Vec<_>>()));
        prop_assert_eq!(decisions.len(), backups.len());

        // The newest, and the newest whole one, are kept; so is whatever has a label of its own, or cannot be read.
        let is_safety = |backup: &&Backup| backup.label.as_ref().is_some_and(Label::is_of_safety_copy);
        let regular: BTreeMap<&BackupId, Quality> =
            backups.iter().filter(|backup| !is_safety(backup)).map(|backup| (&backup.id, backup.quality)).collect();
        for newest in [
            regular.keys().next_back(),
            regular.iter().rev().find(|(_, quality)| **quality == Quality::Whole).map(|(id, _)| id),
        ] {
            prop_assert!(newest.is_none_or(|newest| kept.contains(*newest)));
        }
        for backup in &backups {
            let is_pinned = backup.quality == Quality::Unreadable
                || backup.label.is_some() && !is_safety(&backup);
            prop_assert!(!is_pinned || kept.contains(&backup.id));
        }

        // Incomplete and unreadable backups and safety copies take no place from a whole one.
        let whole: Vec<Backup> = backups
            .iter()
            .filter(|backup| backup.quality == Quality::Whole && !is_safety(backup))
            .cloned()
            .collect();
        let kept_of_whole = of(&apply(&policy, whole, now), true);
        prop_assert!(kept_of_whole.is_subset(&kept));

        // A larger number never removes more.
        let with_more = of(&apply(&more_of(&policy, RHYTHMS[rhythm]), backups.clone(), now), true);
        prop_assert!(kept.is_subset(&with_more));

        // Pruning what was pruned removes nothing.
        let left: Vec<Backup> = backups.into_iter().filter(|backup| kept.contains(&backup.id)).collect();
        prop_assert_eq!(of(&apply(&policy, left, now), true), kept);
    }
}
