//! Removes from the drill vault what a note says was restored: the same items in the same versions, and nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::note::Entry;
use crate::{
    error::{Error, ErrorKind, Result},
    model::{ItemId, Kind, counted},
    rows::Rows,
    store::Lease,
    vault::{DEADLINE, Vault},
};

/// How long something may stay unseen after it was asked for: a restore whose answer was lost, or a delete (45 seconds
/// in a recorded exchange).
const UNSEEN: Duration = Duration::from_secs(60);

/// Between two looks while something is being deleted.
const OFTEN: Duration = Duration::from_secs(2);

/// Between two looks while nothing is known to be under way.
const SELDOM: Duration = Duration::from_secs(10);

/// Items named in a message.
const NAMED: usize = 10;

/// Whether requests whose outcome nobody knows may still change the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Every request was answered.
    Nothing,
    /// An earlier attempt was stopped, or an answer was lost: what is not seen now may appear.
    Perhaps,
}

/// What could not be removed, and why.
pub(super) type Left = BTreeMap<ItemId, Error>;

/// How far the removal of an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begun,
    /// Its deletion goes on in Key Vault, and it is in no listing for a while.
    Deleting,
    /// It is purged, or left with a reason.
    Over,
}

/// Deletes and purges these items. An error means that the vault could not be looked at.
///
/// All are deleted before the first is waited for: one by one, a large vault would take hours. No item is touched after
/// the lease was lost, because another drill may have restored the same by then.
pub(super) async fn remove(
    entries: &Rows<Entry>,
    target: &Vault,
    concurrency: usize,
    lost: Lost,
    lease: &dyn Lease,
) -> Result<Left> {
    let numbers = entries.iter().enumerate().map(|(number, entry)| Ok((entry?.item, number)));
    let numbers: HashMap<ItemId, usize> = numbers.collect::<Result<_>>()?;
    let (mut left, mut stages) = (Left::new(), vec![Stage::Begun; entries.len()]);
    let mut changed = Instant::now();
    loop {
        let places = look(target, &numbers, entries.len()).await?;
        let is_open = |number: &usize| match places[*number] {
            Place::Nowhere => false,
            Place::Active => stages[*number] == Stage::Begun,
            Place::Deleted => stages[*number] != Stage::Over,
        };
        let open: Vec<usize> = (0..entries.len()).filter(is_open).collect();
        let deleting = (0..entries.len()).filter(|number| stages[*number] == Stage::Deleting);
        if !open.is_empty() {
            changed = Instant::now();
        } else if deleting.clone().next().is_none() {
            if lost == Lost::Nothing || changed.elapsed() >= UNSEEN {
                return Ok(left);
            }
            tokio::time::sleep(SELDOM).await;
        } else {
            if changed.elapsed() >= DEADLINE {
                for number in deleting.collect::<Vec<_>>() {
                    stages[number] = Stage::Over;
                    left.extend(entries.get(number)?.map(|entry| overdue(entry.item, target)));
                }
            }
            tokio::time::sleep(OFTEN).await;
        }
        let steps = stream::iter(open).map(|number| step(number, entries, places[number], target, lease));
        let mut steps = pin!(steps.buffer_unordered(concurrency));
        while let Some((number, result)) = steps.try_next().await? {
            stages[number] = result.unwrap_or_else(|(item, error)| {
                left.insert(item, error);
                Stage::Over
            });
        }
    }
}

/// What is left where, as one error: of a kind that may pass when that of any item is.
pub(super) fn error(left: &Left, target: &Vault) -> Option<Error> {
    let worst = left.values().find(|error| error.kind().is_transient()).or_else(|| left.values().next())?;
    let names: Vec<String> = left.keys().take(NAMED).map(ToString::to_string).collect();
    let more = left.len().saturating_sub(names.len());
    let message = format!(
        "The drill left {} in vault {}: {}{}. The next drill into it tries again to remove {}; or delete and purge {} \
         yourself. {}",
        counted(left.len() as u64, "item"),
        target.name(),
        names.join(", "),
        if more == 0 { String::new() } else { format!(" and {more} more") },
        if left.len() == 1 { "it" } else { "them" },
        if left.len() == 1 { "it" } else { "them" },
        worst.chain()
    );
    Some(Error::new(worst.kind(), message).at(target.name().as_str()))
}

/// Purges a deleted item, or begins to delete an active one: how far it is then, or why it is left. An error means that
/// the entry cannot be read.
async fn step(
    number: usize,
    entries: &Rows<Entry>,
    place: Place,
    target: &Vault,
    lease: &dyn Lease,
) -> Result<(usize, Result<Stage, (ItemId, Error)>)> {
    let Some(entry) = entries.get(number)? else { return Ok((number, Ok(Stage::Over))) };
    let item = &entry.item;
    let step = async {
        super::still_held(lease, target)?;
        if place == Place::Deleted {
            return match target.deleted(item).await? {
                Some(deleted) if entry.was(&deleted) => target.purge(item).await.map(|()| Stage::Over),
                Some(deleted) => Err(another(item, deleted.version.as_deref().unwrap_or("unknown"), target)),
                // Purged since it was listed.
                None => Ok(Stage::Over),
            };
        }
        match target.current(item, None).await? {
            Some(current) if entry.is(&current) => match target.send_delete(item).await {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(Stage::Deleting),
            },
            Some(current) => Err(another(item, &current.version, target)),
            // An earlier attempt has begun to delete it.
            None => Ok(Stage::Deleting),
        }
    };
    let result = step.await.map_err(|error| (item.clone(), error));
    Ok((number, result))
}

fn another(item: &ItemId, version: &str, target: &Vault) -> Error {
    let message = format!(
        "{item} of vault {} has version {version}, which the drill did not restore, so it was left alone.",
        target.name()
    );
    Error::new(ErrorKind::Conflict, message).at(item.to_string())
}

fn overdue(item: ItemId, target: &Vault) -> (ItemId, Error) {
    let message = format!(
        "{item} of vault {} was deleted and is not among its deleted items after {} seconds.",
        target.name(),
        DEADLINE.as_secs()
    );
    let error = Error::new(ErrorKind::Unavailable, message).at(item.to_string());
    (item, error)
}

/// Where a vault has an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Active,
    /// Also when it is listed as active: the older page is the wrong one.
    Deleted,
}

/// Where the items of these numbers are.
async fn look(target: &Vault, numbers: &HashMap<ItemId, usize>, count: usize) -> Result<Vec<Place>> {
    let mut places = vec![Place::Nowhere; count];
    for kind in Kind::ALL {
        let mut listing = pin!(target.list(kind));
        while let Some(listed) = listing.try_next().await? {
            if let Some(number) = numbers.get(&listed.item).filter(|number| places[**number] == Place::Nowhere) {
                places[*number] = Place::Active;
            }
        }
        let mut listing = pin!(target.list_deleted(kind));
        while let Some(listed) = listing.try_next().await? {
            if let Some(number) = numbers.get(&listed.item) {
                places[*number] = Place::Deleted;
            }
        }
    }
    Ok(places)
}
