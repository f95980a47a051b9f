//! What differs between two backups, or a backup and the live vault.
//!
//! What cannot be told is not told: an item that one side could not list or read, or was not asked for, is neither added
//! nor removed, but not compared.

use std::{cmp::Ordering, collections::BTreeSet, pin::pin};

use futures::{Stream, TryStreamExt as _, future};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    model::{Attributes, ItemId, Kind, filter::ItemFilter},
    repository::{
        items::Items,
        manifest::{Failure, Gaps, Item, Manifest},
    },
    rows::Rows,
    vault::{Listed, Vault},
};

/// How an item differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug)]
pub struct Side {
    items: Held,
    filter: ItemFilter,
    gaps: Gaps,
}

/// The items of a side, in the order of kind and name.
#[derive(Clone, Debug)]
enum Held {
    Backup(Items),
    /// By kind. A page can repeat a row when the vault changes between two pages.
    Vault(Vec<Rows<(ItemId, State)>>),
}

impl Side {
    /// A backup.
    pub fn of_backup(manifest: Manifest) -> Result<Self> {
        let Manifest { header, items } = manifest;
        Ok(Self {
            items: Held::Backup(items),
            filter: ItemFilter::new(&header.filter)?,
            gaps: Gaps::new(header.failures),
        })
    }

    /// A vault as it is now. An error when no kind can be listed.
    pub async fn of_vault(vault: &Vault, filter: ItemFilter) -> Result<Self> {
        let listings = Kind::ALL.map(|kind| (kind, vault.list(kind)));
        let (side, mut errors) = Self::of_listings(listings, filter).await;
        match errors.pop() {
            Some(last) if errors.len() + 1 == Kind::ALL.len() => {
                let message = format!("Vault {} could not be listed at all. {}", vault.name(), last.message());
                Err(Error::new(last.kind(), message).because(last))
            }
            _ => Ok(side),
        }
    }

    /// What the kinds of a vault list, of the items that the filter chooses, and why some of them cannot be listed.
    /// Managed items are passed over, as in a backup.
    pub async fn of_listings<L: Stream<Item = Result<Listed>>>(
        listings: impl IntoIterator<Item = (Kind, L)>,
        filter: ItemFilter,
    ) -> (Self, Vec<Error>) {
        let (mut kinds, mut errors, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
        let listings = listings.into_iter().map(|(kind, listing)| gather(kind, listing, &filter));
        for (kind, listing) in future::join_all(listings).await {
            match listing {
                Ok(rows) => kinds.push((kind, rows)),
                Err(error) => {
                    gaps.push(gap(kind, &error));
                    errors.push(error);
                }
            }
        }
        kinds.sort_by_key(|(kind, _)| *kind);
        let kinds = kinds.into_iter().map(|(_, rows)| rows).collect();
        (Self { items: Held::Vault(kinds), filter, gaps: Gaps::new(gaps) }, errors)
    }

    fn items(&self) -> Box<dyn Iterator<Item = Result<(ItemId, State)>> + '_> {
        match &self.items {
            Held::Backup(items) => Box::new(items.iter().map(|item| item.map(|item| (item.id.clone(), item.into())))),
            Held::Vault(kinds) => {
                let mut last = None;
                Box::new(kinds.iter().flat_map(Rows::iter).filter(move |row| {
                    let item = row.as_ref().ok().map(|(item, _)| item.clone());
                    let repeated = item.is_some() && item == last;
                    last = item;
                    !repeated
                }))
            }
        }
    }
}

/// What a kind lists, in its order.
async fn gather<L: Stream<Item = Result<Listed>>>(
    kind: Kind,
    listing: L,
    filter: &ItemFilter,
) -> (Kind, Result<Rows<(ItemId, State)>>) {
    let gathered = async {
        let (mut rows, mut items, mut listing) = (Rows::default(), Vec::new(), pin!(listing));
        while let Some(listed) = listing.try_next().await? {
            if !listed.managed && filter.matches(&listed.item) {
                let item = listed.item.clone();
                rows.push(&(item.clone(), listed.into()))?;
                items.push(item);
            }
        }
        rows.sort_by_keys(items);
        Ok(rows)
    };
    (kind, gathered.await)
}

fn gap(kind: Kind, error: &Error) -> Failure {
    Failure { kind, name: None, more: None, code: error.kind().code().into(), reason: error.chain() }
}

/// What differs between two sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the order of kind and name.
    pub differences: Rows<Difference>,
    counts: [u64; Change::ALL.len()],
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub fn count(&self, change: Change) -> u64 {
        self.counts[change as usize]
    }

    /// What became of the first side's items on the second side.
    pub fn between(from: &Side, to: &Side) -> Result<Self> {
        let mut diff = Self::default();
        let (mut used, mut kinds) = ([BTreeSet::new(), BTreeSet::new()], [BTreeSet::new(), BTreeSet::new()]);
        let (mut before, mut after) = (from.items(), to.items());
        let (mut a, mut b) = (before.next().transpose()?, after.next().transpose()?);
        loop {
            let order = match (&a, &b) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let removed = if order.is_le() { std::mem::replace(&mut a, before.next().transpose()?) } else { None };
            let added = if order.is_ge() { std::mem::replace(&mut b, after.next().transpose()?) } else { None };
            kinds[0].extend(removed.as_ref().map(|(item, _)| item.kind));
            kinds[1].extend(added.as_ref().map(|(item, _)| item.kind));
            match (removed, added) {
                (Some((item, from)), Some((_, to))) => diff.both(item, from, to)?,
                (Some((item, from)), None) => diff.one_sided(item, Some(from), None, to, &mut used[1])?,
                (None, Some((item, to))) => diff.one_sided(item, None, Some(to), from, &mut used[0])?,
                (None, None) => (),
            }
        }
        for (number, side) in [from, to].into_iter().enumerate() {
            // A kind of which nothing is known is told even if nothing is known of it on the other side either.
            let unseen = |gap: &Failure| gap.name.is_none() && !kinds[number].contains(&gap.kind);
            let gaps = side.gaps.failures().iter().enumerate();
            let told = gaps.filter(|(index, gap)| used[number].contains(index) || unseen(gap));
            diff.failures.extend(told.map(|(_, gap)| gap.clone()));
        }
        Ok(diff)
    }

    fn one_sided(
        &mut self,
        item: ItemId,
        from: Option<State>,
        to: Option<State>,
        other: &Side,
        used: &mut BTreeSet<usize>,
    ) -> Result<()> {
        if !other.filter.matches(&item) {
            self.filtered_out += 1;
        } else if let Some(gap) = other.gaps.of(&item) {
            self.not_compared += 1;
            used.insert(gap);
        } else {
            let change = if from.is_some() { Change::Removed } else { Change::Added };
            self.push(Difference { item, changes: vec![change], fields: Vec::new(), from, to })?;
        }
        Ok(())
    }

    fn both(&mut self, item: ItemId, from: State, to: State) -> Result<()> {
        let mut changes = Vec::new();
        let (before, after) = (&from.attributes, &to.attributes);
        if is_rotated(&from, &to) {
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
            return Ok(());
        }
        self.push(Difference { item, changes, fields, from: Some(from), to: Some(to) })
    }

    /// Counts one more item that differs.
    pub fn push(&mut self, difference: Difference) -> Result<()> {
        difference.changes.iter().for_each(|change| self.counts[*change as usize] += 1);
        self.differences.push(&difference)
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
        let items = Rows::of(items.filter(|(item, _)| filter.matches(item))).unwrap();
        let gaps = gaps.iter().map(|number| {
            let name = Some(ItemId { kind: Kind::Keys, name: name(*number) }.name.as_str().into());
            Failure { kind: Kind::Keys, name, more: None, code: "Refused".into(), reason: "A sentence.".into() }
        });
        Side { items: Held::Vault(vec![items]), filter, gaps: Gaps::new(gaps.collect()) }
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
            let diff = Diff::between(&side(&before, filter, &gaps), &side(&after, "keys/*", &BTreeSet::new())).unwrap();
            let mut told = 0;
            let differences = diff.differences.to_vec().unwrap();
            for difference in &differences {
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
            prop_assert!(differences.is_sorted_by(|a, b| a.item < b.item));
            let in_scope = |number: &&u8| !narrow || **number < 10;
            let held: BTreeSet<&u8> = before.keys().filter(in_scope).filter(|number| !gaps.contains(number)).collect();
            let all = held.union(&after.keys().collect()).count() as u64;
            prop_assert_eq!(told + diff.same + diff.filtered_out + diff.not_compared, all);
            prop_assert_eq!(diff.failures.is_empty(), diff.not_compared == 0);
        }
    }
}
