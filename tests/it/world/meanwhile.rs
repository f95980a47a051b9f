//! Somebody else, who changes a vault at the worst moment.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};
use simulator::transport::Door;

/// A transport that does something when a request to one path was answered well, before the answer arrives.
pub(crate) struct Meanwhile<F> {
    door: Door,
    path: String,
    times: AtomicU32,
    act: F,
}

impl<F: Fn() + Send + Sync + 'static> Meanwhile<F> {
    /// Calls `act` for each of the first so many good answers to `path`, such as `/secrets/apple/backup`.
    pub(crate) fn transport(door: &Door, path: &str, times: u32, act: F) -> Transport {
        Transport::new(Arc::new(Self { door: door.clone(), path: path.to_owned(), times: times.into(), act }))
    }
}

impl<F> fmt::Debug for Meanwhile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meanwhile").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl<F: Fn() + Send + Sync + 'static> HttpClient for Meanwhile<F> {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = self.door.execute_request(request).await?;
        let hit = answer.status().is_success() && request.url().path() == self.path;
        if hit && self.times.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            (self.act)();
        }
        Ok(answer)
    }
}
