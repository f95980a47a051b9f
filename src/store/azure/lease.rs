//! A blob's lease, kept alive in the background.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_storage_blob::BlobClient;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;

use super::refusal::{Answer, is_transient};
use crate::store::{LEASE, Lease};

/// How often the lease is renewed: two renewals may fail before it ends.
const RENEWAL: Duration = Duration::from_secs(10);

/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long one renewal or the release may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Leases that were dropped and are being given back.
static GIVING_BACK: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Waits until every lease that was dropped is given back, or cannot be soon: for a process that is about to end in the
/// midst of its work. The next one then need not wait until the lease ends by itself.
pub async fn all_given_back() {
    let releases = std::mem::take(&mut *GIVING_BACK.lock().unwrap_or_else(PoisonError::into_inner));
    for release in releases {
        // It ends in any case: its patience is bounded.
        let _ = release.await;
    }
}

pub(super) struct AzureLease {
    holding: Arc<Holding>,
    keeper: AbortHandle,
    released: bool,
}

struct Holding {
    blob: BlobClient,
    id: String,
    /// Until when the lease is ours for certain, reckoned from before the last request that renewed it.
    until: Mutex<Instant>,
}

impl AzureLease {
    /// Keeps a lease alive that was asked for at `asked`.
    pub(super) fn keep(blob: BlobClient, id: String, asked: Instant) -> Self {
        let holding = Arc::new(Holding { blob, id, until: Mutex::new(asked + LEASE) });
        let keeper = tokio::spawn(renew(holding.clone()).in_current_span()).abort_handle();
        Self { holding, keeper, released: false }
    }
}

#[async_trait]
impl Lease for AzureLease {
    fn is_held(&self) -> bool {
        self.holding.is_held()
    }

    async fn release(mut self: Box<Self>) {
        self.keeper.abort();
        self.released = true;
        release(&self.holding).await;
    }
}

impl Drop for AzureLease {
    fn drop(&mut self) {
        self.keeper.abort();
        if !self.released
            && let Ok(runtime) = Handle::try_current()
        {
            let holding = self.holding.clone();
            let release = runtime.spawn(async move { release(&holding).await }.in_current_span());
            let mut giving_back = GIVING_BACK.lock().unwrap_or_else(PoisonError::into_inner);
            giving_back.retain(|release| !release.is_finished());
            giving_back.push(release);
        }
    }
}

/// Without the identifier: whoever knows it can end the lease.
impl std::fmt::Debug for AzureLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureLease")
            .field("blob", &self.holding.blob.url().path())
            .field("is_held", &self.is_held())
            .finish()
    }
}

impl Holding {
    fn is_held(&self) -> bool {
        Instant::now() < *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_until(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// Runs until the lease is lost. Lost is lost: a renewal that succeeds too late does not bring it back, for the holder
/// may have been told already.
async fn renew(holding: Arc<Holding>) {
    let mut pause = RENEWAL;
    loop {
        sleep(pause).await;
        let asked = Instant::now();
        let renewed = timeout(PATIENCE, holding.blob.renew_lease(holding.id.clone(), None)).await;
        if !holding.is_held() {
            return;
        }
        pause = match renewed {
            Ok(Ok(_)) => {
                holding.set_until(asked + LEASE);
                RENEWAL
            }
            Ok(Err(error)) if Answer::of(&error).is_some() && !is_transient(&error) => {
                holding.set_until(asked);
                return;
            }
            Ok(Err(_)) | Err(_) => RETRY,
        };
    }
}

/// Gives the lease back if that can be done soon; else it ends by itself.
async fn release(holding: &Holding) {
    holding.set_until(Instant::now());
    if !matches!(timeout(PATIENCE, holding.blob.release_lease(holding.id.clone(), None)).await, Ok(Ok(_))) {
        tracing::debug!("a lease could not be given back and ends by itself");
    }
}
