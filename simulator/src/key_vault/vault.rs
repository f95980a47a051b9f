//! The state of one vault, and what time does to it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest, Sha256};

use super::{
    access::Grant,
    model::{Content, Deletion, Item, Kind, Life, Version},
    options::{Network, Throttling, VaultOptions, Window},
    throttle::Quota,
};

/// Seconds of a day of retention.
const DAY: i64 = 24 * 3600;

/// Everything about one vault. Lives behind one lock.
pub(super) struct Vault {
    pub(super) options: Arc<VaultOptions>,
    pub(super) grants: HashMap<String, Grant>,
    pub(super) throttling: Option<Throttling>,
    pub(super) quota: Quota,
    pub(super) window: Window,
    /// Requests per second; more wait in a queue.
    pub(super) capacity: Option<f64>,
    /// The millisecond at which the queue is empty.
    idle_at: f64,
    pub(super) network: Network,
    pub(super) read_only: bool,
    /// Source of version ids and key bytes. Seeded from the vault's name: runs repeat.
    pub(super) random: StdRng,
    shelves: [Shelf; 3],
    /// Changes that go on after their answer, by the millisecond at which they end.
    agenda: BTreeMap<(i64, u64), (Kind, String, Due)>,
    agenda_length: u64,
}

/// What is to happen at the end of a change.
enum Due {
    /// The item leaves this state, if it is still in it: recovered, purged or deleted again, it has another entry.
    Leave(Life),
    /// The certificate that is being made is there.
    Certificate,
}

/// All items of one kind, by upper-cased name: the order in which Azure lists them.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) items: BTreeMap<String, Item>,
    /// The names that are not active: deleted or on the way there or back.
    pub(super) hidden: BTreeSet<String>,
}

impl Vault {
    pub(super) fn new(options: Arc<VaultOptions>) -> Self {
        let seed: [u8; 32] = Sha256::digest(&options.name).into();
        Self {
            options,
            grants: HashMap::new(),
            throttling: None,
            quota: Quota::default(),
            window: Window::default(),
            capacity: None,
            idle_at: 0.0,
            network: Network::default(),
            read_only: false,
            random: StdRng::from_seed(seed),
            shelves: Default::default(),
            agenda: BTreeMap::new(),
            agenda_length: 0,
        }
    }

    /// How long a request that comes now waits in the queue, if there is one.
    pub(super) fn queue(&mut self, now_millis: i64) -> Option<Duration> {
        let now = now_millis as f64;
        let wait = self.idle_at.max(now) - now;
        self.idle_at = now + wait + 1000.0 / self.capacity?;
        Some(Duration::from_secs_f64(wait / 1000.0))
    }

    pub(super) fn shelf(&self, kind: Kind) -> &Shelf {
        &self.shelves[kind as usize]
    }

    pub(super) fn item(&self, kind: Kind, name: &str) -> Option<&Item> {
        self.shelf(kind).items.get(&name.to_ascii_uppercase())
    }

    pub(super) fn item_mut(&mut self, kind: Kind, name: &str) -> Option<&mut Item> {
        self.shelves[kind as usize].items.get_mut(&name.to_ascii_uppercase())
    }

    pub(super) fn active(&self, kind: Kind, name: &str) -> Option<&Item> {
        self.item(kind, name).filter(|it| it.is_active())
    }

    pub(super) fn active_mut(&mut self, kind: Kind, name: &str) -> Option<&mut Item> {
        self.item_mut(kind, name).filter(|it| it.is_active())
    }

    /// Puts an item on its shelf; whether the name is free is the caller's to know.
    pub(super) fn insert(&mut self, kind: Kind, item: Item) {
        self.shelves[kind as usize].items.insert(item.name.to_ascii_uppercase(), item);
    }

    /// Adds a version to an active item, or makes the item.
    ///
    /// # Panics
    /// If the name is taken by an item that is not active; callers on behalf of a request have looked before.
    pub(super) fn add_version(&mut self, kind: Kind, name: &str, managed: bool, version: Version) {
        let items = &mut self.shelves[kind as usize].items;
        let item = items.entry(name.to_ascii_uppercase()).or_insert_with(|| Item::new(name, managed));
        assert!(item.is_active(), "the {} {name} is deleted and cannot have new versions", kind.word());
        item.add(version);
    }

    /// A version id that is not in use.
    pub(super) fn new_id(&mut self) -> u128 {
        self.random.random()
    }

    /// Applies every change whose time has come.
    pub(super) fn settle(&mut self, now_millis: i64) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now_millis {
                break;
            }
            let due_millis = entry.key().0;
            let (kind, name, due) = entry.remove();
            let Due::Leave(state) = due else {
                self.finish_certificate(&name, due_millis.div_euclid(1000));
                continue;
            };
            if self.item(kind, &name).is_none_or(|it| it.life != state) {
                continue;
            }
            match state {
                Life::Active => {}
                Life::Deleting(deletion) => {
                    self.turn(kind, &name, Life::Deleted(deletion));
                    let purge_millis = deletion.scheduled_purge * 1000;
                    self.plan(purge_millis.max(due_millis), kind, &name, Due::Leave(Life::Deleted(deletion)));
                }
                Life::Recovering => self.turn(kind, &name, Life::Active),
                Life::Deleted(_) | Life::Purging => self.forget(kind, &name),
            }
        }
    }

    /// Starts deleting an active item.
    pub(super) fn delete(&mut self, kind: Kind, name: &str, now_millis: i64) -> Deletion {
        let at = now_millis.div_euclid(1000);
        let deletion = Deletion { at, scheduled_purge: at + i64::from(self.options.retention_days) * DAY };
        let delay = self.options.delays.delete.of(kind);
        self.begin(kind, name, Life::Deleting(deletion), delay, now_millis);
        deletion
    }

    /// Starts recovering a deleted item.
    pub(super) fn recover(&mut self, kind: Kind, name: &str, now_millis: i64) {
        let delay = self.options.delays.recover.of(kind);
        self.begin(kind, name, Life::Recovering, delay, now_millis);
    }

    /// Purges a deleted item; its name stays taken for a while.
    pub(super) fn purge(&mut self, kind: Kind, name: &str, now_millis: i64) {
        let delay = self.options.delays.purge.of(kind);
        self.begin(kind, name, Life::Purging, delay, now_millis);
    }

    /// Removes an item at once, whatever its state, with what belongs to it.
    pub(super) fn forget(&mut self, kind: Kind, name: &str) {
        let name = name.to_ascii_uppercase();
        for &kind in with_companions(kind) {
            let shelf = &mut self.shelves[kind as usize];
            shelf.items.remove(&name);
            shelf.hidden.remove(&name);
        }
    }

    /// Ends a deletion that has begun, before its time.
    pub(super) fn finish_deletion(&mut self, kind: Kind, name: &str) {
        let name = name.to_ascii_uppercase();
        if let Some(Life::Deleting(deletion)) = self.item(kind, &name).map(|it| it.life) {
            self.turn(kind, &name, Life::Deleted(deletion));
            self.plan(deletion.scheduled_purge * 1000, kind, &name, Due::Leave(Life::Deleted(deletion)));
        }
    }

    /// Removes all items at once.
    pub(super) fn forget_everything(&mut self) {
        self.shelves = Default::default();
        self.agenda.clear();
    }

    /// Lets the certificate that is being made be there after `delay`.
    pub(super) fn plan_certificate(&mut self, name: &str, delay: Duration, now_millis: i64) {
        self.plan(
            now_millis + delay.as_millis() as i64,
            Kind::Certificate,
            &name.to_ascii_uppercase(),
            Due::Certificate,
        );
        self.settle(now_millis);
    }

    fn begin(&mut self, kind: Kind, name: &str, life: Life, delay: Duration, now_millis: i64) {
        let name = name.to_ascii_uppercase();
        self.turn(kind, &name, life);
        self.plan(now_millis + delay.as_millis() as i64, kind, &name, Due::Leave(life));
        self.settle(now_millis);
    }

    /// Sets the state of an item, and of the managed key and secret of a certificate.
    fn turn(&mut self, kind: Kind, name: &str, life: Life) {
        for &kind in with_companions(kind) {
            let shelf = &mut self.shelves[kind as usize];
            let Some(item) = shelf.items.get_mut(name) else { continue };
            item.life = life;
            if life == Life::Active {
                shelf.hidden.remove(name);
            } else if !shelf.hidden.contains(name) {
                shelf.hidden.insert(name.to_owned());
            }
        }
    }

    fn plan(&mut self, at_millis: i64, kind: Kind, name: &str, due: Due) {
        self.agenda_length += 1;
        self.agenda.insert((at_millis, self.agenda_length), (kind, name.to_owned(), due));
    }

    fn finish_certificate(&mut self, name: &str, now: i64) {
        let Some(item) = self.active(Kind::Certificate, name) else { return };
        let wanted = item.pending.as_ref().is_some_and(|it| !it.cancelled && !it.completed);
        if wanted {
            super::certificates::finish(self, name, now);
        }
    }
}

/// A certificate's key and secret go where it goes.
fn with_companions(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Secret => &[Kind::Secret],
        Kind::Key => &[Kind::Key],
        Kind::Certificate => &Kind::ALL,
    }
}

impl Version {
    /// An enabled version made now, with nothing optional.
    pub(super) fn new(id: u128, now: i64, content: Content) -> Self {
        Self { id, enabled: true, created: now, updated: now, not_before: None, expires: None, tags: None, content }
    }
}
