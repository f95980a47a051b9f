//! Every request that leaves the program passes here, whether to a vault, to the identity endpoint or to the storage:
//! counted, and cut off after the n-th when the program is to be killed there.

use std::{
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode, header};
use tokio::sync::watch;

use crate::{azurite, clock::Clock, mishap::Mishap, proxy::Handler};

/// Counts the requests of one run. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<State>);

#[derive(Debug)]
struct State {
    passed: AtomicU64,
    last: AtomicU64,
    cut: watch::Sender<bool>,
    jump: Mutex<Option<Jump>>,
}

/// The clock of the vaults goes ahead in the middle of the work.
#[derive(Debug)]
struct Jump {
    at: u64,
    clock: Clock,
    by: Duration,
}

impl Wire {
    pub(super) fn new() -> Self {
        let (passed, last) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self(Arc::new(State { passed, last, cut: watch::Sender::new(false), jump: Mutex::default() }))
    }

    /// Counts from the beginning. Request `last` will be carried out and not answered; those after it never arrive, so
    /// that the moment of the kill does not depend on how fast the signal is.
    pub(super) fn begin(&self, last: Option<u64>) {
        self.0.passed.store(0, Ordering::SeqCst);
        self.0.last.store(last.unwrap_or(u64::MAX), Ordering::SeqCst);
        self.0.cut.send_replace(false);
    }

    /// Lets the clock jump ahead when the request of this number comes.
    pub(super) fn jump(&self, at: u64, clock: &Clock, by: Duration) {
        *self.0.jump.lock().unwrap_or_else(PoisonError::into_inner) = Some(Jump { at, clock: clock.clone(), by });
    }

    /// The jump that did not come does not come any more.
    pub(super) fn jump_no_more(&self) {
        *self.0.jump.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How many requests there were since.
    pub(super) fn passed(&self) -> u64 {
        self.0.passed.load(Ordering::SeqCst)
    }

    /// Returns when the last request was carried out.
    pub(super) async fn cut(&self) {
        let _ = self.0.cut.subscribe().wait_for(|cut| *cut).await; // its sender lives as long as `self`
    }

    /// The same handler, counted.
    pub(super) fn over(&self, handler: Handler) -> Handler {
        let wire = self.clone();
        Arc::new(move |request| {
            let (wire, answer) = (wire.clone(), Arc::clone(&handler));
            async move {
                let number = wire.0.passed.fetch_add(1, Ordering::SeqCst) + 1;
                let last = wire.0.last.load(Ordering::SeqCst);
                wire.pass_time(number);
                if number > last {
                    pending::<()>().await;
                }
                let response = answer(request).await;
                if number == last {
                    wire.0.cut.send_replace(true);
                    pending::<()>().await;
                }
                response
            }
            .boxed()
        })
    }

    fn pass_time(&self, number: u64) {
        let mut jump = self.0.jump.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Jump { clock, by, .. }) = jump.take_if(|jump| number >= jump.at) {
            clock.advance(by);
        }
    }
}

/// Passes requests for the storage account on to Azurite, or fails them by rule.
#[derive(Clone, Debug)]
pub(super) struct Storage(Arc<Account>);

#[derive(Debug)]
struct Account {
    azurite: azurite::Account,
    faults: Mutex<Vec<StorageFault>>,
    hits: AtomicU64,
}

/// Which requests to the storage fail, and how.
#[derive(Clone, Debug)]
pub(super) struct StorageFault {
    /// How many pass first.
    pub(super) skip: u64,
    /// How many are hit.
    pub(super) times: u64,
    pub(super) effect: StorageEffect,
}

/// What becomes of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum StorageEffect {
    /// This status instead of the work.
    Answer(u16),
    /// This mishap instead of the work; a delay comes first and then the work.
    Before(Mishap),
    /// The work, then this mishap.
    After(Mishap),
}

impl Storage {
    pub(super) fn new(authority: &[u8], url: &str) -> reqwest::Result<Self> {
        let (azurite, faults, hits) = (azurite::Account::new(authority, url)?, Mutex::default(), AtomicU64::new(0));
        Ok(Self(Arc::new(Account { azurite, faults, hits })))
    }

    pub(super) fn add_fault(&self, fault: StorageFault) {
        self.faults().push(fault);
    }

    pub(super) fn clear_faults(&self) {
        self.faults().clear();
    }

    /// How many requests a fault has hit so far.
    pub(super) fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }

    pub(super) async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.effect() {
            Some(StorageEffect::Answer(status)) => refusal(status),
            Some(StorageEffect::Before(Mishap::Delay(time))) => {
                tokio::time::sleep(time).await;
                self.pass(request).await
            }
            Some(StorageEffect::Before(mishap)) => with(refusal(503), mishap),
            Some(StorageEffect::After(mishap)) => with(self.pass(request).await, mishap),
            None => self.pass(request).await,
        }
    }

    fn effect(&self) -> Option<StorageEffect> {
        let mut faults = self.faults();
        let fault = faults.iter_mut().find(|fault| fault.times > 0)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        self.0.hits.fetch_add(1, Ordering::Relaxed);
        Some(fault.effect)
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Vec<StorageFault>> {
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Past the faults. An Azurite that does not answer is one more thing that can happen to the program.
    pub(super) async fn pass(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.azurite.pass(request).await.unwrap_or_else(|_| with(refusal(503), Mishap::Reset))
    }
}

/// An answer in the words of Blob Storage.
fn refusal(status: u16) -> Response<Bytes> {
    let code = if status == 503 { "ServerBusy" } else { "InternalError" };
    let body = format!(
        r#"<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>A fault was asked for here.</Message></Error>"#
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/xml"));
    response.headers_mut().insert("x-ms-error-code", header::HeaderValue::from_static(code));
    response
}

fn with(mut response: Response<Bytes>, mishap: Mishap) -> Response<Bytes> {
    response.extensions_mut().insert(mishap);
    response
}
