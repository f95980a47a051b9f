//! The words: kinds, operations, items and their versions.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The three kinds of item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A secret.
    Secret,
    /// A key.
    Key,
    /// A certificate; it owns a managed key and a managed secret of its own name.
    Certificate,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Secret, Self::Key, Self::Certificate];

    /// `secret`, `key`, `certificate`.
    pub const fn word(self) -> &'static str {
        ["secret", "key", "certificate"][self as usize]
    }

    /// `Secret`, `Key`, `Certificate`: how operation names and some messages write it.
    pub const fn title(self) -> &'static str {
        ["Secret", "Key", "Certificate"][self as usize]
    }

    /// `secrets`, `keys`, `certificates`: how paths and role actions write it.
    pub const fn plural(self) -> &'static str {
        ["secrets", "keys", "certificates"][self as usize]
    }
}

/// What is done. Named as in the audit log of Key Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the audit log's own and say it all")]
pub enum Verb {
    List,
    ListVersions,
    Get,
    /// Secrets only.
    Set,
    /// Keys and certificates.
    Create,
    /// Keys and certificates.
    Import,
    Update,
    Backup,
    Restore,
    Delete,
    ListDeleted,
    GetDeleted,
    Recover,
    Purge,
    /// Certificates only, as everything below.
    GetPolicy,
    UpdatePolicy,
    GetPending,
    UpdatePending,
    DeletePending,
}

/// One operation of the service, for example `SecretBackup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// What it works on.
    pub kind: Kind,
    /// What it does.
    pub verb: Verb,
}

impl Operation {
    /// `Operation::new(Kind::Secret, Verb::Backup)` is `SecretBackup`.
    pub const fn new(kind: Kind, verb: Verb) -> Self {
        Self { kind, verb }
    }

    /// Whether it is refused while a vault is read-only. Backup is not.
    pub(super) const fn writes(self) -> bool {
        use Verb::*;
        !matches!(self.verb, List | ListVersions | Get | Backup | ListDeleted | GetDeleted | GetPolicy | GetPending)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.kind.title(), self.verb)
    }
}

/// Tags of one version. Absent tags and no tags are different things on the wire.
pub(super) type Tags = BTreeMap<String, String>;

/// What one item holds, whatever its kind.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) name: String,
    /// Belongs to a certificate of the same name.
    pub(super) managed: bool,
    /// In the order they were made; the last one is current. Never empty.
    pub(super) versions: Vec<Version>,
    /// Certificates only: what the next version will be made from, without ids.
    pub(super) policy: Option<Value>,
    /// When the policy was made and changed, unix seconds.
    pub(super) policy_created: i64,
    pub(super) policy_updated: i64,
    #[serde(skip)]
    pub(super) pending: Option<Pending>,
    #[serde(skip)]
    pub(super) life: Life,
    /// Positions in `versions`, in the order in which pages show them.
    #[serde(skip)]
    pub(super) by_id: BTreeMap<u128, usize>,
}

/// Where an item is between being made and being gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Life {
    #[default]
    Active,
    Deleting(Deletion),
    Deleted(Deletion),
    Recovering,
    /// Purged, but the name is not free yet.
    Purging,
}

/// Dates of a deletion, unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deletion {
    pub(super) at: i64,
    pub(super) scheduled_purge: i64,
}

/// A certificate being made.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) request_id: u128,
    pub(super) csr: String,
    /// What the finished version will have.
    pub(super) enabled: bool,
    pub(super) tags: Option<Tags>,
    pub(super) cancelled: bool,
    pub(super) completed: bool,
}

/// One version of an item.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) id: u128,
    pub(super) enabled: bool,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) not_before: Option<i64>,
    pub(super) expires: Option<i64>,
    pub(super) tags: Option<Tags>,
    pub(super) content: Content,
}

/// What a version is for its kind.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Content {
    Secret {
        value: String,
        content_type: Option<String>,
    },
    Key {
        /// The public half, without `kid`.
        public: Box<PublicKey>,
        exportable: Option<bool>,
        release_policy: Option<Value>,
        /// SHA-256 of everything that was imported, private half included.
        fingerprint: [u8; 32],
    },
    Certificate {
        /// DER. Empty while the certificate is being made.
        cer: Vec<u8>,
    },
}

/// The fields of a JSON web key that the service shows, in its order.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PublicKey {
    pub(super) kty: String,
    pub(super) key_ops: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) y: Option<String>,
}

impl Item {
    /// An active item without versions; the caller adds the first one at once.
    pub(super) fn new(name: &str, managed: bool) -> Self {
        Self {
            name: name.to_owned(),
            managed,
            versions: Vec::new(),
            policy: None,
            policy_created: 0,
            policy_updated: 0,
            pending: None,
            life: Life::Active,
            by_id: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, version: Version) {
        self.by_id.insert(version.id, self.versions.len());
        self.versions.push(version);
    }

    /// Rebuilds what a backup does not carry.
    pub(super) fn index(&mut self) {
        self.by_id = self.versions.iter().enumerate().map(|(position, it)| (it.id, position)).collect();
    }

    pub(super) fn current(&self) -> &Version {
        self.versions.last().expect("an item has at least one version")
    }

    /// The version asked for, or the current one.
    pub(super) fn version(&self, id: Option<u128>) -> Option<&Version> {
        match id {
            None => self.versions.last(),
            Some(id) => self.by_id.get(&id).map(|&position| &self.versions[position]),
        }
    }

    pub(super) fn version_mut(&mut self, id: Option<u128>) -> Option<&mut Version> {
        match id {
            None => self.versions.last_mut(),
            Some(id) => self.by_id.get(&id).map(|&position| &mut self.versions[position]),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.life == Life::Active
    }

    pub(super) fn deletion(&self) -> Option<Deletion> {
        match self.life {
            Life::Deleted(deletion) => Some(deletion),
            _ => None,
        }
    }

    /// Whether the certificate has no finished version yet.
    pub(super) fn is_unfinished(&self) -> bool {
        matches!(&self.current().content, Content::Certificate { cer } if cer.is_empty())
    }
}

impl Content {
    /// SHA-256 over everything secret and public, for comparing without showing.
    pub(super) fn hash(&self) -> [u8; 32] {
        let digest = Sha256::new();
        match self {
            Self::Secret { value, .. } => digest.chain_update(value),
            Self::Key { public, fingerprint, .. } => digest
                .chain_update(fingerprint)
                .chain_update(serde_json::to_vec(public).expect("a public key is plain data")),
            Self::Certificate { cer } => digest.chain_update(cer),
        }
        .finalize()
        .into()
    }
}

/// How versions and request ids are written: 32 hexadecimal digits.
pub(super) fn hex32(id: u128) -> String {
    format!("{id:032x}")
}
