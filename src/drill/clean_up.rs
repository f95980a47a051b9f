//! Removes from the drill vault what a note says was restored: the same items in the same versions, and nothing else.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::note::Entry;
use crate::{
    error::{Error, ErrorKind, Result},
    model::{ItemId, Kind},
    store::Lease,
    vault::{DEADLINE, Vault},
};

/// How long something may stay unseen after it was asked for: a restore whose answer was lost, or a delete (45 seconds
/// in a recorded exchange).
const UNSEEN: Duration = Duration::from_secs(60);

/// Between two looks.
const POLL: Duration = Duration::from_secs(10);

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

/// Deletes and purges these items. An error means that the vault could not be looked at, or that the lease was lost:
/// another drill may have restored the same items by then.
pub(super) async fn remove(
    entries: &[Entry],
    target: &Vault,
    concurrency: usize,
    lost: Lost,
    lease: &dyn Lease,
) -> Result<Left> {
    let mut left = Left::new();
    let mut quiet_since = Instant::now();
    loop {
        let there = Names::look(target).await?;
        let open: Vec<&Entry> =
            entries.iter().filter(|entry| !left.contains_key(&entry.item) && there.holds(&entry.item)).collect();
        if open.is_empty() {
            if lost == Lost::Nothing || quiet_since.elapsed() >= UNSEEN {
                return Ok(left);
            }
            tokio::time::sleep(POLL).await;
            continue;
        }
        let mut removals = stream::iter(0..open.len())
            .map(|index| remove_one(open[index], &there, target, lease))
            .buffer_unordered(concurrency);
        let mut seen = false;
        while let Some((item, result)) = removals.next().await {
            match result {
                Ok(Removed::Yes) => seen = true,
                Ok(Removed::NotYet) if quiet_since.elapsed() < DEADLINE => (),
                Ok(Removed::NotYet) => drop(left.insert(item.clone(), overdue(&item, target))),
                Err(error) => drop(left.insert(item, error)),
            }
        }
        if seen {
            quiet_since = Instant::now();
        } else {
            tokio::time::sleep(POLL).await;
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
        if left.len() == 1 { "one item".to_owned() } else { format!("{} items", left.len()) },
        target.name(),
        names.join(", "),
        if more == 0 { String::new() } else { format!(" and {more} more") },
        if left.len() == 1 { "it" } else { "them" },
        if left.len() == 1 { "it" } else { "them" },
        worst.chain()
    );
    Some(Error::new(worst.kind(), message).at(target.name().as_str()))
}

/// What came of one item.
enum Removed {
    Yes,
    /// It is listed, and not found: something is under way.
    NotYet,
}

async fn remove_one(entry: &Entry, there: &Names, target: &Vault, lease: &dyn Lease) -> (ItemId, Result<Removed>) {
    let item = &entry.item;
    let removal = async {
        super::still_held(lease, target)?;
        if there.active.contains(item) {
            match target.current(item, None).await? {
                Some(current) if entry.is(&current) => target.delete(item).await?,
                Some(current) => return Err(another(item, &current.version, target)),
                None => return Ok(Removed::NotYet),
            }
        }
        match target.deleted(item).await? {
            Some(deleted) if entry.was(&deleted) => target.purge(item).await.map(|()| Removed::Yes),
            Some(deleted) => Err(another(item, deleted.version.as_deref().unwrap_or("unknown"), target)),
            None => Ok(Removed::NotYet),
        }
    };
    let result = removal.await;
    (item.clone(), result)
}

fn another(item: &ItemId, version: &str, target: &Vault) -> Error {
    let message = format!(
        "{item} of vault {} has version {version}, which the drill did not restore, so it was left alone.",
        target.name()
    );
    Error::new(ErrorKind::Conflict, message).at(item.to_string())
}

fn overdue(item: &ItemId, target: &Vault) -> Error {
    let message = format!(
        "{item} is listed by vault {} and cannot be found, for {} seconds now.",
        target.name(),
        DEADLINE.as_secs()
    );
    Error::new(ErrorKind::Unavailable, message).at(item.to_string())
}

/// The names in use in a vault.
struct Names {
    active: HashSet<ItemId>,
    deleted: HashSet<ItemId>,
}

impl Names {
    async fn look(target: &Vault) -> Result<Self> {
        let (mut active, mut deleted) = (HashSet::new(), HashSet::new());
        for kind in Kind::ALL {
            let listed: Vec<_> = target.list(kind).try_collect().await?;
            active.extend(listed.into_iter().map(|listed| listed.item));
            let listed: Vec<_> = target.list_deleted(kind).try_collect().await?;
            deleted.extend(listed.into_iter().map(|listed| listed.item));
        }
        Ok(Self { active, deleted })
    }

    fn holds(&self, item: &ItemId) -> bool {
        self.active.contains(item) || self.deleted.contains(item)
    }
}
