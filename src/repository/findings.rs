//! What verifications find out, as it is kept in the state container. Losing it loses no backup: the next verification
//! finds it again.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Repository, names, records::decode};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, ItemId, Timestamp, VaultName},
};

/// The format version of both documents.
pub const FINDINGS_VERSION: u32 = 1;

/// The outcome of one verification of a vault's backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// [`FINDINGS_VERSION`].
    pub format_version: u32,
    /// The vault whose backups were looked at.
    pub vault: VaultName,
    /// The operation that did it.
    pub operation: Uuid,
    /// When the first blob was looked at, also when later attempts went on.
    pub started_at: Timestamp,
    /// When it was done.
    pub finished_at: Timestamp,
    /// Backups there are.
    pub backups: u64,
    /// Backups of which everything is as it was written.
    pub sound_backups: u64,
    /// Item blobs there are.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Item blobs that no readable backup names: of backups in the making, given up, or removed.
    pub unnamed_blobs: u64,
    /// What was found, damage first.
    pub findings: Vec<Finding>,
    /// Damage beyond what is listed.
    pub more_damage: u64,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What is wrong.
    pub finding: Wrong,
    /// The blob or the manifest.
    pub blob: String,
    /// The item whose copy is in that blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemId>,
    /// The backups that need the blob, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<BackupId>,
    /// A sentence.
    pub message: String,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wrong {
    /// A blob is not there.
    MissingBlob,
    /// A blob has another size than its manifests say.
    WrongSize,
    /// A blob has another content than its name says.
    WrongContent,
    /// A manifest is not what was written, or not where it was written.
    DamagedManifest,
    /// A manifest is of a format that this release does not read.
    NewerManifest,
    /// Item blobs older than a day that no backup names. No damage: `blob` is the first of them.
    UnnamedBlobs,
    /// Blobs whose names this program does not write. No damage: `blob` is the first of them.
    UnknownNames,
}

impl Wrong {
    /// The word used in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingBlob => "missingBlob",
            Self::WrongSize => "wrongSize",
            Self::WrongContent => "wrongContent",
            Self::DamagedManifest => "damagedManifest",
            Self::NewerManifest => "newerManifest",
            Self::UnnamedBlobs => "unnamedBlobs",
            Self::UnknownNames => "unknownNames",
        }
    }

    /// What the caller can do about it.
    pub fn kind(self) -> ErrorKind {
        if self == Self::NewerManifest { ErrorKind::NewerFormat } else { ErrorKind::Corrupt }
    }
}

impl Finding {
    /// Whether a backup cannot be restored as it was made. Everything else is worth knowing and no more.
    pub fn is_damage(&self) -> bool {
        !self.backups.is_empty()
    }
}

impl Findings {
    /// How much damage there is, listed or not.
    pub fn damage(&self) -> u64 {
        self.findings.iter().filter(|finding| finding.is_damage()).count() as u64 + self.more_damage
    }
}

/// How far a verification got that has not ended: another attempt, or another verification within a day, goes on there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// [`FINDINGS_VERSION`].
    pub format_version: u32,
    /// When its first blob was looked at.
    pub started_at: Timestamp,
    /// The last blob that was read, in the order of names; absent when no verification is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The blobs up to there whose content is not what their names say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// Blobs that the last verification found damaged: the next backup does not rely on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    blobs: HashSet<String>,
    /// There was more than could be listed.
    is_everywhere: bool,
}

impl Damage {
    /// Whether this blob is, or may be, damaged.
    pub fn may_be_at(&self, blob: &str) -> bool {
        self.is_everywhere || self.blobs.contains(blob)
    }
}

impl Repository {
    /// What the last verification of that vault found that ended.
    pub async fn findings(&self, vault: &VaultName) -> Result<Option<Findings>> {
        self.document(&names::findings(vault)).await
    }

    /// Keeps what a verification found.
    pub async fn save_findings(&self, findings: &Findings) -> Result<()> {
        self.save_document(&names::findings(&findings.vault), findings).await
    }

    /// Blobs that the last verification found damaged. None when that cannot be read: a backup must not fail for it.
    pub async fn damage(&self, vault: &VaultName) -> Damage {
        match self.findings(vault).await {
            Ok(Some(found)) => {
                let damaged = found.findings.into_iter().filter(Finding::is_damage);
                Damage { blobs: damaged.map(|finding| finding.blob).collect(), is_everywhere: found.more_damage > 0 }
            }
            Ok(None) => Damage::default(),
            Err(error) => {
                tracing::warn!(%vault, error = %error.chain(), "could not read what the last verification found");
                Damage::default()
            }
        }
    }

    /// Backups in which the last verification found damage. None when that cannot be read: to read backups takes no rights
    /// on the state.
    pub async fn damaged_backups(&self, vault: &VaultName) -> HashSet<BackupId> {
        let found = self.findings(vault).await.ok().flatten();
        found.into_iter().flat_map(|found| found.findings).flat_map(|finding| finding.backups).collect()
    }

    /// How far the last verification of that vault got.
    pub async fn verification(&self, vault: &VaultName) -> Result<Option<Verification>> {
        self.document(&names::verification(vault)).await
    }

    /// Keeps how far a verification got.
    pub async fn save_verification(&self, vault: &VaultName, verification: &Verification) -> Result<()> {
        self.save_document(&names::verification(vault), verification).await
    }

    /// Nothing when there is none, or when it is of a newer format: both documents can be made again.
    async fn document<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            format_version: u32,
        }
        let text = match self.state.read(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let Version { format_version } = decode(name, &text)?;
        if format_version > FINDINGS_VERSION {
            return Ok(None);
        }
        decode(name, &text).map(Some)
    }

    async fn save_document<T: Serialize>(&self, name: &str, document: &T) -> Result<()> {
        let text = serde_json::to_vec_pretty(document).map_err(|cause| {
            Error::new(ErrorKind::Internal, format!("Could not write {name} as JSON.")).because(cause)
        })?;
        self.state.replace(name, text.into()).await
    }
}
