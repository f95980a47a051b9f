//! Which backups are kept: a pure function of the backups, the policy and nothing else, with restic's meaning of `keep`
//! and UTC as the time zone.

use std::{fmt, str::FromStr};

use crate::error::{Error, ErrorKind, Result};

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

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last, hourly, daily, weekly, monthly, yearly } = self;
        let rhythms = [
            ("last", last),
            ("hourly", hourly),
            ("daily", daily),
            ("weekly", weekly),
            ("monthly", monthly),
            ("yearly", yearly),
        ];
        let parts: Vec<String> = rhythms
            .iter()
            .filter(|(_, number)| **number > 0)
            .map(|(name, number)| format!("{name}={number}"))
            .collect();
        f.write_str(&parts.join(","))
    }
}
