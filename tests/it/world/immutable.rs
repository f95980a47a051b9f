//! A container under a time-based retention policy: nothing is deleted before its time (Azure documentation,
//! "Time-based retention policies for immutable blob data": from the creation of each blob).

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt as _, stream::BoxStream};
use keyvault_backup::{
    error::{Error, ErrorKind, Result},
    model::Timestamp,
    store::{Content, Create, Entry, Lease, Store, memory::MemoryStore},
};
use simulator::clock::Clock;

/// A store in memory that keeps every blob for a period from its creation.
#[derive(Clone, Debug)]
pub(crate) struct Immutable {
    inner: MemoryStore,
    clock: Clock,
    period: Duration,
    refused: Arc<AtomicU64>,
}

impl Immutable {
    pub(crate) fn new(inner: &MemoryStore, clock: &Clock, period: Duration) -> Self {
        Self { inner: inner.clone(), clock: clock.clone(), period, refused: Arc::default() }
    }

    /// How many deletions were tried before their time.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for Immutable {
    async fn create(&self, name: &str, content: Content) -> Result<Create> {
        self.inner.create(name, content).await
    }

    async fn replace(&self, name: &str, content: Content) -> Result<()> {
        self.inner.replace(name, content).await
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.inner.read(name).await
    }

    async fn read_part(&self, name: &str, part: Range<u64>) -> Result<Bytes> {
        self.inner.read_part(name, part).await
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        self.inner.list(prefix, after)
    }

    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        self.inner.folders(prefix)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let blobs: Vec<Entry> = self.inner.list(name, None).try_collect().await?;
        let now = Timestamp::from_unix(self.clock.now());
        if blobs.iter().any(|blob| blob.name == name && now < Timestamp::from(blob.created).plus(self.period)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Refused, "An immutability policy or a legal hold protects it.").at(name));
        }
        self.inner.delete(name).await
    }

    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>> {
        self.inner.lease(name).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
