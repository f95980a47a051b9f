//! A store that fails by rule, as the stores behind it can: after their own retries, with a sentence.

use std::{
    fmt,
    future::Future,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use keyvault_backup::{
    error::{Error, ErrorKind, Result},
    store::{Content, Create, DEADLINE, Entry, Lease, Store},
};
use tokio::time::{Instant, sleep};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing is done, and it fails.
    Before(ErrorKind),
    /// It is done, and fails all the same. A listing breaks off after half of its rows.
    After(ErrorKind),
    /// It takes this long.
    Slow(Duration),
    /// It is done, and the answer never comes: it fails when the time of a call is over.
    Hangs,
    /// What is read lacks its second half.
    Short,
    /// What is read has one bit flipped.
    Flipped,
    /// There is no room for anything new.
    Full,
    /// Every lease is lost this long after it was taken, although it is kept alive.
    LosesLeases(Duration),
}

/// Which calls it hits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Often {
    /// So many calls go well first.
    pub(crate) skip: u64,
    /// Then so many of a hundred go wrong.
    pub(crate) percent: u32,
    /// The same seed hits the same calls, as far as they come in the same order.
    pub(crate) seed: u64,
}

/// The store with the flaw.
pub(crate) fn faulty(store: impl Store + 'static, flaw: Flaw, often: Often) -> Arc<dyn Store> {
    let dice = Mutex::new(fastrand::Rng::with_seed(often.seed));
    Arc::new(Faulty { inner: store, flaw, often, calls: AtomicU64::new(0), dice })
}

struct Faulty<S> {
    inner: S,
    flaw: Flaw,
    often: Often,
    calls: AtomicU64,
    dice: Mutex<fastrand::Rng>,
}

impl<S: Store> Faulty<S> {
    /// The flaw, when this call is hit.
    fn hit(&self) -> Option<Flaw> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let hit = number >= self.often.skip && self.dice.lock().unwrap().u32(0..100) < self.often.percent;
        hit.then_some(self.flaw)
    }

    /// One call with what goes wrong beside its content. `grows` says that it needs room.
    async fn call<T>(&self, name: &str, grows: bool, act: impl Future<Output = Result<T>>) -> Result<T> {
        self.suffer(self.hit(), name, grows, act).await
    }

    async fn suffer<T>(
        &self,
        flaw: Option<Flaw>,
        name: &str,
        grows: bool,
        act: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match flaw {
            Some(Flaw::Before(kind)) => Err(failure(kind, name)),
            Some(Flaw::After(kind)) => {
                act.await?;
                Err(failure(kind, name))
            }
            Some(Flaw::Slow(time)) => {
                sleep(time).await;
                act.await
            }
            Some(Flaw::Hangs) => {
                act.await?;
                sleep(DEADLINE).await;
                Err(failure(ErrorKind::Unavailable, name))
            }
            Some(Flaw::Full) if grows => Err(failure(ErrorKind::Refused, name)),
            _ => act.await,
        }
    }

    async fn read_by(&self, name: &str, read: impl Future<Output = Result<Bytes>>) -> Result<Bytes> {
        let flaw = self.hit();
        let bytes = self.suffer(flaw, name, false, read).await?;
        Ok(match flaw {
            Some(Flaw::Short) => bytes.slice(..bytes.len() / 2),
            Some(Flaw::Flipped) if !bytes.is_empty() => {
                let mut flipped = bytes.to_vec();
                flipped[bytes.len() / 2] ^= 1;
                flipped.into()
            }
            _ => bytes,
        })
    }

    fn rows<'a, T: Send + 'a>(&'a self, prefix: &str, rows: BoxStream<'a, Result<T>>) -> BoxStream<'a, Result<T>> {
        let (flaw, name) = (self.hit(), prefix.to_owned());
        async move {
            if let Some(Flaw::After(kind)) = flaw {
                let rows: Vec<T> = rows.try_collect().await?;
                let half = rows.len() / 2;
                let end = Err(failure(kind, &name));
                return Ok(stream::iter(rows.into_iter().take(half).map(Ok).chain([end])).boxed());
            }
            self.suffer(flaw, &name, false, async { Ok(rows) }).await
        }
        .into_stream()
        .try_flatten()
        .boxed()
    }
}

/// What the stores say.
fn failure(kind: ErrorKind, name: &str) -> Error {
    let advice = match kind {
        ErrorKind::Throttled => "The storage account is busy: run this again later.",
        ErrorKind::Refused => "The disk is full: make space, then run this again.",
        _ => "The storage service failed: run this again later.",
    };
    Error::new(kind, format!("Could not use the blob {name}. {advice}")).at(name)
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn create(&self, name: &str, content: Content) -> Result<Create> {
        self.call(name, true, self.inner.create(name, content)).await
    }

    async fn replace(&self, name: &str, content: Content) -> Result<()> {
        self.call(name, true, self.inner.replace(name, content)).await
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.read_by(name, self.inner.read(name)).await
    }

    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.read_by(name, self.inner.read_part(name, range)).await
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        self.rows(prefix, self.inner.list(prefix, after))
    }

    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        self.rows(prefix, self.inner.folders(prefix))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.call(name, false, self.inner.delete(name)).await
    }

    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>> {
        let lease = self.call(name, true, self.inner.lease(name)).await?;
        Ok(match self.flaw {
            Flaw::LosesLeases(after) => Box::new(Fleeting { lease, until: Instant::now() + after }),
            _ => lease,
        })
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl<S: Store> fmt::Debug for Faulty<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

/// A lease that is lost at some moment, for good.
#[derive(Debug)]
struct Fleeting {
    lease: Box<dyn Lease>,
    until: Instant,
}

#[async_trait]
impl Lease for Fleeting {
    fn is_held(&self) -> bool {
        Instant::now() < self.until && self.lease.is_held()
    }

    async fn release(self: Box<Self>) {
        self.lease.release().await;
    }
}
