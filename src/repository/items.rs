//! The items of a manifest: their JSON in a [`Spool`], and in memory only where each is found.
//!
//! A vault can have 100,000 items and more, and a backup deals with two manifests at once
//! (docs/decisions/0027-items-on-a-temporary-file.md).

use std::{cmp::Ordering, fmt, ops::Range, sync::Arc};

use super::manifest::Item;
use crate::{
    error::{Error, ErrorKind, Result},
    model::{ItemId, ItemName, Kind},
    spool::Spool,
};

/// The items of a backup, in the order of kind and name. A clone is another handle on the same items.
///
/// Reading one can fail, because it may stand in a temporary file; the errors are those of [`Spool::read`].
#[derive(Clone, Default)]
pub struct Items {
    rows: Arc<[Row]>,
    /// The names of all rows.
    names: Arc<str>,
    spools: Vec<Arc<Spool>>,
}

/// Where an item is found: 24 bytes and its name, where the item itself has 700.
#[derive(Clone, Copy)]
struct Row {
    at: u64,
    length: u32,
    name_at: u32,
    name_length: u8,
    kind: Kind,
    /// Which of the spools.
    spool: u8,
}

impl Items {
    /// Items that are in memory already, in any order. The errors are those of the [`Collector`].
    pub fn of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Result<Self> {
        let mut collector = Collector::default();
        items.into_iter().try_for_each(|item| collector.push(item))?;
        collector.finish()
    }

    /// So many items there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The item of that id, if there is one.
    pub fn get(&self, id: &ItemId) -> Result<Option<Item>> {
        self.find(id).map(|row| self.item(row)).transpose()
    }

    /// Whether there is an item of that id. Reads nothing.
    pub fn contains(&self, id: &ItemId) -> bool {
        self.find(id).is_some()
    }

    /// Where in the order the item of that id stands, if there is one. Reads nothing.
    pub fn place(&self, id: &ItemId) -> Option<usize> {
        self.rows.binary_search_by(|row| compare(&self.names, row, id.kind, id.name.as_str())).ok()
    }

    /// All items in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Result<Item>> + ExactSizeIterator + '_ {
        self.rows.iter().map(|row| self.item(row))
    }

    /// The ids of all items in their order. Reads nothing.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = ItemId> + '_ {
        self.rows.iter().map(|row| ItemId { kind: row.kind, name: ItemName::of_checked(name(&self.names, row)) })
    }

    /// The items at these places of the order, as far as there are any.
    pub fn page(&self, places: Range<usize>) -> Result<Vec<Item>> {
        let places = places.start.min(self.len())..places.end.min(self.len());
        self.rows.get(places).unwrap_or_default().iter().map(|row| self.item(row)).collect()
    }

    /// All items, in memory.
    pub fn to_vec(&self) -> Result<Vec<Item>> {
        self.iter().collect()
    }

    /// Those items of which `keep`, given the place and the id, says so. Copies no item.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(usize, &ItemId) -> bool) -> Self {
        let rows = self.rows.iter().zip(self.ids()).enumerate();
        let rows = rows.filter(|(place, (_, id))| keep(*place, id)).map(|(_, (row, _))| *row);
        Self { rows: rows.collect(), names: self.names.clone(), spools: self.spools.clone() }
    }

    /// The lines that a manifest has for the items, in their order: JSON without a line feed.
    pub(super) fn lines(&self) -> impl Iterator<Item = Result<Vec<u8>>> + '_ {
        self.rows.iter().map(|row| self.line(row))
    }

    fn find(&self, id: &ItemId) -> Option<&Row> {
        self.place(id).map(|place| &self.rows[place])
    }

    fn item(&self, row: &Row) -> Result<Item> {
        serde_json::from_slice(&self.line(row)?).map_err(|cause| {
            let message = "A temporary file does not hold what was written to it. Check the disk, then run this again.";
            Error::new(ErrorKind::Unavailable, message).because(cause)
        })
    }

    fn line(&self, row: &Row) -> Result<Vec<u8>> {
        let spool = &self.spools[usize::from(row.spool)];
        spool.read(row.at..row.at + u64::from(row.length))
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.lines().zip(other.lines()).all(|(a, b)| matches!((a, b), (Ok(a), Ok(b)) if a == b))
    }
}

impl Eq for Items {}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Gathers the items of a manifest, in any order.
#[derive(Default)]
pub struct Collector {
    rows: Vec<Row>,
    names: String,
    /// What it carries items over from.
    base: Items,
    spool: Spool,
    line: Vec<u8>,
}

impl Collector {
    /// Without any item; items of `base` can be carried over.
    pub fn beside(base: &Items) -> Self {
        Self { base: base.clone(), ..Self::default() }
    }

    /// How many items it has by now.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds an item. The errors are those of [`Spool::append`].
    pub fn push(&mut self, item: &Item) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, item).map_err(|cause| {
            Error::new(ErrorKind::Internal, format!("Could not write {} as JSON.", item.id)).because(cause)
        })?;
        let (at, spool) = (self.spool.len(), self.base.spools.len() as u8);
        self.spool.append(&self.line)?;
        let row = Row { at, length: self.line.len() as u32, name_at: 0, name_length: 0, kind: item.id.kind, spool };
        self.add(row, item.id.name.as_str());
        Ok(())
    }

    /// Adds an item of the base without writing it again. The errors are those of [`Spool::append`].
    pub fn carry_over(&mut self, item: &Item) -> Result<()> {
        let base = self.base.clone();
        match base.find(&item.id) {
            Some(row) => {
                self.add(*row, name(&base.names, row));
                Ok(())
            }
            None => self.push(item),
        }
    }

    /// All items in their order. `Internal` when one was added twice.
    pub fn finish(self) -> Result<Items> {
        let Self { mut rows, names, base, spool, .. } = self;
        rows.sort_unstable_by(|a, b| compare(&names, a, b.kind, name(&names, b)));
        let is_same = |pair: &[Row]| compare(&names, &pair[0], pair[1].kind, name(&names, &pair[1])).is_eq();
        if let Some(twice) = rows.windows(2).find(|pair| is_same(pair)) {
            let message = format!("{}/{} came twice into one backup.", twice[0].kind, name(&names, &twice[0]));
            return Err(Error::new(ErrorKind::Internal, message));
        }
        let spools = base.spools.into_iter().chain([Arc::new(spool)]).collect();
        Ok(Items { rows: rows.into(), names: names.into(), spools })
    }

    fn add(&mut self, row: Row, name: &str) {
        let (name_at, name_length) = (self.names.len() as u32, name.len() as u8);
        self.names.push_str(name);
        self.rows.push(Row { name_at, name_length, ..row });
    }
}

fn name<'a>(names: &'a str, row: &Row) -> &'a str {
    let at = row.name_at as usize;
    &names[at..at + usize::from(row.name_length)]
}

fn compare(names: &str, row: &Row, kind: Kind, other: &str) -> Ordering {
    row.kind.cmp(&kind).then_with(|| ItemName::compare(name(names, row), other))
}

#[cfg(test)]
mod tests {
    use super::{super::manifest::Manifest, *};

    const NAME: &str = "vaults/contoso-prod/backups/20261122T020200Z-00000002.json";
    const TEXT: &[u8] = include_bytes!(
        "../../tests/it/fixtures/format-v1/backups/vaults/contoso-prod/backups/20261122T020200Z-00000002.json"
    );

    fn items() -> Items {
        Manifest::decode(NAME, TEXT).unwrap().items
    }

    #[test]
    fn items_are_found_and_handed_out_in_order_whatever_the_order_they_came_in() {
        let items = items();
        let all = items.to_vec().unwrap();
        assert!(all.len() > 2 && all.is_sorted_by(|a, b| a.id < b.id));
        let backwards = Items::of(all.iter().rev()).unwrap();
        assert_eq!(backwards, items);
        assert!(backwards.ids().eq(all.iter().map(|item| item.id.clone())));
        for item in &all {
            assert_eq!(backwards.get(&item.id).unwrap().as_ref(), Some(item));
            let shouted = ItemId { name: item.id.name.as_str().to_uppercase().parse().unwrap(), ..item.id };
            assert!(backwards.contains(&shouted), "names are compared without case");
        }
        let other = ItemId { kind: Kind::Keys, name: "not-there".parse().unwrap() };
        assert_eq!((backwards.get(&other).unwrap(), backwards.contains(&other)), (None, false));
        assert_eq!(backwards.page(1..3).unwrap(), all[1..3]);
        assert_eq!(backwards.page(all.len() - 1..99).unwrap(), all[all.len() - 1..]);
        let odd = backwards.filtered(|place, _| place % 2 == 1);
        assert_eq!(odd.to_vec().unwrap(), all.into_iter().skip(1).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_carried_over_stands_beside_what_is_new() {
        let base = items();
        let all = base.to_vec().unwrap();
        let mut collector = Collector::beside(&base);
        let changed = Item { versions: 99, ..all[0].clone() };
        all[1..].iter().rev().for_each(|item| collector.carry_over(item).unwrap());
        collector.push(&changed).unwrap();
        let written = collector.spool.len();
        assert_eq!(written, serde_json::to_vec(&changed).unwrap().len() as u64, "what is carried over is not copied");
        let items = collector.finish().unwrap();
        assert_eq!(items.get(&changed.id).unwrap(), Some(changed));
        assert_eq!(items.page(1..99).unwrap(), all[1..]);
    }

    #[test]
    fn an_item_that_comes_twice_is_refused() {
        let [first, ..] = &items().to_vec().unwrap()[..] else { panic!("it has items") };
        let again = Item {
            id: ItemId { name: first.id.name.as_str().to_uppercase().parse().unwrap(), ..first.id },
            ..first.clone()
        };
        let error = Items::of([first, &again]).unwrap_err();
        assert!(error.message().contains("came twice"), "{error}");
    }
}
