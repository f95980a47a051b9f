//! What a run finds: in the listings, and of each item.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Result},
    guard::Fate,
    model::{Attributes, ItemId, Kind},
    repository::{
        items::Collector,
        manifest::{Counts, Failure, Item},
    },
};

/// What a run has gathered.
#[derive(Default)]
pub(super) struct Found {
    pub(super) items: Collector,
    pub(super) failures: Failures,
    pub(super) counts: Counts,
    /// What became of items since they were listed.
    pub(super) news: Vec<(ItemId, Fate)>,
}

/// So many failures of items of a kind are listed; the rest is counted. Each takes up to a kilobyte, in the memory of
/// everybody who reads the manifest.
const MOST_LISTED: u64 = 1000;

/// What could not be backed up, in bounded memory.
#[derive(Default)]
pub(super) struct Failures {
    listed: Vec<Failure>,
    counts: BTreeMap<Kind, u64>,
    /// Those beyond them, by kind and code.
    more: BTreeMap<Kind, BTreeMap<String, u64>>,
}

impl Failures {
    pub(super) fn add(&mut self, failure: Failure) {
        if failure.name.is_some() {
            let count = self.counts.entry(failure.kind).or_default();
            *count += 1;
            if *count > MOST_LISTED {
                *self.more.entry(failure.kind).or_default().entry(failure.code).or_default() += 1;
                return;
            }
        }
        self.listed.push(failure);
    }

    /// In the order of kind and name; what is only counted comes first.
    pub(super) fn into_listed(self) -> Vec<Failure> {
        let Self { mut listed, more, .. } = self;
        listed.extend(more.into_iter().map(|(kind, codes)| more_of(kind, &codes)));
        listed.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        listed
    }
}

fn more_of(kind: Kind, codes: &BTreeMap<String, u64>) -> Failure {
    let by_code: Vec<String> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let commonest = codes.iter().max_by_key(|(_, count)| **count).map(|(code, _)| code.clone());
    let more = codes.values().sum();
    let reason = format!(
        "{more} more failures of {kind} are not listed ({}). What is listed shows what to put right.",
        by_code.join(", ")
    );
    Failure { kind, name: None, more: Some(more), code: commonest.unwrap_or_default(), reason }
}

/// What the listings have shown.
#[derive(Default)]
pub(super) struct Seen {
    /// The items in the vault, and what is known of each by now.
    pub(super) fates: Fates,
    pub(super) unlisted: BTreeMap<Kind, Problem>,
    pub(super) errors: Vec<Error>,
    pub(super) managed: u64,
    pub(super) filtered_out: u64,
}

/// The fates of items, by the beginning of a SHA-256 over kind and name: 18 bytes an item instead of 70. Two of a billion
/// are the same with a probability of 10^-21.
#[derive(Default)]
pub(super) struct Fates(HashMap<[u8; 16], Fate>);

impl Fates {
    /// Takes in what is known now; what was known before.
    pub(super) fn insert(&mut self, item: &ItemId, fate: Fate) -> Option<Fate> {
        self.0.insert(key(item), fate)
    }

    pub(super) fn get(&self, item: &ItemId) -> Option<Fate> {
        self.0.get(&key(item)).copied()
    }
}

/// Names are compared without case.
fn key(item: &ItemId) -> [u8; 16] {
    let hash = Sha256::digest(format!("{}/{}", item.kind, item.name.as_str().to_ascii_lowercase()));
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    key
}

/// Why something failed, as it is recorded.
#[derive(Clone)]
pub(super) struct Problem {
    pub(super) code: String,
    pub(super) reason: String,
}

/// What became of one listed item.
pub(super) enum Kept {
    /// And its state is another one than was listed.
    Read(Item, Option<Fate>),
    CarriedOver(Item),
    /// It was deleted between the listing and its turn.
    Gone(ItemId),
    /// The previous copy, if that can be kept, and what is told.
    Failed(Option<Item>, Vec<Failure>),
}

pub(super) fn fate_of(attributes: &Attributes) -> Fate {
    if attributes.enabled { Fate::Enabled } else { Fate::Disabled }
}

impl Found {
    pub(super) fn sort_in(&mut self, kept: Kept) -> Result<()> {
        let item = match kept {
            Kept::Read(item, news) => {
                self.counts.read += 1;
                self.news.extend(news.map(|fate| (item.id.clone(), fate)));
                item
            }
            Kept::CarriedOver(item) => {
                self.counts.carried_over += 1;
                self.counts.add(item.id.kind, item.size);
                return self.items.carry_over(&item);
            }
            Kept::Gone(item) => {
                self.news.push((item, Fate::Gone));
                return Ok(());
            }
            Kept::Failed(copy, failures) => {
                failures.into_iter().for_each(|failure| self.failures.add(failure));
                let Some(item) = copy else {
                    self.counts.missing += 1;
                    return Ok(());
                };
                self.counts.stale += 1;
                item
            }
        };
        self.counts.add(item.id.kind, item.size);
        self.items.push(&item)
    }
}

impl Problem {
    pub(super) fn of(&self, kind: Kind) -> Failure {
        Failure { kind, name: None, more: None, code: self.code.clone(), reason: self.reason.clone() }
    }

    pub(super) fn failure(&self, item: &ItemId) -> Failure {
        Failure { name: Some(item.name.as_str().into()), ..self.of(item.kind) }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self { code: error.kind().code().into(), reason: error.chain() }
    }
}
