//! Moments as Key Vault counts them.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::error::{Error, ErrorKind, Result};

/// A moment, in whole seconds: what Key Vault counts in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From seconds since 1970-01-01T00:00:00Z. Moments that no calendar holds are moved to its nearest end.
    pub fn from_unix(seconds: i64) -> Self {
        const YEAR_0: i64 = -62_167_219_200;
        const YEAR_9999: i64 = 253_402_300_799;
        Self(seconds.clamp(YEAR_0, YEAR_9999))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// This moment and so many whole seconds more.
    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self::from_unix(self.0.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }

    /// Seconds from `earlier` to this moment; negative when it is later.
    pub fn seconds_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    pub(crate) fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(moment: OffsetDateTime) -> Self {
        Self::from_unix(moment.unix_timestamp())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.date_time().format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        OffsetDateTime::parse(text, &Rfc3339).map(Self::from).map_err(|cause| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not an RFC 3339 time; write it like 2026-11-21T02:00:00Z."),
            )
            .because(cause)
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
