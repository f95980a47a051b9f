//! What differs between two backups, or a backup and the live vault.
//!
//! What cannot be told is not told: an item that one side could not list or read, or was not asked for, is neither added
//! nor removed, but not compared.

use std::{cmp::Ordering, collections::BTreeSet};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    model::{Attributes, ItemId, Kind, filter::ItemFilter},
    repository::manifest::{Failure, Item, Manifest},
    vault::Listed,
};

/// How an item differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// Another version is the current one.
    Rotated,
    /// The second side's current version may not be used, the first's may.
    Disabled,
    /// The reverse.
    Enabled,
    /// Other attributes of the current version; the difference names them.
    Attributes,
    /// One side holds an older copy only, because the item could not be read; what changed since is not known.
    Stale,
}

impl Change {
    /// All of them, in the order in which they are counted and shown.
    pub const ALL: [Self; 7] =
        [Self::Added, Self::Removed, Self::Rotated, Self::Disabled, Self::Enabled, Self::Attributes, Self::Stale];

    /// The word used in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Rotated => "rotated",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Attributes => "attributes",
            Self::Stale => "stale",
        }
    }
}

/// An item as one side has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    /// The current version; a listing of a vault does not show it.
    #[serde(default)]
    pub version: Option<Box<str>>,
    #[serde(skip)]
    ties: Vec<Box<str>>,
    /// The state of the current version.
    pub attributes: Attributes,
    /// Whether it is an older copy.
    pub stale: bool,
}

impl From<Item> for State {
    fn from(item: Item) -> Self {
        let Item { version, ties, attributes, stale, .. } = item;
        Self { version: Some(version), ties, attributes, stale: stale.is_some() }
    }
}

impl From<Listed> for State {
    fn from(listed: Listed) -> Self {
        Self { version: None, ties: Vec::new(), attributes: listed.attributes, stale: false }
    }
}

/// One of the two that are compared.
#[derive(Clone, Debug, Default)]
pub struct Side {
    items: Vec<(ItemId, State)>,
    filter: ItemFilter,
    gaps: Vec<Failure>,
}

impl Side {
    /// A backup.
    pub fn of_backup(manifest: Manifest) -> Result<Self> {
        let Manifest { header, items } = manifest;
        let items = items.into_iter().map(|item| (item.id.clone(), item.into())).collect();
        Ok(Self { items, filter: ItemFilter::new(&header.filter)?, gaps: header.failures })
    }

    /// A vault: what its kinds list, or why they cannot be listed, of the items that the filter chooses. Managed items
    /// are passed over, as in a backup.
    pub fn of_vault(listings: impl IntoIterator<Item = (Kind, Result<Vec<Listed>>)>, filter: ItemFilter) -> Self {
        let mut side = Self { filter, ..Self::default() };
        for (kind, listing) in listings {
            match listing {
                Ok(listed) => {
                    let chosen = listed.into_iter().filter(|row| !row.managed && side.filter.matches(&row.item));
                    side.items.extend(chosen.map(|row| (row.item.clone(), row.into())));
                }
                Err(error) => side.gaps.push(gap(kind, &error)),
            }
        }
        // A page can repeat a row when the vault changes between two pages.
        side.items.sort_by(|a, b| a.0.cmp(&b.0));
        side.items.dedup_by(|a, b| a.0 == b.0);
        side
    }

    /// Why nothing can be said of an item that this side does not have, if so.
    fn gap(&self, item: &ItemId) -> Option<usize> {
        self.gaps.iter().position(|gap| {
            let named = gap.name.as_deref();
            gap.kind == item.kind && named.is_none_or(|name| item.name.as_str().eq_ignore_ascii_case(name))
        })
    }
}

fn gap(kind: Kind, error: &Error) -> Failure {
    Failure { kind, name: None, code: error.kind().code().into(), reason: error.chain() }
}

/// What differs between two sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the order of kind and name.
    pub differences: Vec<Difference>,
    /// Items that are the same on both sides.
    pub same: u64,
    /// Items of one side that the other was not asked for.
    pub filtered_out: u64,
    /// Items of one side of which the other cannot tell whether it has them.
    pub not_compared: u64,
    /// Why those are not compared.
    pub failures: Vec<Failure>,
}

/// An item that differs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Difference {
    /// The item.
    #[serde(flatten)]
    pub item: ItemId,
    /// How; at least one.
    pub changes: Vec<Change>,
    /// The attributes behind [`Change::Attributes`], such as `expires` or `tags.owner`.
    #[serde(default)]
    pub fields: Vec<String>,
    /// On the first side.
    #[serde(default)]
    pub from: Option<State>,
    /// On the second side.
    #[serde(default)]
    pub to: Option<State>,
}

impl Diff {
    /// How many items have this change.
    pub fn count(&self, change: Change) -> usize {
        self.differences.iter().filter(|difference| difference.changes.contains(&change)).count()
    }

    /// What became of the first side's items on the second side. Both are in the order of kind and name.
    pub fn between(from: Side, to: Side) -> Self {
        let mut diff = Self::default();
        let mut used = [BTreeSet::new(), BTreeSet::new()];
        // A kind of which nothing is known is told even if nothing is known of it on the other side either.
        let whole = |side: &Side| -> Vec<usize> {
            let unseen =
                |gap: &Failure| gap.name.is_none() && !side.items.iter().any(|(item, _)| item.kind == gap.kind);
            side.gaps.iter().enumerate().filter(|(_, gap)| unseen(gap)).map(|(index, _)| index).collect()
        };
        used[0].extend(whole(&from));
        used[1].extend(whole(&to));
        let Side { items: from_items, .. } = &from;
        let (mut a, mut b) = (from_items.iter().peekable(), to.items.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            match order {
                Ordering::Less => {
                    if let Some((item, state)) = a.next() {
                        diff.one_sided(item, state, &to, &mut used[1], Change::Removed);
                    }
                }
                Ordering::Greater => {
                    if let Some((item, state)) = b.next() {
                        diff.one_sided(item, state, &from, &mut used[0], Change::Added);
                    }
                }
                Ordering::Equal => {
                    if let (Some((item, from)), Some((_, to))) = (a.next(), b.next()) {
                        diff.both(item, from, to);
                    }
                }
            }
        }
        let told = |side: &Side, used: &BTreeSet<usize>| -> Vec<Failure> {
            used.iter().filter_map(|index| side.gaps.get(*index).cloned()).collect()
        };
        diff.failures = [told(&from, &used[0]), told(&to, &used[1])].concat();
        diff
    }

    fn one_sided(&mut self, item: &ItemId, state: &State, other: &Side, used: &mut BTreeSet<usize>, change: Change) {
        if !other.filter.matches(item) {
            self.filtered_out += 1;
        } else if let Some(gap) = other.gap(item) {
            self.not_compared += 1;
            used.insert(gap);
        } else {
            let (from, to) = if change == Change::Added { (None, Some(state)) } else { (Some(state), None) };
            let (from, to) = (from.cloned(), to.cloned());
            self.differences.push(Difference {
                item: item.clone(),
                changes: vec![change],
                fields: Vec::new(),
                from,
                to,
            });
        }
    }

    fn both(&mut self, item: &ItemId, from: &State, to: &State) {
        let mut changes = Vec::new();
        let (before, after) = (&from.attributes, &to.attributes);
        if is_rotated(from, to) {
            changes.push(Change::Rotated);
        }
        match (before.enabled, after.enabled) {
            (true, false) => changes.push(Change::Disabled),
            (false, true) => changes.push(Change::Enabled),
            _ => (),
        }
        let mut fields = changed_fields(before, after);
        // Something was changed that a listing does not show, or was changed back.
        if fields.is_empty() && changes.is_empty() && before.updated != after.updated {
            fields.push("updated".to_owned());
        }
        if !fields.is_empty() {
            changes.push(Change::Attributes);
        }
        if from.stale != to.stale {
            changes.push(Change::Stale);
        }
        if changes.is_empty() {
            self.same += 1;
            return;
        }
        let (from, to) = (Some(from.clone()), Some(to.clone()));
        self.differences.push(Difference { item: item.clone(), changes, fields, from, to });
    }
}

/// Whether the current versions differ. A listing of a vault shows no version, but when the current one was made.
fn is_rotated(from: &State, to: &State) -> bool {
    let may_be = |state: &State, version: &str| {
        state.version.as_deref() == Some(version) || state.ties.iter().any(|tie| **tie == *version)
    };
    match (&from.version, &to.version) {
        (Some(before), Some(after)) => !may_be(from, after) && !may_be(to, before),
        _ => {
            let (before, after) = (&from.attributes, &to.attributes);
            before.created != after.created || before.thumbprint != after.thumbprint
        }
    }
}

fn changed_fields(before: &Attributes, after: &Attributes) -> Vec<String> {
    let mut fields = Vec::new();
    let mut look = |name: &str, differs: bool| {
        if differs {
            fields.push(name.to_owned());
        }
    };
    look("notBefore", before.not_before != after.not_before);
    look("expires", before.expires != after.expires);
    look("contentType", before.content_type != after.content_type);
    let tags: BTreeSet<&str> = before.tags.keys().chain(after.tags.keys()).map(|name| &**name).collect();
    for tag in tags {
        look(&format!("tags.{tag}"), before.tags.get(tag) != after.tags.get(tag));
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    /// The current version of each item, by number.
    type Vault = BTreeMap<u8, u8>;

    fn side(vault: &Vault, filter: &str, gaps: &BTreeSet<u8>) -> Side {
        let name = |number: u8| format!("item-{number:03}").parse().unwrap();
        let items = vault.iter().filter(|(number, _)| !gaps.contains(*number)).map(|(number, version)| {
            let attributes = Attributes {
                enabled: true,
                created: Timestamp::from_unix(i64::from(*version)),
                updated: Timestamp::from_unix(i64::from(*version)),
                not_before: None,
                expires: None,
                content_type: None,
                thumbprint: None,
                tags: BTreeMap::new(),
            };
            let version = Some(version.to_string().into());
            (
                ItemId { kind: Kind::Keys, name: name(*number) },
                State { version, ties: Vec::new(), attributes, stale: false },
            )
        });
        let filter = ItemFilter::new([filter]).unwrap();
        let items = items.filter(|(item, _)| filter.matches(item)).collect();
        let gaps = gaps.iter().map(|number| {
            let name = Some(ItemId { kind: Kind::Keys, name: name(*number) }.name.as_str().into());
            Failure { kind: Kind::Keys, name, code: "Refused".into(), reason: "A sentence.".into() }
        });
        Side { items, filter, gaps: gaps.collect() }
    }

    fn items() -> impl Strategy<Value = Vault> {
        proptest::collection::btree_map(0..40_u8, 0..3_u8, 0..30)
    }

    proptest! {
        /// What is told is true of the vaults behind the sides, and nothing is told twice or left out.
        #[test]
        fn nothing_is_said_of_an_item_that_is_not_so(
            before in items(), after in items(), narrow: bool, gaps in proptest::collection::btree_set(0..40_u8, 0..6),
        ) {
            let filter = if narrow { "keys/item-00*" } else { "keys/*" };
            let diff = Diff::between(side(&before, filter, &gaps), side(&after, "keys/*", &BTreeSet::new()));
            let mut told = 0;
            for difference in &diff.differences {
                let number: u8 = difference.item.name.as_str()[5..].parse().unwrap();
                let (was, is) = (before.get(&number), after.get(&number));
                let truth = match (was, is) {
                    (None, Some(_)) => Change::Added,
                    (Some(_), None) => Change::Removed,
                    _ => Change::Rotated,
                };
                prop_assert_ne!(was, is);
                prop_assert_eq!(&difference.changes, &[truth]);
                told += 1;
            }
            prop_assert!(diff.differences.is_sorted_by(|a, b| a.item < b.item));
            let in_scope = |number: &&u8| !narrow || **number < 10;
            let held: BTreeSet<&u8> = before.keys().filter(in_scope).filter(|number| !gaps.contains(number)).collect();
            let all = held.union(&after.keys().collect()).count() as u64;
            prop_assert_eq!(told + diff.same + diff.filtered_out + diff.not_compared, all);
            prop_assert_eq!(diff.failures.is_empty(), diff.not_compared == 0);
        }
    }
}
