//! Stops a run at its n-th step, whatever that is: a request to a vault or a call of a store. A killed run never comes
//! back from that step; a failing one gets an error there and from then on.

use std::{
    fmt,
    future::{Future, pending},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use keyvault_backup::{
    error::{Error, ErrorKind, Result},
    store::{Content, Create, Entry, Lease, Store},
};
use simulator::transport::Door;
use tokio::sync::Notify;

/// How a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Killed before the step takes effect.
    KilledBefore,
    /// Killed when the step has taken effect and its answer is on the way.
    KilledAfter,
    /// The step and all that follow fail without effect.
    FailsBefore,
    /// The step takes effect and fails; all that follow fail without effect.
    FailsAfter,
}

impl Stop {
    pub(crate) const ALL: [Self; 4] = [Self::KilledBefore, Self::KilledAfter, Self::FailsBefore, Self::FailsAfter];

    fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter)
    }
}

/// The steps of one run, counted from 0. Clones share the count.
#[derive(Clone, Debug)]
pub(crate) struct Steps(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    count: AtomicU64,
    last: u64,
    stop: Stop,
    killed: Notify,
}

impl Steps {
    /// Nothing is stopped.
    pub(crate) fn counted() -> Self {
        Self::stopped_at(u64::MAX, Stop::KilledBefore)
    }

    /// Stops at step `last`.
    pub(crate) fn stopped_at(last: u64, stop: Stop) -> Self {
        Self(Arc::new(Inner { count: AtomicU64::new(0), last, stop, killed: Notify::new() }))
    }

    /// How many steps were begun.
    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Runs `work` until it ends or is killed: then it is dropped where it stands, and there is no result.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.0.killed.notified() => None,
            result = work => Some(result),
        }
    }

    /// A store each of whose calls is a step.
    pub(crate) fn store(&self, store: impl Store + 'static) -> Arc<dyn Store> {
        Arc::new(Stopping { inner: Arc::new(store), steps: self.clone() })
    }

    /// A transport each of whose requests is a step.
    pub(crate) fn transport(&self, door: &Door) -> Transport {
        Transport::new(Arc::new(Stopping { inner: Arc::new(door.clone()), steps: self.clone() }))
    }

    async fn step<T, E>(&self, act: impl Future<Output = Result<T, E>>, failure: impl FnOnce() -> E) -> Result<T, E> {
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        let Inner { last, stop, .. } = *self.0;
        if number < last {
            return act.await;
        }
        if number == last && matches!(stop, Stop::KilledAfter | Stop::FailsAfter) {
            let _lost = act.await;
        }
        if stop.kills() {
            self.0.killed.notify_one();
            return pending().await;
        }
        Err(failure())
    }
}

struct Stopping<S: ?Sized> {
    inner: Arc<S>,
    steps: Steps,
}

impl<S: ?Sized + fmt::Debug> fmt::Debug for Stopping<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopping").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Stopping<Door> {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let failure = || azure_core::Error::with_message(azure_core::error::ErrorKind::Io, "the network is down");
        self.steps.step(self.inner.execute_request(request), failure).await
    }
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "The storage cannot be reached. Try again.")
}

#[async_trait]
impl<S: Store> Store for Stopping<S> {
    async fn create(&self, name: &str, content: Content) -> Result<Create> {
        self.steps.step(self.inner.create(name, content), down).await
    }

    async fn replace(&self, name: &str, content: Content) -> Result<()> {
        self.steps.step(self.inner.replace(name, content), down).await
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.steps.step(self.inner.read(name), down).await
    }

    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.steps.step(self.inner.read_part(name, range), down).await
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        let rows = self.inner.list(prefix, after);
        step_then(&self.steps, rows)
    }

    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        let rows = self.inner.folders(prefix);
        step_then(&self.steps, rows)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.steps.step(self.inner.delete(name), down).await
    }

    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>> {
        self.steps.step(self.inner.lease(name), down).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// One step, then all rows.
fn step_then<'a, T: Send + 'a>(steps: &'a Steps, rows: BoxStream<'a, Result<T>>) -> BoxStream<'a, Result<T>> {
    let first = async move {
        steps.step(async { Ok(()) }, down).await?;
        Ok(rows)
    };
    futures::stream::once(first).try_flatten().boxed()
}
