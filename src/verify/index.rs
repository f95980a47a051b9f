//! What is known of each item blob, in few bytes: there can be a million of them.

use std::collections::HashMap;

pub(super) use crate::repository::inspection::BlobKey as Key;
use crate::repository::inspection::Inspection;

/// The blob's size and six bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u64);

const DAMAGED: u64 = 1;
const MISSING: u64 = 1 << 1;
/// Written within the last day.
const YOUNG: u64 = 1 << 2;
/// A backup names it.
const NAMED: u64 = 1 << 3;
/// There is a finding about it, or it was counted as one.
const REPORTED: u64 = 1 << 4;
/// The disk cannot read it.
const UNREADABLE: u64 = 1 << 5;
const SIZE: u32 = 6;

impl Entry {
    pub(super) fn of(inspection: Inspection, is_young: bool) -> Self {
        let (size, bits) = match inspection {
            Inspection::Sound { size } => (size, 0),
            Inspection::Damaged { size } => (size, DAMAGED),
            Inspection::Unreadable => (0, UNREADABLE),
            Inspection::Missing => (0, MISSING),
        };
        Self(size << SIZE | bits | if is_young { YOUNG } else { 0 })
    }

    fn is(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    fn size(self) -> u64 {
        self.0 >> SIZE
    }
}

/// All item blobs of a vault.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<Key, Entry>);

impl Index {
    pub(super) fn insert(&mut self, key: Key, entry: Entry) {
        self.0.insert(key, entry);
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }

    /// What the blob turned out to be.
    pub(super) fn inspection(&self, key: Key) -> Option<Inspection> {
        let entry = self.0.get(&key)?;
        let size = entry.size();
        Some(match () {
            () if entry.is(MISSING) => Inspection::Missing,
            () if entry.is(UNREADABLE) => Inspection::Unreadable,
            () if entry.is(DAMAGED) => Inspection::Damaged { size },
            () => Inspection::Sound { size },
        })
    }

    /// A backup needs it.
    pub(super) fn name(&mut self, key: Key) {
        self.set(key, NAMED);
    }

    /// Whether nothing was said about it so far.
    pub(super) fn report(&mut self, key: Key) -> bool {
        !self.set(key, REPORTED)
    }

    /// Sets a bit; whether it was set before.
    fn set(&mut self, key: Key, bit: u64) -> bool {
        let Some(entry) = self.0.get_mut(&key) else { return false };
        let before = entry.is(bit);
        entry.0 |= bit;
        before
    }

    pub(super) fn is_unnamed(&self, key: Key) -> bool {
        self.0.get(&key).is_some_and(|entry| !entry.is(NAMED) && !entry.is(MISSING))
    }

    pub(super) fn is_old_and_unnamed(&self, key: Key) -> bool {
        self.0.get(&key).is_some_and(|entry| !entry.is(NAMED) && !entry.is(MISSING) && !entry.is(YOUNG))
    }

    pub(super) fn has_old_unnamed(&self) -> bool {
        self.0.values().any(|entry| !entry.is(NAMED) && !entry.is(MISSING) && !entry.is(YOUNG))
    }

    /// How many blobs no backup names.
    pub(super) fn unnamed(&self) -> u64 {
        self.0.values().filter(|entry| !entry.is(NAMED) && !entry.is(MISSING)).count() as u64
    }

    /// How many blobs there are, and their bytes.
    pub(super) fn total(&self) -> (u64, u64) {
        let there = self.0.values().filter(|entry| !entry.is(MISSING));
        there.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.size()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_few_bytes_and_keeps_what_it_is_told() {
        assert_eq!(size_of::<(Key, Entry)>(), 24);
        let mut index = Index::default();
        let all = [
            Inspection::Sound { size: 1 << 50 },
            Inspection::Damaged { size: 7 },
            Inspection::Missing,
            Inspection::Unreadable,
        ];
        for (number, inspection) in all.into_iter().enumerate() {
            let key = Key::of(&number.to_string());
            index.insert(key, Entry::of(inspection, number == 0));
            assert_eq!(index.is_unnamed(key), inspection != Inspection::Missing);
            assert!(index.report(key) && !index.report(key), "once");
            index.name(key);
            assert!(!index.is_unnamed(key));
            assert_eq!(index.inspection(key), Some(inspection), "whatever else is known of it");
        }
        assert_eq!(index.total(), (3, (1 << 50) + 7));
    }
}
