//! NCRONTAB schedules: `second minute hour day month day-of-week`, in UTC.
//!
//! Written here because the Rust cron crates count Sunday as 1, where NCRONTAB counts it as 0, and would fire a day
//! early without a word.

use super::{Error, Result};
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, Time, format_description::well_known::Rfc3339};

/// When a timer fires.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    seconds: Field,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// The values allowed in one field: bit n stands for value n.
type Field = u64;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A leap day on a given weekday comes back after at most 40 years (where a century skips its leap day).
const SEARCH_DAYS: u32 = 41 * 366;

impl Schedule {
    /// Parses six fields with `*`, lists, ranges, steps, and English three-letter names.
    ///
    /// # Errors
    /// When there are not six fields, or one is not understood or out of range. Time spans as schedules, which only
    /// App Service plans accept, are refused too.
    pub(super) fn parse(expression: &str) -> Result<Self> {
        let refuse = |why: String| Error::new(format!("schedule '{expression}' is not NCRONTAB: {why}"));
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let [seconds, minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(refuse(format!(
                "it has {} fields instead of 6 (second minute hour day month day-of-week)",
                fields.len()
            )));
        };
        let field = |text, low, high, names: &[&str]| field(text, low, high, names).map_err(refuse);
        let schedule = Self {
            seconds: field(seconds, 0, 59, &[])?,
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: field(days, 1, 31, &[])?,
            months: field(months, 1, 12, &MONTHS)?,
            weekdays: field(weekdays, 0, 6, &WEEKDAYS)?,
        };
        if schedule.after(OffsetDateTime::UNIX_EPOCH).is_none() {
            return Err(refuse("no such day ever comes".to_owned()));
        }
        Ok(schedule)
    }

    /// The first occurrence later than `now`; `None` if there is none. Day and day-of-week must both fit.
    pub(super) fn after(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let start = now.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).ok()? + Duration::SECOND;
        let mut date = start.date();
        let mut earliest = start.time();
        for _ in 0..SEARCH_DAYS {
            if self.fits(date)
                && let Some(time) = self.time_from(earliest)
            {
                return Some(PrimitiveDateTime::new(date, time).assume_utc());
            }
            date = date.next_day()?;
            earliest = Time::MIDNIGHT;
        }
        None
    }

    /// The next occurrence from the present moment on, for people to read.
    pub(super) fn show_next(&self) -> String {
        let next = self.after(OffsetDateTime::now_utc()).and_then(|next| next.format(&Rfc3339).ok());
        next.unwrap_or_else(|| "no time at all".to_owned())
    }

    fn fits(&self, date: Date) -> bool {
        has(self.days, date.day())
            && has(self.months, date.month().into())
            && has(self.weekdays, date.weekday().number_days_from_sunday())
    }

    fn time_from(&self, earliest: Time) -> Option<Time> {
        let hours = (earliest.hour()..24).filter(|h| has(self.hours, *h));
        for hour in hours {
            let first_minute = if hour == earliest.hour() { earliest.minute() } else { 0 };
            for minute in (first_minute..60).filter(|m| has(self.minutes, *m)) {
                let same = hour == earliest.hour() && minute == earliest.minute();
                let first_second = if same { earliest.second() } else { 0 };
                if let Some(second) = (first_second..60).find(|s| has(self.seconds, *s)) {
                    return Time::from_hms(hour, minute, second).ok();
                }
            }
        }
        None
    }
}

fn has(field: Field, value: u8) -> bool {
    field & (1 << value) != 0
}

fn field(text: &str, low: u8, high: u8, names: &[&str]) -> std::result::Result<Field, String> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => match step.parse::<u8>() {
                Ok(step) if step > 0 => (range, Some(step)),
                _ => return Err(format!("'{part}' has no step above zero")),
            },
        };
        let value = |text: &str| {
            let named = names.iter().position(|n| text.eq_ignore_ascii_case(n)).map(|p| p as u8 + low);
            named
                .or_else(|| text.parse().ok())
                .filter(|v| (low..=high).contains(v))
                .ok_or_else(|| format!("'{text}' is not from {low} to {high}"))
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((first, last)) => (value(first)?, value(last)?),
            // "5/10" means from 5 to the end in steps of 10.
            None => (value(range)?, if step.is_some() { high } else { value(range)? }),
        };
        if first > last {
            return Err(format!("range '{range}' runs backwards"));
        }
        for value in (first..=last).step_by(step.unwrap_or(1).into()) {
            bits |= 1 << value;
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn next_occurrences_are_those_of_ncrontab() {
        let now = datetime!(2026-01-31 23:59:30 UTC); // a Saturday
        for (expression, next) in [
            ("0 0 2 * * *", datetime!(2026-02-01 02:00:00 UTC)),
            ("*/20 * * * * *", datetime!(2026-01-31 23:59:40 UTC)),
            ("0 */5 * * * *", datetime!(2026-02-01 00:00:00 UTC)),
            ("0 30 9 * * 1-5", datetime!(2026-02-02 09:30:00 UTC)),
            ("0 0 0 * * 0", datetime!(2026-02-01 00:00:00 UTC)),
            ("0 0 0 * * sun", datetime!(2026-02-01 00:00:00 UTC)),
            ("0 0 0 1 Mar *", datetime!(2026-03-01 00:00:00 UTC)),
            ("0 0 0 29 2 *", datetime!(2028-02-29 00:00:00 UTC)),
            ("0 0 0 13 * Fri", datetime!(2026-02-13 00:00:00 UTC)),
            ("5/30 0 0 * * *", datetime!(2026-02-01 00:00:05 UTC)),
        ] {
            assert_eq!(Schedule::parse(expression).unwrap().after(now), Some(next), "{expression}");
        }
    }

    #[test]
    fn a_time_that_fits_now_fires_next_time_only() {
        let schedule = Schedule::parse("0 0 2 * * *").unwrap();
        assert_eq!(schedule.after(datetime!(2026-01-01 02:00:00 UTC)), Some(datetime!(2026-01-02 02:00:00 UTC)));
    }

    #[test]
    fn other_expressions_are_refused() {
        for expression in [
            "",
            "0 2 * * *",
            "00:05:00",
            "60 * * * * *",
            "0 0 0 0 * *",
            "*/0 * * * * *",
            "0 0 0 30 2 *",
            "9-5 * * * * *",
        ] {
            assert!(Schedule::parse(expression).is_err(), "{expression}");
        }
    }
}
