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

/// Deletes and purges these items. An error means that the vault could not be looked at.
///
/// All are deleted before the first is waited for: one by one, a large vault would take hours. No item is touched after
/// the lease was lost, because another drill may have restored the same by then.
pub(super) async fn remove(
    entries: &[Entry],
    target: &Vault,
    concurrency: usize,
    lost: Lost,
    lease: &dyn Lease,
) -> Result<Left> {
    let (mut left, mut deleting, mut purged) = (Left::new(), HashSet::new(), HashSet::new());
    let mut changed = Instant::now();
    loop {
        let there = Names::look(target).await?;
        let open: Vec<&Entry> = entries
            .iter()
            .filter(|Entry { item, .. }| !left.contains_key(item) && !purged.contains(item))
            .filter(|Entry { item, .. }| {
                there.deleted.contains(item) || there.active.contains(item) && !deleting.contains(item)
            })
            .collect();
        if open.is_empty() && deleting.is_empty() {
            if lost == Lost::Nothing || changed.elapsed() >= UNSEEN {
                return Ok(left);
            }
            tokio::time::sleep(SELDOM).await;
        } else if open.is_empty() {
            if changed.elapsed() >= DEADLINE {
                left.extend(deleting.drain().map(|item| overdue(item, target)));
            }
            tokio::time::sleep(OFTEN).await;
        } else {
            changed = Instant::now();
        }
        let steps = stream::iter(0..open.len()).map(|index| step(open[index], &there, target, lease));
        let mut steps = steps.buffer_unordered(concurrency);
        while let Some((item, result)) = steps.next().await {
            deleting.remove(&item);
            match result {
                Ok(Step::Deleting) => drop(deleting.insert(item)),
                Ok(Step::Purged) => drop(purged.insert(item)),
                Err(error) => drop(left.insert(item, error)),
            }
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

/// How far an item is.
enum Step {
    /// Its deletion goes on in Key Vault, and it is in no listing for a while.
    Deleting,
    Purged,
}

/// Purges a deleted item, or begins to delete an active one.
async fn step(entry: &Entry, there: &Names, target: &Vault, lease: &dyn Lease) -> (ItemId, Result<Step>) {
    let item = &entry.item;
    let step = async {
        super::still_held(lease, target)?;
        if there.deleted.contains(item) {
            return match target.deleted(item).await? {
                Some(deleted) if entry.was(&deleted) => target.purge(item).await.map(|()| Step::Purged),
                Some(deleted) => Err(another(item, deleted.version.as_deref().unwrap_or("unknown"), target)),
                // Purged since it was listed.
                None => Ok(Step::Purged),
            };
        }
        match target.current(item, None).await? {
            Some(current) if entry.is(&current) => match target.send_delete(item).await {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(Step::Deleting),
            },
            Some(current) => Err(another(item, &current.version, target)),
            // An earlier attempt has begun to delete it.
            None => Ok(Step::Deleting),
        }
    };
    let result = step.await;
    (item.clone(), result)
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
}
