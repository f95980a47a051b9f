//! The words: vault, kind, item, backup, label, and the bytes that never print.
//!
//! Nothing here talks to anybody. Names are checked when they are made, so that no other place needs to.

mod amount;
pub mod filter;
mod nearest;
mod timestamp;
mod vault_name;

use std::{cmp::Ordering, collections::BTreeMap, fmt, hash, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de};
use sha2::{Digest as _, Sha256};
use time::macros::format_description;

pub use self::{
    amount::{are, counted, size, spoken, were},
    nearest::did_you_mean,
    timestamp::Timestamp,
    vault_name::VaultName,
};
use crate::error::{Error, ErrorKind, Result};

/// The kinds of items a vault holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Certificates, with the key and the secret that each of them owns.
    Certificates,
    /// Keys that no certificate owns.
    Keys,
    /// Secrets that no certificate owns.
    Secrets,
}

impl Kind {
    /// All kinds. Certificates first: restoring one brings its key and its secret, so that nothing else may take the
    /// name before.
    pub const ALL: [Self; 3] = [Self::Certificates, Self::Keys, Self::Secrets];

    /// The plural word used in paths, patterns and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Keys => "keys",
            Self::Secrets => "secrets",
        }
    }

    /// The singular word used in sentences.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Certificates => "certificate",
            Self::Keys => "key",
            Self::Secrets => "secret",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not a kind of item; use keys, secrets or certificates."),
            )
        })
    }
}

/// The Azure cloud a vault lives in: decides which host names a token may be sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cloud {
    /// The public cloud.
    #[default]
    Public,
    /// Azure US Government.
    UsGovernment,
    /// Azure operated by 21Vianet.
    China,
}

impl Cloud {
    /// What the host name of every vault ends with (Microsoft Learn, "Key Vault DNS suffixes").
    pub fn vault_suffix(self) -> &'static str {
        match self {
            Self::Public => "vault.azure.net",
            Self::UsGovernment => "vault.usgovcloudapi.net",
            Self::China => "vault.azure.cn",
        }
    }

    /// What the host name of every Blob Storage account ends with.
    pub fn blob_suffix(self) -> &'static str {
        match self {
            Self::Public => "blob.core.windows.net",
            Self::UsGovernment => "blob.core.usgovcloudapi.net",
            Self::China => "blob.core.chinacloudapi.cn",
        }
    }
}

impl FromStr for Cloud {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "public" => Ok(Self::Public),
            "usgovernment" => Ok(Self::UsGovernment),
            "china" => Ok(Self::China),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not a cloud this program knows; use public, usgovernment or china."),
            )),
        }
    }
}

/// The name of an item: 1 to 127 letters, digits and hyphens. Key Vault ignores case in comparisons and keeps it in
/// display, and so does this type.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct ItemName(Box<str>);

impl ItemName {
    /// The name as the vault shows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that was taken from an [`ItemName`] before.
    pub(crate) fn of_checked(text: &str) -> Self {
        Self(text.into())
    }

    /// The order of names, which ignores case.
    pub(crate) fn compare(a: &str, b: &str) -> Ordering {
        a.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(b.bytes().map(|byte| byte.to_ascii_lowercase()))
    }
}

impl FromStr for ItemName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if (1..=127).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Ok(Self(text.into()));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} is not the name of an item: it has 1 to 127 letters, digits and hyphens."),
        ))
    }
}

impl PartialEq for ItemName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for ItemName {}
impl hash::Hash for ItemName {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.bytes().for_each(|byte| state.write_u8(byte.to_ascii_lowercase()));
    }
}
impl PartialOrd for ItemName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ItemName {
    fn cmp(&self, other: &Self) -> Ordering {
        Self::compare(&self.0, &other.0)
    }
}
impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
impl<'de> Deserialize<'de> for ItemName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One item of a vault, printed as `secrets/db-password`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemId {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: ItemName,
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// See [`Attributes::are_settled_at`].
pub const UNSETTLED: std::time::Duration = std::time::Duration::from_secs(5);

/// What a listing shows of an item, without ever showing a value: the state of its current version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// Whether the current version may be used.
    pub enabled: bool,
    /// When the current version was made.
    pub created: Timestamp,
    /// When the current version was last changed.
    pub updated: Timestamp,
    /// Not to be used before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Not to be used after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Secrets only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Box<str>>,
    /// Certificates only: the thumbprint (SHA-1, base64url) of the current version.
    #[serde(default, rename = "x5t", skip_serializing_if = "Option::is_none")]
    pub thumbprint: Option<Box<str>>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<Box<str>, Box<str>>,
}

impl Attributes {
    /// Whether a copy taken at that moment certainly holds this state.
    ///
    /// Key Vault counts in whole seconds, and its clock and ours may differ: a change within [`UNSETTLED`] before a copy
    /// was taken may or may not be in the copy, so such a copy is not trusted.
    pub fn are_settled_at(&self, taken: Timestamp) -> bool {
        self.updated.plus(UNSETTLED) <= taken
    }

    /// A short hash over everything here: two listings with the same fingerprint show the same state. Part of the
    /// names of item blobs (`docs/format.md`), so it must never change.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut field = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        let date = |date: Option<Timestamp>| date.map_or(String::new(), |date| date.unix().to_string());
        field(if self.enabled { "enabled" } else { "disabled" });
        field(&date(Some(self.created)));
        field(&date(Some(self.updated)));
        field(&date(self.not_before));
        field(&date(self.expires));
        field(self.content_type.as_deref().unwrap_or_default());
        field(self.thumbprint.as_deref().unwrap_or_default());
        for (name, value) in &self.tags {
            field(name);
            field(value);
        }
        hex::encode(&hash.finalize()[..8])
    }
}

/// The id of a backup, such as `20261121T020000Z-1f2e3d4c`: when it started (UTC) and eight digits that tell backups of
/// the same second apart. Ids sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BackupId(String);

impl BackupId {
    /// The id of a backup that starts now.
    pub fn new(started: Timestamp, distinction: u32) -> Self {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let started = started.date_time().format(&format).unwrap_or_default();
        Self(format!("{started}-{distinction:08x}"))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the backup started.
    pub fn started(&self) -> Timestamp {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        time::PrimitiveDateTime::parse(&self.0[..16], &format)
            .map_or(Timestamp::from_unix(0), |started| started.assume_utc().into())
    }
}

impl FromStr for BackupId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let sound = text.len() == 25
            && text.is_ascii()
            && text.as_bytes()[16] == b'-'
            && text[17..].bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && time::PrimitiveDateTime::parse(&text[..16], &format).is_ok();
        if sound {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} is not the id of a backup; ids look like 20261121T020000Z-1f2e3d4c."),
        ))
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name a person gives a backup: 1 to 63 letters in lower case, digits and hyphens, beginning with a letter, so
/// that it is never mistaken for an id or a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(String);

/// What the labels of safety copies begin with.
const SAFETY: &str = "safety-";

impl Label {
    /// The label of the backup that a restore makes of what it is about to replace; `distinction` names the restore.
    pub fn of_safety_copy(distinction: u32) -> Self {
        Self(format!("{SAFETY}{distinction:08x}"))
    }

    /// Whether it is such a label.
    pub fn is_of_safety_copy(&self) -> bool {
        self.0.starts_with(SAFETY)
    }

    /// Reads a label that a person chose: those of safety copies are not theirs to give.
    pub fn chosen(text: &str) -> Result<Self> {
        let label: Self = text.parse()?;
        if label.is_of_safety_copy() {
            let message =
                format!("{text:?} cannot be a label: those that begin with {SAFETY} belong to safety copies.");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(label)
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let sound = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && text.as_bytes()[0].is_ascii_lowercase()
            && text != "latest";
        if sound {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{text:?} is not a label: it has 1 to 63 lower-case letters, digits and hyphens, begins with a letter \
                 and is not \"latest\"."
            ),
        ))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

macro_rules! deserialize_by_parsing {
    ($($name:ty),*) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )* };
}
deserialize_by_parsing!(BackupId, Label, Timestamp, VaultName);

/// The bytes of one item's backup. They are a secret for their whole life: whoever can restore them can read the item.
/// Nothing prints them.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Bytes);

impl Sealed {
    /// Wraps the bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the store and for the vault.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Their SHA-256, in hexadecimal.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}
