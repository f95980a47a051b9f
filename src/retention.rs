//! Which backups are kept: a pure function of the backups, the policy and the time, with restic's meaning of `keep` and
//! UTC as the time zone (`docs/decisions/0014-what-retention-never-removes.md`).

use std::{collections::HashSet, fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, ItemId, Label, Timestamp},
};

/// How long the safety copies of a restore are kept: a person who finds that a restore replaced the wrong thing does so
/// within weeks, and nobody looks after these backups.
pub const SAFETY_COPIES_KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// By how much the clocks of two machines may differ before a backup counts as one from the future. Ids sort by time, so one
/// that was made with a wrong clock would be the newest for years, and push out all that are made today.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);

/// What is to be known of a backup to decide about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its id, which holds its time.
    pub id: BackupId,
    /// Its label.
    pub label: Option<Label>,
    /// What it is worth.
    pub quality: Quality,
}

/// What a backup is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// It succeeded, and nothing is known to be wrong with it.
    Whole,
    /// It succeeded in part, or something of it is damaged.
    Incomplete,
    /// Its manifest cannot be read: it may hold anything.
    Unreadable,
}

impl Quality {
    /// The word used in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "Succeeded",
            Self::Incomplete => "Incomplete",
            Self::Unreadable => "Unreadable",
        }
    }
}

/// A backup and why it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The backup.
    pub backup: Backup,
    /// All reasons to keep it; removed when there is none.
    pub reasons: Vec<Reason>,
}

/// Why a backup is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No backup of the vault is newer.
    Newest,
    /// No backup of the vault that is whole is newer.
    NewestWhole,
    /// It is in a place of the policy.
    Place(Place),
    /// A person gave it a name: it stays until it is removed by name.
    Label(Label),
    /// It holds what a restore replaced.
    SafetyCopy {
        /// When that ends.
        until: Timestamp,
    },
    /// Its manifest cannot be read: a person has to look at it.
    Unreadable,
    /// No other backup holds an item that may still be in the vault.
    LastCopy {
        /// One of these items.
        item: ItemId,
        /// How many more there are.
        more: usize,
    },
    /// Its time has not come yet, so it is no guide to what is new: a person has to look at it.
    Future,
    /// Backups are removed by name, and this one was not named.
    NotNamed,
    /// The guard against mass deletion is up: nothing is removed.
    Guard,
    /// The container does not let it be deleted yet.
    Protected {
        /// When that ends, as far as it is known.
        until: Option<Timestamp>,
    },
}

/// A place of the policy that a backup takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of which rhythm.
    pub rhythm: Rhythm,
    /// Which hour, day, week, month or year; empty for [`Rhythm::Last`].
    pub period: String,
    /// It is not the newest of its period but the oldest of all, which stays while places are left.
    pub oldest: bool,
    /// It is not whole, and its period has no backup that is.
    pub incomplete: bool,
}

/// Decides about all backups of one vault; newest first.
///
/// - Safety copies are kept for [`SAFETY_COPIES_KEPT_FOR`], take no place, and are never the newest backup.
/// - Backups with a label, unreadable ones, the newest and the newest whole one are kept.
/// - A backup from the future is kept, takes no place, and is never the newest.
/// - Of each rhythm, the newest whole backup of each period takes a place, newest periods first, as many as the policy
///   says. Periods without a backup do not count. While places are left, the oldest whole backup is kept too.
/// - An incomplete backup takes no place from a whole one. Where a period has incomplete ones only, the newest of them
///   is kept beside, at most as many as there are places, and not behind the last place.
pub fn apply(policy: &Policy, backups: Vec<Backup>, now: Timestamp) -> Vec<Decision> {
    let mut decisions = newest_first(backups, now);
    for Decision { backup, reasons } in &mut decisions {
        match &backup.label {
            Some(_) if backup.is_safety_copy() => {
                let until = backup.id.started().plus(SAFETY_COPIES_KEPT_FOR);
                reasons.extend((now < until).then_some(Reason::SafetyCopy { until }));
            }
            Some(label) => reasons.push(Reason::Label(label.clone())),
            None => (),
        }
        if backup.quality == Quality::Unreadable {
            reasons.push(Reason::Unreadable);
        }
        if backup.is_from_the_future(now) {
            reasons.push(Reason::Future);
        }
    }
    for (rhythm, places) in policy.rhythms() {
        fill(rhythm, places, &mut decisions, now);
    }
    decisions
}

/// Decides to keep all backups of one vault but these; newest first. The newest and the newest whole one stay even if they
/// are named.
pub fn all_but(named: &[BackupId], backups: Vec<Backup>, now: Timestamp) -> Vec<Decision> {
    let mut decisions = newest_first(backups, now);
    for Decision { backup, reasons } in decisions.iter_mut().filter(|decision| decision.reasons.is_empty()) {
        reasons.extend((!named.contains(&backup.id)).then_some(Reason::NotNamed));
    }
    decisions
}

/// The backups in order, with the reasons that hold whatever is decided.
fn newest_first(mut backups: Vec<Backup>, now: Timestamp) -> Vec<Decision> {
    backups.sort_by(|a, b| b.id.cmp(&a.id));
    let newest = backups.iter().position(|backup| backup.counts(now));
    let newest_whole = backups.iter().position(|backup| backup.counts(now) && backup.quality == Quality::Whole);
    let decide = |(index, backup)| {
        let reasons = [(newest, Reason::Newest), (newest_whole, Reason::NewestWhole)];
        let reasons = reasons.into_iter().filter(|(place, _)| *place == Some(index)).map(|(_, reason)| reason);
        Decision { backup, reasons: reasons.collect() }
    };
    backups.into_iter().enumerate().map(decide).collect()
}

fn fill(rhythm: Rhythm, places: u32, decisions: &mut [Decision], now: Timestamp) {
    let of = |decisions: &[Decision], quality: Quality| -> Vec<(usize, String)> {
        let indices = decisions
            .iter()
            .enumerate()
            .filter(|(_, Decision { backup, .. })| backup.quality == quality && backup.counts(now));
        indices.map(|(index, decision)| (index, rhythm.period(&decision.backup.id))).collect()
    };
    let (whole, incomplete) = (of(decisions, Quality::Whole), of(decisions, Quality::Incomplete));
    let mut keep = |index: usize, period: &str, oldest: bool, incomplete: bool| {
        let period = if rhythm == Rhythm::Last { String::new() } else { period.to_owned() };
        decisions[index].reasons.push(Reason::Place(Place { rhythm, period, oldest, incomplete }));
    };
    let places = usize::try_from(places).unwrap_or(usize::MAX);

    let taken: Vec<&(usize, String)> = newest_of_periods(&whole).take(places).collect();
    for (index, period) in &taken {
        keep(*index, period, false, false);
    }
    let places_left = taken.len() < places;
    if let Some((index, period)) = whole.last().filter(|last| places_left && !taken.contains(last)) {
        keep(*index, period, true, false);
    }

    let has_whole: HashSet<&str> = whole.iter().map(|(_, period)| period.as_str()).collect();
    let end = if places_left { usize::MAX } else { taken.last().map_or(0, |(index, _)| *index) };
    let beside = newest_of_periods(&incomplete)
        .filter(|(index, period)| *index < end && !has_whole.contains(period.as_str()))
        .take(places);
    for (index, period) in beside {
        keep(*index, period, false, true);
    }
}

/// The first of each run of equal periods.
fn newest_of_periods(backups: &[(usize, String)]) -> impl Iterator<Item = &(usize, String)> {
    let mut last: Option<&str> = None;
    backups.iter().filter(move |(_, period)| last.replace(period) != Some(period.as_str()))
}

impl Backup {
    /// Whether it is one of the backups that the policy counts.
    fn counts(&self, now: Timestamp) -> bool {
        !self.is_safety_copy() && !self.is_from_the_future(now)
    }

    fn is_safety_copy(&self) -> bool {
        self.label.as_ref().is_some_and(Label::is_of_safety_copy)
    }

    fn is_from_the_future(&self, now: Timestamp) -> bool {
        self.id.started() > now.plus(CLOCKS_DIFFER)
    }
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rhythm {
    /// Every backup.
    Last,
    /// Once an hour.
    Hourly,
    /// Once a day.
    Daily,
    /// Once a week, which begins on Monday (ISO 8601).
    Weekly,
    /// Once a month.
    Monthly,
    /// Once a year.
    Yearly,
}

impl Rhythm {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// Which period a backup belongs to; of [`Rhythm::Last`], each is one by itself.
    fn period(self, id: &BackupId) -> String {
        let started = id.started().date_time();
        let (year, month, day) = (started.year(), u8::from(started.month()), started.day());
        match self {
            Self::Last => id.to_string(),
            Self::Hourly => format!("{year:04}-{month:02}-{day:02} {:02}:00", started.hour()),
            Self::Daily => format!("{year:04}-{month:02}-{day:02}"),
            Self::Weekly => {
                let (year, week, _) = started.to_iso_week_date();
                format!("{year:04}-W{week:02}")
            }
            Self::Monthly => format!("{year:04}-{month:02}"),
            Self::Yearly => format!("{year:04}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.period.is_empty() { "" } else { " " };
        write!(f, "{}{separator}{}", self.rhythm.as_str(), self.period)?;
        f.write_str(if self.oldest { " (oldest)" } else { "" })?;
        f.write_str(if self.incomplete { " (incomplete)" } else { "" })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::NewestWhole => f.write_str("newest complete"),
            Self::Place(place) => place.fmt(f),
            Self::Label(label) => write!(f, "label {label}"),
            Self::SafetyCopy { until } => write!(f, "safety copy until {until}"),
            Self::Unreadable => f.write_str("unreadable"),
            Self::LastCopy { item, more: 0 } => write!(f, "last copy of {item}"),
            Self::LastCopy { item, more } => write!(f, "last copy of {item} and {more} more"),
            Self::Future => f.write_str("from the future"),
            Self::NotNamed => f.write_str("not named"),
            Self::Guard => f.write_str("guard"),
            Self::Protected { until: Some(until) } => write!(f, "kept by policy until {until}"),
            Self::Protected { until: None } => f.write_str("kept by policy"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How many backups are kept of which rhythm. Written as `last=7,daily=35,monthly=12`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest ones.
    pub last: u32,
    /// The newest of each of that many hours that have a backup.
    pub hourly: u32,
    /// The same for days.
    pub daily: u32,
    /// The same for weeks, which begin on Monday (ISO 8601).
    pub weekly: u32,
    /// The same for months.
    pub monthly: u32,
    /// The same for years.
    pub yearly: u32,
}

impl FromStr for Policy {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: String| {
            let message = format!("{why}. Write it like last=7,daily=35,weekly=8,monthly=12,yearly=7.");
            Err(Error::new(ErrorKind::InvalidInput, message))
        };
        let mut policy = Self::default();
        for part in text.split([',', ';', ' ']).map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, number)) = part.split_once('=') else {
                return refuse(format!("{part:?} is not a rhythm and a number"));
            };
            let Ok(number) = number.trim().parse::<u32>() else {
                return refuse(format!("{number:?} is not a whole number of backups"));
            };
            let kept = match name.trim() {
                "last" => &mut policy.last,
                "hourly" => &mut policy.hourly,
                "daily" => &mut policy.daily,
                "weekly" => &mut policy.weekly,
                "monthly" => &mut policy.monthly,
                "yearly" => &mut policy.yearly,
                other => return refuse(format!("{other:?} is no rhythm")),
            };
            *kept = number;
        }
        if policy == Self::default() {
            return refuse("this policy keeps nothing".to_owned());
        }
        Ok(policy)
    }
}

impl Policy {
    /// How many places each rhythm has.
    fn rhythms(&self) -> [(Rhythm, u32); 6] {
        let Self { last, hourly, daily, weekly, monthly, yearly } = *self;
        [
            (Rhythm::Last, last),
            (Rhythm::Hourly, hourly),
            (Rhythm::Daily, daily),
            (Rhythm::Weekly, weekly),
            (Rhythm::Monthly, monthly),
            (Rhythm::Yearly, yearly),
        ]
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rhythms = self.rhythms();
        let parts: Vec<String> = rhythms
            .iter()
            .filter(|(_, number)| *number > 0)
            .map(|(rhythm, number)| format!("{}={number}", rhythm.as_str()))
            .collect();
        f.write_str(&parts.join(","))
    }
}
