//! Long lists: their rows as JSON in a [`Spool`], and in memory only where each is found
//! (docs/decisions/0028-long-lists.md).

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, SeqAccess, Visitor},
    ser::{self, SerializeSeq as _},
};

use crate::{
    error::{Error, ErrorKind, Result},
    spool::Spool,
};

/// A list of which memory holds 16 bytes for each row. It reads and prints as the list it is.
///
/// Its errors are those of [`Spool::append`] and [`Spool::read`].
pub struct Rows<T> {
    spool: Arc<RwLock<Spool>>,
    places: Vec<Place>,
    /// Why some rows are not held: they could not be kept when the list was read.
    lost: Option<(ErrorKind, Arc<str>)>,
    of: PhantomData<fn() -> T>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    length: u32,
}

/// The place of a row that is not held.
const LOST: Place = Place { at: u64::MAX, length: 0 };

impl<T: Serialize + DeserializeOwned> Rows<T> {
    /// A list of these rows.
    pub fn of(rows: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut list = Self::default();
        rows.into_iter().try_for_each(|row| list.push(&row))?;
        Ok(list)
    }

    /// Adds a row behind the last one.
    pub fn push(&mut self, row: &T) -> Result<()> {
        let row = serde_json::to_vec(row).map_err(|cause| {
            Error::new(ErrorKind::Internal, "Could not write the row of a list as JSON.").because(cause)
        })?;
        // A write that was broken off does no harm: the next one begins behind it.
        let mut spool = self.spool.write().unwrap_or_else(PoisonError::into_inner);
        let at = spool.len();
        spool.append(&row)?;
        self.places.push(Place { at, length: row.len().try_into().unwrap_or(u32::MAX) });
        Ok(())
    }

    /// Adds a row that was read. What cannot be kept for want of space is no fault of what was read, as an error here
    /// would say; so whoever asks for the row is told.
    fn keep(&mut self, row: &T) {
        let kept = if self.lost.is_some() { Ok(()) } else { self.push(row) };
        if let Err(error) = kept {
            self.lost = Some((error.kind(), error.chain().into()));
        }
        if self.lost.is_some() {
            self.places.push(LOST);
        }
    }

    /// The row of that number, counted from 0; `None` behind the last one.
    pub fn get(&self, number: usize) -> Result<Option<T>> {
        self.places.get(number).map(|place| self.row(place)).transpose()
    }

    /// All rows, one after the other.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Result<T>> + ExactSizeIterator + '_ {
        self.places.iter().map(|place| self.row(place))
    }

    /// All rows at once, for few.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.iter().collect()
    }

    fn row(&self, place: &Place) -> Result<T> {
        if let Some((kind, message)) = self.lost.as_ref().filter(|_| place.at == LOST.at) {
            return Err(Error::new(*kind, &**message));
        }
        let spool = self.spool.read().unwrap_or_else(PoisonError::into_inner);
        let row = spool.read(place.at..place.at + u64::from(place.length))?;
        serde_json::from_slice(&row).map_err(|cause| {
            let message = "A temporary file does not hold what was written to it. Check the disk, then run this again.";
            Error::new(ErrorKind::Unavailable, message).because(cause)
        })
    }
}

impl<T> Rows<T> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Brings the rows into the order of these keys, one for each row. Rows of the same key keep their order.
    pub fn sort_by_keys<K: Ord>(&mut self, keys: Vec<K>) {
        let mut rows: Vec<(K, Place)> = keys.into_iter().zip(self.places.iter().copied()).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        self.places = rows.into_iter().map(|(_, place)| place).collect();
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { spool: Arc::default(), places: Vec::new(), lost: None, of: PhantomData }
    }
}

/// Shares the rows there are; what is added to one is not in the other.
impl<T> Clone for Rows<T> {
    fn clone(&self) -> Self {
        Self { spool: self.spool.clone(), places: self.places.clone(), lost: self.lost.clone(), of: PhantomData }
    }
}

/// Shows the rows: they are as fit to be shown as their own type.
impl<T: Serialize + DeserializeOwned + fmt::Debug> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Lists that cannot be read equal nothing.
impl<T: Serialize + DeserializeOwned + PartialEq> PartialEq for Rows<T> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (Result<T>, Result<T>)| matches!((a, b), (Ok(a), Ok(b)) if a == b);
        self.len() == other.len() && self.iter().zip(other.iter()).all(same)
    }
}

impl<T: Serialize + DeserializeOwned + Eq> Eq for Rows<T> {}

impl<T: Serialize + DeserializeOwned> Serialize for Rows<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for row in self.iter() {
            list.serialize_element(&row.map_err(|error| ser::Error::custom(error.chain()))?)?;
        }
        list.end()
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(Rows<T>);
        impl<'de, T: Serialize + DeserializeOwned> Visitor<'de> for List<T> {
            type Value = Rows<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<Self::Value, A::Error> {
                while let Some(row) = rows.next_element()? {
                    self.0.keep(&row);
                }
                Ok(self.0)
            }
        }
        deserializer.deserialize_seq(List(Self::default()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_that_outgrows_memory_is_the_same_list() {
        let rows: Vec<String> = (0..400).map(|number| format!("{number} {}", "row ".repeat(2_000))).collect();
        let list = Rows::of(rows.clone()).unwrap();
        assert!(rows.iter().map(String::len).sum::<usize>() > 3_000_000);
        assert_eq!((list.get(399).unwrap().as_ref(), list.get(400).unwrap()), (rows.last(), None));
        assert!(list.iter().rev().map(Result::unwrap).eq(rows.iter().rev().cloned()));
        assert_eq!(serde_json::to_string(&list).unwrap(), serde_json::to_string(&rows).unwrap());
    }

    #[test]
    fn rows_that_could_not_be_kept_are_there_and_say_why() {
        let mut list = Rows::of([1]).unwrap();
        list.lost = Some((ErrorKind::Refused, "There is no space left.".into()));
        list.keep(&2);
        list.keep(&3);
        assert_eq!((list.len(), list.get(0).unwrap(), list.get(3).unwrap()), (3, Some(1), None));
        let error = list.to_vec().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "There is no space left."));
    }

    #[test]
    fn a_copy_shares_what_is_there_and_nothing_else() {
        let mut list = Rows::of([1, 2]).unwrap();
        let mut copy = list.clone();
        list.push(&3).unwrap();
        copy.push(&4).unwrap();
        list.push(&5).unwrap();
        assert_eq!((list.to_vec().unwrap(), copy.to_vec().unwrap()), (vec![1, 2, 3, 5], vec![1, 2, 4]));
    }

    proptest! {
        #[test]
        fn it_reads_and_prints_as_a_list(rows: Vec<(i32, String)>, other: Vec<(i32, String)>) {
            let text = serde_json::to_string(&rows).unwrap();
            let list: Rows<(i32, String)> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&list.to_vec().unwrap(), &rows);
            prop_assert_eq!(serde_json::to_string(&list).unwrap(), text);
            prop_assert_eq!(list == Rows::of(other.clone()).unwrap(), rows == other);
        }

        #[test]
        fn rows_come_in_the_order_of_their_keys(rows: Vec<u8>) {
            let mut list = Rows::of(rows.iter().copied().enumerate()).unwrap();
            list.sort_by_keys(rows.clone());
            let mut sorted: Vec<_> = rows.into_iter().enumerate().collect();
            sorted.sort_by_key(|(_, key)| *key);
            prop_assert_eq!(list.to_vec().unwrap(), sorted);
        }
    }
}
