//! How a person names a backup.

use std::{fmt, str::FromStr};

use super::{BackupRef, Repository};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, Label, Timestamp, VaultName, did_you_mean},
};

/// One of the ways to name a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest.
    Latest,
    /// By id.
    Id(BackupId),
    /// By label; the newest of that label.
    Label(Label),
    /// The newest that was complete at or before this moment.
    At(Timestamp),
}

impl FromStr for Selector {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        // A date is the end of its day.
        if let Ok(moment) = text.parse().or_else(|_| format!("{text}T23:59:59Z").parse()) {
            return Ok(Self::At(moment));
        }
        text.parse().map(Self::Label).map_err(|_| {
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{text:?} does not name a backup. Use latest, an id such as 20261121T020000Z-1f2e3d4c, a label, a \
                     date such as 2026-11-21, or an RFC 3339 time such as 2026-11-21T02:00:00Z."
                ),
            )
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Id(id) => id.fmt(f),
            Self::Label(label) => label.fmt(f),
            Self::At(moment) => moment.fmt(f),
        }
    }
}

impl Repository {
    /// The backup of a vault that a person names. What is neither an id nor anything else that names a backup may be a
    /// slip of the finger: then the error says which one may have been meant.
    pub async fn find_named(&self, vault: &VaultName, text: &str) -> Result<BackupRef> {
        match text.parse::<Selector>() {
            Ok(selector) => self.find(vault, &selector).await,
            Err(error) => {
                let backups = self.backups(vault).await.unwrap_or_default();
                Err(error.adding(&meant(text, &backups)))
            }
        }
    }
}

/// What names a backup and is near to what was written.
pub(super) fn meant(written: &str, backups: &[BackupRef]) -> String {
    let ids = backups.iter().map(|backup| backup.id.to_string());
    let labels = backups.iter().filter_map(|backup| backup.label.as_ref().map(ToString::to_string));
    let latest = (!backups.is_empty()).then(|| Selector::Latest.to_string());
    did_you_mean(written, ids.chain(labels).chain(latest))
}
