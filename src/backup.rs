//! Backs one vault up: lists what is there, reads what changed, keeps what did not, and commits a manifest.
//!
//! One bad item never stops the rest. What could not be read this time keeps its previous copy, marked stale with the
//! reason; a kind that could not be listed is never taken for an empty one. The same call made again after a crash, with
//! the same id, goes on where the interrupted one stopped.

mod found;
mod guarded;
mod turns;

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _, channel::mpsc, future, stream};
use tokio::{task::coop::consume_budget, time::Instant};
use tracing::{Instrument as _, debug_span, field::Empty};
use uuid::Uuid;

use self::found::{Found, Kept, Problem, Seen, fate_of};
use crate::{
    error::{Error, ErrorKind, Result},
    guard::Limits,
    measure,
    model::{Attributes, BackupId, ItemId, Kind, Label, Timestamp, filter::ItemFilter},
    report::{Progress, Status},
    repository::{
        CLOCKS_DIFFER, Repository,
        draft::{Commit, Draft, Stored},
        findings::Damage,
        items::Collector,
        manifest::{Counts, FORMAT_VERSION, Failure, Guard, Header, Item, Manifest, Stale},
    },
    vault::{Listed, Vault},
};

/// What to back up and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The id of the backup; the same when an interrupted run is taken up again.
    pub id: BackupId,
    /// A name for it.
    pub label: Option<Label>,
    /// Which items.
    pub filter: ItemFilter,
    /// Read every item anew.
    pub full: bool,
    /// An item's copy is carried over for at most this long before it is read anew: changes to an older version do not
    /// show in a listing, and immutability counts from a blob's creation.
    pub full_every: Duration,
    /// How many items are dealt with at once.
    pub concurrency: usize,
    /// How much may vanish or be disabled since the last backup before the guard trips.
    pub guard: Limits,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backup {
    /// This backup was committed, by this run or by an earlier attempt of it.
    Committed(Box<Header>),
    /// Another run is backing this vault up just now, so this one had nothing to add.
    NotNeeded,
}

/// Backs the vault up for `operation`.
///
/// While another run is at work on this vault, this one waits for its turn if it was asked for more than that one may
/// bring (a label, a full backup). `Busy`: that took too long, try again later. Any other error: nothing was committed. A
/// backup with trouble of single items is committed, and its header says so.
pub async fn run(
    vault: &Vault,
    repository: &Repository,
    operation: Uuid,
    options: &Options,
    progress: &Progress,
    now: Timestamp,
) -> Result<Backup> {
    let wants_its_own = options.full || options.label.is_some();
    let Some(lease) = turns::take(vault, repository, operation, wants_its_own).await? else {
        return Ok(Backup::NotNeeded);
    };
    let result = run_locked(vault, repository, options, progress, now, &|| lease.is_held()).await;
    lease.release().await;
    result.map(|header| Backup::Committed(Box::new(header)))
}

async fn run_locked(
    vault: &Vault,
    repository: &Repository,
    options: &Options,
    progress: &Progress,
    now: Timestamp,
    still_locked: &(dyn Fn() -> bool + Sync),
) -> Result<Header> {
    let draft = repository.begin(vault.name(), &options.id, options.label.as_ref()).await?;
    if let Some(header) = draft.committed().await? {
        return Ok(header);
    }
    let base = newest_sound(repository, vault).await?;
    if let Some(base) = &base {
        tell_age(&base.header);
    }
    let damage = repository.damage(vault.name()).await;
    let (base, start) = (base.as_ref(), Instant::now());
    let draft = &draft;
    let run = Run { vault, repository, options, progress, draft, base, damage, now, start, still_locked };
    let (mut found, seen) = run.collect().await?;
    run.carry_over_unseen(&mut found, &seen).await?;

    let guard = run.guard(&seen).await?;
    let manifest = run.manifest(found, &seen, guard)?;
    run.check_lock()?;
    let header = match draft.commit(&manifest).instrument(debug_span!("manifest")).await? {
        Commit::Committed => manifest.header,
        Commit::AlreadyCommitted(header) => *header,
    };
    tell_age(&header);
    Ok(header)
}

fn tell_age(header: &Header) {
    if header.status == Status::Succeeded {
        measure!("good_backup", vault = header.vault.as_str(), at = header.started_at.unix());
    }
}

/// The newest backup that can be read. Damaged ones are passed over: they must not stop new backups.
async fn newest_sound(repository: &Repository, vault: &Vault) -> Result<Option<Manifest>> {
    let backups = repository.backups(vault.name()).await?;
    for backup in backups.iter().rev().filter(|backup| !backup.is_safety_copy()) {
        match repository.open(backup).await {
            Ok(manifest) => return Ok(Some(manifest)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(vault = %vault.name(), %backup, error = %error, "passing over a damaged backup");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

struct Run<'a> {
    vault: &'a Vault,
    repository: &'a Repository,
    options: &'a Options,
    progress: &'a Progress,
    draft: &'a Draft,
    base: Option<&'a Manifest>,
    /// What the last verification found: no copy there is relied upon.
    damage: Damage,
    now: Timestamp,
    start: Instant,
    still_locked: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Run<'a> {
    /// Lists all kinds and deals with the items while the listing goes on.
    async fn collect(&self) -> Result<(Found, Seen)> {
        let (mut found, mut seen) = (Found::default(), Seen::default());
        if let Some(base) = self.base {
            found.items = Collector::beside(&base.items);
        }
        // Listing and reading wait for each other only between two rows, never while a page is under way: items that
        // take up every place for minutes would use up the time that the page has.
        let (sender, rows) = mpsc::channel(0);
        let listings = future::join_all(Kind::ALL.map(|kind| {
            let span = debug_span!("listing", item_kind = %kind);
            self.list(kind, sender.clone()).instrument(span)
        }));
        drop(sender);
        let span = debug_span!("items", items = Empty);
        let items = async {
            let chosen = rows.filter_map(|(kind, row)| future::ready(self.choose(kind, row, &mut seen)));
            let kept = chosen.map(|listed| self.keep(listed)).buffer_unordered(self.options.concurrency);
            futures::pin_mut!(kept);
            let mut count = 0_usize;
            while let Some(one) = kept.next().await {
                found.sort_in(one?)?;
                count += 1;
            }
            span.record("items", count);
            Ok(())
        };
        future::join(listings, items.instrument(span.clone())).await.1?;
        if seen.errors.len() == Kind::ALL.len() {
            let first = seen.errors.swap_remove(0);
            let message = format!(
                "Vault {} could not be listed at all, so no backup was made. {}",
                self.vault.name(),
                first.message()
            );
            return Err(Error::new(first.kind(), message).because(first));
        }
        for (item, fate) in found.news.drain(..) {
            seen.fates.insert(&item, fate);
        }
        Ok((found, seen))
    }

    async fn list(&self, kind: Kind, mut rows: mpsc::Sender<(Kind, Result<Listed>)>) {
        let listing = self.vault.list(kind);
        futures::pin_mut!(listing);
        while let Some(row) = listing.next().await {
            // Nobody hears it only when the run is being dropped.
            if rows.send((kind, row)).await.is_err() {
                return;
            }
        }
    }

    /// Which of the listed items are to be dealt with; counts the others.
    fn choose(&self, kind: Kind, row: Result<Listed>, seen: &mut Seen) -> Option<Listed> {
        match row {
            Ok(listed) if listed.managed => seen.managed += 1,
            Ok(listed) if !self.options.filter.matches(&listed.item) => seen.filtered_out += 1,
            // A page can repeat a row when the vault changes between two pages.
            Ok(listed) => {
                if seen.fates.insert(&listed.item, fate_of(&listed.attributes)).is_none() {
                    self.progress.expect(1);
                    return Some(listed);
                }
            }
            Err(error) => {
                seen.unlisted.insert(kind, Problem::from(&error));
                seen.errors.push(error);
            }
        }
        None
    }

    /// Carries an unchanged item over, or reads it.
    async fn keep(&self, listed: Listed) -> Result<Kept> {
        let previous = self.base.map(|base| base.items.get(&listed.item)).transpose()?.flatten();
        let is_unchanged = |previous: &Item| self.is_unchanged(previous, &listed.attributes);
        let kept = match previous {
            Some(previous) if is_unchanged(&previous) => Kept::CarriedOver(previous),
            previous => match self.read(&listed).await {
                Ok(Some(item)) => {
                    let fate = fate_of(&item.attributes);
                    Kept::Read(item, Some(fate).filter(|fate| *fate != fate_of(&listed.attributes)))
                }
                Ok(None) => Kept::Gone(listed.item),
                Err(error) => {
                    let problem = Problem::from(&error);
                    let (copy, mut failures) = match previous {
                        Some(previous) => self.keep_stale(previous, &problem).await,
                        None => (None, Vec::new()),
                    };
                    failures.push(problem.failure(&listed.item));
                    Kept::Failed(copy, failures)
                }
            },
        };
        self.progress.advance(if let Kept::Read(item, _) = &kept { item.size } else { 0 });
        Ok(kept)
    }

    async fn read(&self, listed: &Listed) -> Result<Option<Item>> {
        // What is under way ends, and nothing more is begun: a storage that cannot be reached would use up the time of
        // a call for every item that is left.
        self.check_lock()?;
        self.draft.take(self.vault, &listed.item, &listed.attributes, &|| self.clock()).await
    }

    fn is_unchanged(&self, previous: &Item, listed: &Attributes) -> bool {
        !self.options.full
            && previous.stale.is_none()
            && !self.damage.may_be_at(&previous.blob)
            && previous.attributes == *listed
            && listed.are_settled_at(previous.taken_at)
            && self.is_recent(previous.taken_at.min(previous.written_at()))
    }

    /// Whether a full interval is not over yet since that moment. One in the future is of a clock that was wrong, and
    /// would put off the next reading for as long as it was.
    fn is_recent(&self, moment: Timestamp) -> bool {
        let age = self.now.seconds_since(moment);
        moment <= self.now.plus(CLOCKS_DIFFER)
            && age < i64::try_from(self.options.full_every.as_secs()).unwrap_or(i64::MAX)
    }

    /// Items of a kind that could not be listed to its end are not gone: they keep their previous copies.
    async fn carry_over_unseen(&self, found: &mut Found, seen: &Seen) -> Result<()> {
        for (kind, problem) in &seen.unlisted {
            found.failures.add(problem.of(*kind));
            let Some(base) = self.base else { continue };
            let is_unseen = |id: &ItemId| id.kind == *kind && seen.fates.get(id).is_none();
            let unseen = base.items.filtered(|_, id| is_unseen(id) && self.options.filter.matches(id));
            let kept = stream::iter(unseen.iter()).map(async |item| Ok(self.keep_stale(item?, problem).await));
            let kept = kept.buffer_unordered(self.options.concurrency);
            futures::pin_mut!(kept);
            while let Some(one) = kept.next().await {
                let (copy, failures) = one?;
                found.sort_in(Kept::Failed(copy, failures))?;
            }
        }
        Ok(())
    }

    /// The previous copy of an item that could not be read, and what is to be told of it. A copy that has been carried
    /// for a whole full interval is written anew, so that the container's immutability goes on protecting it; one that
    /// was found damaged is read first, because a copy that cannot be restored is none.
    async fn keep_stale(&self, previous: Item, problem: &Problem) -> (Option<Item>, Vec<Failure>) {
        consume_budget().await; // one thread, and copies that are kept need no request
        let mut item = previous;
        item.stale = Some(Stale { code: problem.code.clone(), reason: problem.reason.clone() });
        let is_due = !self.is_recent(item.written_at()) || self.damage.may_be_at(&item.blob);
        if is_due && self.check_lock().is_ok() {
            match self.copy(&item).await {
                Ok(stored) => item.blob = stored.blob,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    return (None, vec![Problem::from(&error).failure(&item.id)]);
                }
                // The old blob is still there; the next run tries again.
                Err(error) => tracing::warn!(item = %item.id, error = %error, "could not renew a stale copy"),
            }
        }
        (Some(item), Vec::new())
    }

    async fn copy(&self, item: &Item) -> Result<Stored> {
        let sealed = self.repository.read_item(item).await?;
        self.draft.write(&item.id, &item.attributes, &sealed, self.clock()).await
    }

    fn manifest(&self, found: Found, seen: &Seen, guard: Option<Guard>) -> Result<Manifest> {
        let Found { items, failures, counts, .. } = found;
        let failures = failures.into_listed();
        let counts = Counts { managed_skipped: seen.managed, filtered_out: seen.filtered_out, ..counts };
        let header = Header {
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            backup_id: self.options.id.clone(),
            vault: self.vault.name().clone(),
            vault_uri: self.vault.uri().to_owned(),
            started_at: self.now,
            finished_at: self.clock(),
            status: if failures.is_empty() { Status::Succeeded } else { Status::PartiallySucceeded },
            full: counts.carried_over == 0 && counts.stale == 0,
            label: self.options.label.clone(),
            previous_backup: self.base.map(|base| base.header.backup_id.clone()),
            filter: self.options.filter.patterns().to_vec(),
            guard,
            counts,
            failures,
        };
        Ok(Manifest { header, items: items.finish()? })
    }

    /// Work under a lost lease must stop.
    fn check_lock(&self) -> Result<()> {
        if (self.still_locked)() {
            return Ok(());
        }
        let message = format!(
            "The backup of vault {} lost its lease in the storage, so another run may have begun; nothing was \
             committed. The next attempt goes on from here.",
            self.vault.name()
        );
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    fn clock(&self) -> Timestamp {
        self.now.plus(self.start.elapsed())
    }
}
