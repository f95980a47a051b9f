//! A store in memory, for tests.
//!
//! It keeps the whole contract, leases included, and forgets everything with its last clone. Its clock can be given, so
//! that the ages of blobs belong to the same virtual time as everything else in a test.

#![allow(clippy::disallowed_methods, reason = "blobs bear the time of their creation, as in Azure")]

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use time::OffsetDateTime;

use super::{Content, Create, Entry, Lease, Store, check_name, is_listed, slice};
use crate::error::{Error, ErrorKind, Result};

/// Blobs in memory. A clone is another handle on the same blobs.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Fn() -> OffsetDateTime + Send + Sync>,
}

#[derive(Default)]
struct Shared {
    blobs: BTreeMap<String, Blob>,
    /// A lease is held as long as its holder lives and nobody broke it.
    leases: HashMap<String, Weak<Held>>,
}

struct Blob {
    bytes: Bytes,
    created: OffsetDateTime,
}

impl MemoryStore {
    /// An empty store on the clock of this machine.
    pub fn new() -> Self {
        Self::with_clock(OffsetDateTime::now_utc)
    }

    /// An empty store that asks `clock` when a blob is created.
    pub fn with_clock(clock: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Self {
        Self { shared: Arc::default(), clock: Arc::new(clock) }
    }

    /// Takes the lease on `name` away from its holder, as an operator or a network outage would.
    pub fn break_lease(&self, name: &str) {
        if let Some(held) = self.shared().leases.remove(name).and_then(|lease| lease.upgrade()) {
            held.0.store(false, Ordering::SeqCst);
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // No method leaves the maps half changed, so a panic elsewhere does not spoil them.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, name: &str, content: Content) -> Result<Create> {
        check_name(name)?;
        let bytes = content.read(0..u64::MAX)?;
        Ok(self.shared().create(name, bytes, (self.clock)()))
    }

    async fn replace(&self, name: &str, content: Content) -> Result<()> {
        check_name(name)?;
        let bytes = content.read(0..u64::MAX)?;
        let mut shared = self.shared();
        shared.refuse_leased(name)?;
        shared.blobs.insert(name.to_owned(), Blob { bytes, created: (self.clock)() });
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        check_name(name)?;
        match self.shared().blobs.get(name) {
            Some(blob) => Ok(blob.bytes.clone()),
            None => {
                Err(Error::new(ErrorKind::NotFound, format!("There is no blob {name} in {}.", self.describe()))
                    .at(name))
            }
        }
    }

    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        Ok(slice(&self.read(name).await?, range))
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        let shared = self.shared();
        let entries: Vec<_> = shared
            .blobs
            .iter()
            .filter(|(name, _)| is_listed(name, prefix, after))
            .map(|(name, blob)| Ok(Entry { name: name.clone(), size: blob.bytes.len() as u64, created: blob.created }))
            .collect();
        stream::iter(entries).boxed()
    }

    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        let shared = self.shared();
        let mut folders: Vec<_> = shared
            .blobs
            .keys()
            .filter_map(|name| name.strip_prefix(prefix)?.split_once('/').map(|(folder, _)| folder.to_owned()))
            .collect();
        folders.dedup();
        stream::iter(folders.into_iter().map(Ok)).boxed()
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let mut shared = self.shared();
        shared.refuse_leased(name)?;
        shared.blobs.remove(name);
        Ok(())
    }

    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>> {
        check_name(name)?;
        let mut shared = self.shared();
        shared.refuse_leased(name)?;
        shared.create(name, Bytes::new(), (self.clock)());
        let held = Arc::new(Held(AtomicBool::new(true)));
        shared.leases.insert(name.to_owned(), Arc::downgrade(&held));
        Ok(Box::new(MemoryLease { held }))
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}

impl Shared {
    fn create(&mut self, name: &str, bytes: Bytes, created: OffsetDateTime) -> Create {
        if self.blobs.contains_key(name) {
            return Create::Exists;
        }
        self.blobs.insert(name.to_owned(), Blob { bytes, created });
        Create::Created
    }

    fn refuse_leased(&self, name: &str) -> Result<()> {
        if self.leases.get(name).is_some_and(|lease| lease.strong_count() > 0) {
            return Err(super::busy(name));
        }
        Ok(())
    }
}

/// Says how much is stored, never what.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("blobs", &self.shared().blobs.len()).finish()
    }
}

/// Whether the lease was not broken.
#[derive(Debug)]
struct Held(AtomicBool);

#[derive(Debug)]
struct MemoryLease {
    held: Arc<Held>,
}

#[async_trait]
impl Lease for MemoryLease {
    fn is_held(&self) -> bool {
        self.held.0.load(Ordering::SeqCst)
    }

    async fn release(self: Box<Self>) {
        drop(self);
    }
}
