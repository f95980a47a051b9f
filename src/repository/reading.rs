//! Reading a manifest from its beginning to its end, in parts: memory does not grow with the number of items.
//!
//! This is the only place that judges a manifest's text; [`Manifest::decode`](super::manifest::Manifest::decode) reads
//! with it too. Damage is told by the hash first, because what the hash covers explains every other doubt.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{
    BackupRef,
    manifest::{self, HASH, Header, ITEMS, Item, corrupt},
    names,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::ItemId,
    store::Store,
};

/// How much of a manifest is asked for at once, in bytes.
pub(super) const PART: u64 = 1024 * 1024;

/// The hash's line and the one behind it, with the line feed before them, in bytes.
const TAIL: usize = HASH.len() + 64 + "\"\n}\n".len();

/// More than any header has, in bytes: a failure of each of 100,000 items fits.
const LONGEST_HEADER: usize = 64 * 1024 * 1024;

/// More than any item's line has, in bytes: Key Vault allows 15 tags of 512 characters.
const LONGEST_LINE: usize = 1024 * 1024;

/// A backup's manifest that is being read, made by [`Repository::read_manifest`](super::Repository::read_manifest).
///
/// **Nothing read from it may be relied upon before [`ManifestReader::next`] has answered `None`**: the hash stands at
/// the end. Gather what is found, and drop it when an error comes; or read twice, and act in the second pass. A restore
/// acts on items as it meets them and uses [`Repository::open`](super::Repository::open).
#[derive(Debug)]
pub struct ManifestReader {
    store: Arc<dyn Store>,
    read: u64,
    ended: bool,
    name: String,
    header: Header,
    /// Until its end is reached.
    reading: Option<Reading>,
    is_sound: bool,
}

impl ManifestReader {
    /// Begins, and reads as far as the header goes. Errors as of [`ManifestReader::next`].
    pub(super) async fn open(store: Arc<dyn Store>, backup: &BackupRef) -> Result<Self> {
        let name = backup.manifest();
        let mut reading = Reading::of(&name);
        let (mut read, mut ended) = (0, false);
        let header = loop {
            if let Some(header) = reading.header() {
                break header.clone();
            }
            if ended {
                // Without a header it cannot be sound.
                return Err(reading.finish().err().unwrap_or_else(|| corrupt(&name, "it has no header")));
            }
            ended = take(&*store, &mut read, &mut reading).await?;
        };
        Ok(Self { store, read, ended, name, header, reading: Some(reading), is_sound: false })
    }

    /// All about the backup but its items. Not checked before the end.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads to the end: the header of a manifest that is sound. Errors as of [`ManifestReader::next`].
    pub async fn finish(mut self) -> Result<Header> {
        while self.next().await?.is_some() {}
        Ok(self.header)
    }

    /// The next item; `None` behind the last one, when the whole manifest is sound.
    ///
    /// `Corrupt` or `NewerFormat`: the manifest is not to be used, whatever was read before. `NotFound`: it was removed
    /// meanwhile.
    pub async fn next(&mut self) -> Result<Option<Item>> {
        while let Some(reading) = &mut self.reading {
            if let Some(item) = reading.next_item() {
                return Ok(Some(item));
            }
            if !self.ended {
                self.ended = take(&*self.store, &mut self.read, reading).await?;
            } else if let Some(reading) = self.reading.take() {
                reading.finish()?;
                self.is_sound = true;
            }
        }
        if self.is_sound { Ok(None) } else { Err(corrupt(&self.name, "that was said before")) }
    }
}

/// Reads the next part; whether it was the last.
async fn take(store: &dyn Store, read: &mut u64, reading: &mut Reading) -> Result<bool> {
    let part = store.read_part(&reading.name, *read..*read + PART).await?;
    *read += part.len() as u64;
    reading.feed(&part);
    Ok((part.len() as u64) < PART || reading.is_decided())
}

/// The text of a manifest, as far as it was fed. Knows nothing of stores.
#[derive(Debug)]
pub(super) struct Reading {
    name: String,
    hash: Sha256,
    /// The last bytes, which the hash covers only when more follow.
    tail: Vec<u8>,
    /// What was fed and not yet understood begins at `at`.
    text: Vec<u8>,
    at: usize,
    place: Place,
    header: Option<Header>,
    /// The blobs of the items begin so.
    items: String,
    last: Option<ItemId>,
    /// The first thing that is wrong. From then on only the hash is of interest.
    doubt: Option<Error>,
}

/// What comes next in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    /// The line feed behind the line that begins the items.
    FirstItem,
    /// A line: an item behind a comma, or the end of the items behind an item without one.
    Line {
        comma: bool,
    },
    /// The hash.
    End,
}

impl Reading {
    /// A manifest stored under this name.
    pub(super) fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            hash: Sha256::new(),
            tail: Vec::new(),
            text: Vec::new(),
            at: 0,
            place: Place::Header,
            header: None,
            items: String::new(),
            last: None,
            doubt: None,
        }
    }

    /// The next bytes.
    pub(super) fn feed(&mut self, part: &[u8]) {
        let (sure, last) = part.split_at(part.len().saturating_sub(TAIL));
        let passed = (self.tail.len() + last.len()).saturating_sub(TAIL);
        self.hash.update(&self.tail[..passed]);
        self.hash.update(sure);
        self.tail.drain(..passed);
        self.tail.extend_from_slice(last);
        if self.doubt.is_some() {
            return;
        }
        self.text.drain(..self.at);
        self.at = 0;
        // The line that begins the items can lie across two parts.
        let from = self.text.len().saturating_sub(ITEMS.len());
        self.text.extend_from_slice(part);
        if self.place == Place::Header {
            match manifest::find(&self.text[from..], ITEMS.as_bytes()) {
                Some(found) => self.begin_items(from + found),
                None if self.text.len() > LONGEST_HEADER => {
                    self.doubt_that("it does not have the line that begins its items")
                }
                None => (),
            }
        } else if self.place == Place::End && self.text.len() > TAIL {
            self.doubt_that("there is something between its items and its hash");
        }
    }

    pub(super) fn header(&self) -> Option<&Header> {
        self.header.as_ref().filter(|_| self.doubt.is_none())
    }

    /// Whether the rest of the text makes no difference.
    fn is_decided(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.kind() == ErrorKind::NewerFormat)
    }

    /// The next item whose line was fed whole.
    pub(super) fn next_item(&mut self) -> Option<Item> {
        if self.place == Place::FirstItem && self.text.get(self.at) == Some(&b'\n') {
            self.at += 1;
            self.place = Place::Line { comma: true };
        }
        let Place::Line { comma } = self.place else { return None };
        if self.doubt.is_some() {
            return None;
        }
        let rest = &self.text[self.at..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            if rest.len() > LONGEST_LINE {
                self.doubt_that("its items cannot be read");
            }
            return None;
        };
        let line = &rest[..length];
        if line == b"  ]," && (!comma || self.last.is_none()) {
            // The line feed belongs to the tail.
            self.at += length;
            self.place = Place::End;
            return None;
        }
        let (json, more) = line.strip_suffix(b",").map_or((line, false), |json| (json, true));
        let item = match json.strip_prefix(b"    ").filter(|_| comma) {
            Some(json) => serde_json::from_slice::<Item>(json)
                .map_err(|cause| corrupt(&self.name, "its items cannot be read").because(cause)),
            None => Err(corrupt(&self.name, "its items cannot be read")),
        };
        self.at += length + 1;
        self.place = Place::Line { comma: more };
        match item.and_then(|item| self.check(&item).map(|()| item)) {
            Ok(item) => {
                self.last = Some(item.id.clone());
                Some(item)
            }
            Err(doubt) => {
                self.doubt = Some(doubt);
                None
            }
        }
    }

    /// Whether the whole was sound, when all is fed and every item is taken: then its header.
    pub(super) fn finish(mut self) -> Result<Header> {
        if self.header.is_none() && self.doubt.is_none() {
            // A newer format can have another shape.
            self.doubt = manifest::check_version(&self.name, &self.text).err();
        }
        if let Some(doubt) = self.doubt.take_if(|doubt| doubt.kind() == ErrorKind::NewerFormat) {
            return Err(doubt);
        }
        let is_hash = |tail: &[u8]| tail.starts_with(HASH.as_bytes()) && tail.ends_with(b"\"\n}\n");
        if self.tail.len() < TAIL || !is_hash(&self.tail) {
            return Err(corrupt(&self.name, "it does not end with its hash, so it was cut off or something was added"));
        }
        if self.tail != format!("{HASH}{}\"\n}}\n", hex::encode(self.hash.finalize())).as_bytes() {
            return Err(corrupt(&self.name, "its content does not have the hash it says"));
        }
        if let Some(doubt) = self.doubt {
            return Err(doubt);
        }
        match self.header {
            None => Err(corrupt(&self.name, "it does not have the line that begins its items")),
            Some(_) if self.place != Place::End || self.text.len() - self.at != TAIL => {
                Err(corrupt(&self.name, "its items cannot be read"))
            }
            Some(header) => Ok(header),
        }
    }

    fn begin_items(&mut self, at: usize) {
        match Header::before_items(&self.name, &self.text[..at])
            .and_then(|header| self.check_name(&header).map(|()| header))
        {
            Ok(header) => {
                self.items = format!("{}{}/items/", names::VAULTS, header.vault);
                self.header = Some(header);
                self.at = at + ITEMS.len();
                self.place = Place::FirstItem;
            }
            Err(doubt) => self.doubt = Some(doubt),
        }
    }

    fn doubt_that(&mut self, why: &str) {
        self.doubt = Some(corrupt(&self.name, why));
        self.text = Vec::new();
        self.at = 0;
    }

    /// What a hash cannot tell: that the manifest is one this program could have written at this place.
    fn check_name(&self, header: &Header) -> Result<()> {
        match names::parse_manifest(&self.name) {
            Some((id, label)) if id == header.backup_id && label == header.label => (),
            _ => return Err(corrupt(&self.name, "it is stored under another backup's name")),
        }
        if self.name != names::manifest(&header.vault, &header.backup_id, header.label.as_ref()) {
            return Err(corrupt(&self.name, "it is stored under another vault's name"));
        }
        Ok(())
    }

    /// The same of an item.
    fn check(&self, item: &Item) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| *last >= item.id) {
            return Err(corrupt(&self.name, "its items are not in order"));
        }
        let sound = names::parse_item(&item.blob).is_some_and(|blob| {
            blob.item == item.id && *blob.sha256 == *item.sha256 && blob.fingerprint == item.attributes.fingerprint()
        });
        if !sound || !item.blob.starts_with(&self.items) {
            return Err(corrupt(&self.name, &format!("the blob it names for {} is not one of that item", item.id)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{items::Items, manifest::Manifest},
        *,
    };

    const NAME: &str = "vaults/contoso-prod/backups/20261122T020200Z-00000002.json";
    const TEXT: &[u8] = include_bytes!(
        "../../tests/it/fixtures/format-v1/backups/vaults/contoso-prod/backups/20261122T020200Z-00000002.json"
    );

    /// What comes of a text that arrives in parts of this size.
    fn in_parts(text: &[u8], size: usize) -> Result<Manifest> {
        let (mut reading, mut items) = (Reading::of(NAME), Vec::new());
        for part in text.chunks(size) {
            reading.feed(part);
            items.extend(std::iter::from_fn(|| reading.next_item()));
        }
        Ok(Manifest { header: reading.finish()?, items: Items::of(&items)? })
    }

    #[test]
    fn it_makes_no_difference_where_the_parts_end() {
        let whole = Manifest::decode(NAME, TEXT).unwrap();
        assert_eq!(whole.items.len(), 4);
        for size in 1..TEXT.len() + 1 {
            assert_eq!(in_parts(TEXT, size).unwrap(), whole, "parts of {size} bytes");
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_found_in_parts_as_in_the_whole() {
        let mut text = TEXT.to_vec();
        for at in 0..text.len() {
            text[at] ^= 0x01;
            let [parts, whole] = [97, usize::MAX].map(|size| in_parts(&text, size).unwrap_err());
            assert_eq!(parts.message(), whole.message(), "byte {at}");
            text[at] ^= 0x01;
            let error = in_parts(&text[..at], 97).unwrap_err();
            assert!(error.message().contains("it does not end with its hash"), "cut at {at}: {error}");
        }
    }

    #[test]
    fn what_is_damaged_is_told_by_its_hash_and_what_follows_the_damage_is_not_handed_out() {
        let text = String::from_utf8(TEXT.to_vec()).unwrap();
        let second = text.match_indices("    {\"kind\"").nth(1).unwrap().0;
        let text = format!("{}?{}", &text[..second], &text[second + 1..]);
        let mut reading = Reading::of(NAME);
        reading.feed(text.as_bytes());
        assert_eq!(std::iter::from_fn(|| reading.next_item()).count(), 1);
        let error = reading.finish().unwrap_err();
        assert!(error.message().contains("its content does not have the hash it says"), "{error}");
    }
}
