//! All that can be observed about the items of a vault, for comparing before and after.

use std::collections::BTreeMap;

use super::{
    KeyVaults,
    model::{Content, Item, Kind, Life, Tags, Version, hex32},
    policy,
};

/// The observable state of one vault. Says nothing about where the vault is: two vaults with the same items are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By kind and name.
    pub items: BTreeMap<(Kind, String), ItemState>,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemState {
    /// Belongs to a certificate.
    pub managed: bool,
    /// Active, or in any state of deletion or recovery.
    pub active: bool,
    /// The id of the current version.
    pub current: String,
    /// In the order they were made.
    pub versions: Vec<VersionState>,
    /// The policy of a certificate as JSON text, without an empty list of alternative names, which a restore loses.
    pub policy: Option<String>,
}

/// One version. The value is there as a hash only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are the attributes of the service")]
pub struct VersionState {
    pub id: String,
    pub enabled: bool,
    pub created: i64,
    pub updated: i64,
    pub not_before: Option<i64>,
    pub expires: Option<i64>,
    pub tags: Option<BTreeMap<String, String>>,
    pub content_type: Option<String>,
    /// SHA-256 of the value (secrets), of public and imported parts (keys), of the DER (certificates).
    pub value_hash: String,
}

impl KeyVaults {
    /// All items of a vault as they are now.
    ///
    /// # Panics
    /// If there is no vault of that name.
    pub fn snapshot(&self, vault: &str) -> Snapshot {
        self.with(vault, |vault| {
            let of_kind = |kind| {
                // What is purged cannot be observed, although its name is taken for some seconds more.
                let items = vault.shelf(kind).items.values().filter(|it| it.life != Life::Purging);
                items.map(move |item| ((kind, item.name.clone()), ItemState::of(item)))
            };
            Snapshot { items: Kind::ALL.into_iter().flat_map(of_kind).collect() }
        })
    }
}

impl Snapshot {
    /// How many items of a kind are active and not managed: what a backup has to hold.
    pub fn count(&self, kind: Kind) -> usize {
        self.items.iter().filter(|((it, _), item)| *it == kind && item.active && !item.managed).count()
    }

    /// What is different in `other`, one sentence each, in the order of kinds and names. No values.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (key, mine) in &self.items {
            let what = format!("{} {}", key.0.word(), key.1);
            match other.items.get(key) {
                None => differences.push(format!("{what} is missing")),
                Some(theirs) => mine.compare(theirs, &what, &mut differences),
            }
        }
        for key in other.items.keys().filter(|it| !self.items.contains_key(it)) {
            differences.push(format!("{} {} is there in addition", key.0.word(), key.1));
        }
        differences
    }
}

impl ItemState {
    fn of(item: &Item) -> Self {
        let mut policy = item.policy.clone();
        if let Some(policy) = &mut policy {
            policy::forget_empty_names(policy);
        }
        Self {
            managed: item.managed,
            active: item.is_active(),
            current: hex32(item.current().id),
            versions: item.versions.iter().map(VersionState::of).collect(),
            policy: policy.map(|it| it.to_string()),
        }
    }

    fn compare(&self, other: &Self, what: &str, differences: &mut Vec<String>) {
        let mut report = |name: &str, mine: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
            differences.push(format!("{what}: {name} is {theirs:?} and was {mine:?}"));
        };
        if self.managed != other.managed {
            report("managed", &self.managed, &other.managed);
        }
        if self.active != other.active {
            report("active", &self.active, &other.active);
        }
        if self.current != other.current {
            report("the current version", &self.current, &other.current);
        }
        if self.policy != other.policy {
            report("the policy", &self.policy, &other.policy);
        }
        if self.versions.len() != other.versions.len() {
            report("the number of versions", &self.versions.len(), &other.versions.len());
        }
        for (mine, theirs) in self.versions.iter().zip(&other.versions).filter(|(mine, theirs)| mine != theirs) {
            report(&format!("version {}", mine.id), mine, theirs);
        }
    }
}

impl VersionState {
    fn of(version: &Version) -> Self {
        let tags: Option<Tags> = version.tags.clone();
        Self {
            id: hex32(version.id),
            enabled: version.enabled,
            created: version.created,
            updated: version.updated,
            not_before: version.not_before,
            expires: version.expires,
            tags,
            content_type: match &version.content {
                Content::Secret { content_type, .. } => content_type.clone(),
                _ => None,
            },
            value_hash: hex::encode(version.content.hash()),
        }
    }
}
