//! The manifest: the JSON that makes a backup exist. Format version 1, specified in `docs/format.md`.
//!
//! It is one JSON document whose text has a fixed shape, so that it can be listed by its head, searched with `grep` and
//! checked by itself: the header's fields, then the line `  "items": [`, then one line per item, and at the end the
//! line `  "sha256": "…"`, the hash of every byte before that line.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    items::{Collector, Items},
    reading::Reading,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Attributes, BackupId, ItemId, Kind, Label, Timestamp, VaultName},
    report::Status,
    spool::Spool,
};

/// The newest format this release reads and the one it writes.
pub const FORMAT_VERSION: u32 = 1;

pub(super) const ITEMS: &str = "\n  \"items\": [";
pub(super) const HASH: &str = "\n  \"sha256\": \"";

/// A backup: what was in the vault, and where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// All about the backup but its items.
    pub header: Header,
    /// Every item, in the order of kind and name.
    pub items: Items,
}

/// All about a backup but its items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The release of this program that wrote it.
    pub tool_version: String,
    /// The backup's id.
    pub backup_id: BackupId,
    /// The vault that was backed up.
    pub vault: VaultName,
    /// Its URI.
    pub vault_uri: String,
    /// When the listing began.
    pub started_at: Timestamp,
    /// When the last item was written.
    pub finished_at: Timestamp,
    /// `Succeeded`, or `PartiallySucceeded` when something is stale or missing.
    pub status: Status,
    /// Whether every item was read anew.
    pub full: bool,
    /// The name a person gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// The backup whose item blobs this one shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_backup: Option<BackupId>,
    /// The patterns of `BACKUP_ITEMS`; empty means everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter: Vec<String>,
    /// Present while the guard is up: too much had vanished or been disabled, and nobody has acknowledged it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// How many of what.
    pub counts: Counts,
    /// What is not in this backup, or only as an older copy, and why.
    #[serde(default)]
    pub failures: Vec<Failure>,
}

/// Why the guard is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guard {
    /// The backup that found it; an acknowledgement names it.
    pub tripped_by: BackupId,
    /// The last good backup, with which it was compared.
    pub compared_with: BackupId,
    /// How many items of that backup could be compared: those in scope whose kind could be listed.
    pub items: u64,
    /// How many of them had vanished.
    pub deleted: u64,
    /// How many of them had been disabled.
    pub disabled: u64,
}

/// How many of what a backup holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Keys in the backup.
    pub keys: u64,
    /// Secrets in the backup.
    pub secrets: u64,
    /// Certificates in the backup.
    pub certificates: u64,
    /// Keys and secrets that are held by their certificate's backup.
    pub managed_skipped: u64,
    /// Items that the filter left out.
    pub filtered_out: u64,
    /// Items read from the vault in this run.
    pub read: u64,
    /// Unchanged items whose blob an earlier backup wrote.
    pub carried_over: u64,
    /// Items that are in the backup as an older copy only, because this run could not read them.
    pub stale: u64,
    /// Items that are in the vault and not in the backup.
    pub missing: u64,
    /// Bytes of all item blobs.
    pub bytes: u64,
}

impl Counts {
    /// Items in the backup.
    pub fn items(&self) -> u64 {
        self.keys + self.secrets + self.certificates
    }

    /// Counts one item of the backup.
    pub fn add(&mut self, kind: Kind, bytes: u64) {
        *match kind {
            Kind::Keys => &mut self.keys,
            Kind::Secrets => &mut self.secrets,
            Kind::Certificates => &mut self.certificates,
        } += 1;
        self.bytes += bytes;
    }
}

/// Something that could not be backed up this time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The kind that could not be listed, or of the item that could not be read.
    pub kind: Kind,
    /// The item; absent when the whole kind could not be listed, and where further failures are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// So many failures of items of this kind, beside those that are listed. To a reader that does not know this field,
    /// any item of the kind may have failed, which is sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
    /// A stable code ([`ErrorKind::code`]).
    pub code: String,
    /// The sentence.
    pub reason: String,
}

/// Failures, and of which items they speak: found at once, because there may be one for each item of two lists.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    failures: Vec<Failure>,
    places: HashMap<(Kind, Option<Box<str>>), usize>,
}

impl Gaps {
    /// The failures of a backup or of listings.
    pub fn new(failures: Vec<Failure>) -> Self {
        let mut places = HashMap::with_capacity(failures.len());
        for (place, failure) in failures.iter().enumerate() {
            let name = failure.name.as_deref().map(|name| name.to_ascii_lowercase().into());
            places.entry((failure.kind, name)).or_insert(place);
        }
        Self { failures, places }
    }

    /// All failures.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The number of the failure that says why nothing is known of this item, if one does.
    pub fn of(&self, item: &ItemId) -> Option<usize> {
        let whole_kind = self.places.get(&(item.kind, None));
        let named = self.places.get(&(item.kind, Some(item.name.as_str().to_ascii_lowercase().into())));
        whole_kind.into_iter().chain(named).min().copied()
    }
}

/// One item of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Kind and name.
    #[serde(flatten)]
    pub id: ItemId,
    /// The version that was current.
    pub version: Box<str>,
    /// Versions made in the same second that may have been the current one as well (secrets only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ties: Vec<Box<str>>,
    /// How many versions the item had.
    pub versions: u32,
    /// The state of the current version.
    pub attributes: Attributes,
    /// The name of the item's blob in the backup container.
    pub blob: Box<str>,
    /// The blob's size in bytes.
    pub size: u64,
    /// The blob's SHA-256 in hexadecimal.
    pub sha256: Box<str>,
    /// When the vault was asked for this copy: changes up to then are in it.
    pub taken_at: Timestamp,
    /// Present when this copy is older than the backup, because the item could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
}

/// Why an item is in a backup as an older copy only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stale {
    /// A stable code ([`ErrorKind::code`]).
    pub code: String,
    /// The sentence.
    pub reason: String,
}

impl Item {
    /// Whether `version` was the current one, or could not be told from it.
    pub fn may_be(&self, version: &str) -> bool {
        *self.version == *version || self.ties.iter().any(|tie| **tie == *version)
    }

    /// When its blob was written: by which backup, says the blob's name. Older than `taken_at` never, newer when a
    /// stale copy was written anew to keep it under the container's protection.
    pub fn written_at(&self) -> Timestamp {
        super::names::writer(&self.blob).map_or(self.taken_at, |id| id.started())
    }
}

impl Manifest {
    /// The text that is stored. The errors are those of [`Spool`].
    pub fn encode(&self) -> Result<Spool> {
        let (mut text, mut hash) = (Spool::default(), Sha256::new());
        let mut write = |part: &[u8]| {
            hash.update(part);
            text.append(part)
        };
        let header = serde_json::to_string_pretty(&self.header)
            .map_err(|cause| Error::new(ErrorKind::Internal, "Could not write the manifest as JSON.").because(cause))?;
        write(header.strip_suffix("\n}").unwrap_or(&header).as_bytes())?;
        write(b",")?;
        write(ITEMS.as_bytes())?;
        for (index, line) in self.items.lines().enumerate() {
            write(if index == 0 { b"\n    " } else { b",\n    " })?;
            write(&line?)?;
        }
        write(b"\n  ],")?;
        text.append(format!("{HASH}{}\"\n}}\n", hex::encode(hash.finalize())).as_bytes())?;
        Ok(text)
    }

    /// Reads and checks a stored text. `name` is the blob's, for messages.
    pub fn decode(name: &str, text: &[u8]) -> Result<Self> {
        let mut reading = Reading::of(name);
        reading.feed(text);
        let mut items = Collector::default();
        while let Some(item) = reading.next_item() {
            items.push(&item)?;
        }
        Ok(Self { header: reading.finish()?, items: items.finish()? })
    }
}

impl Header {
    /// Reads the header from the beginning of a manifest; `None` when the beginning does not reach the items.
    pub fn decode(name: &str, start: &[u8]) -> Result<Option<Self>> {
        let Some(end) = find(start, ITEMS.as_bytes()) else { return Ok(None) };
        Self::before_items(name, &start[..end]).map(Some)
    }

    /// Reads the header from all that stands before the items.
    pub(super) fn before_items(name: &str, start: &[u8]) -> Result<Self> {
        let mut text = start.to_vec();
        if text.pop() != Some(b',') {
            return Err(corrupt(name, "its header does not end where its items begin"));
        }
        text.push(b'}');
        check_version(name, &text)?;
        serde_json::from_slice(&text).map_err(|cause| corrupt(name, "its header cannot be read").because(cause))
    }
}

/// Refuses a newer format before anything else of it is judged.
pub(super) fn check_version(name: &str, text: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        format_version: u32,
    }
    match serde_json::from_slice::<Version>(text) {
        Ok(Version { format_version: 1..=FORMAT_VERSION }) => Ok(()),
        Ok(Version { format_version: 0 }) => Err(corrupt(name, "it has format version 0")),
        Ok(Version { format_version }) => Err(Error::new(
            ErrorKind::NewerFormat,
            format!(
                "The manifest {name} has format version {format_version}; this release ({}) reads up to version \
                 {FORMAT_VERSION}. Use a newer release of keyvault-backup.",
                env!("CARGO_PKG_VERSION")
            ),
        )
        .at(name)),
        Err(cause) => Err(corrupt(name, "it is not whole JSON").because(cause)),
    }
}

pub(super) fn corrupt(name: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("The manifest {name} is damaged: {why}. Use another backup, and keep this one for inspection."),
    )
    .at(name)
}

pub(super) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
