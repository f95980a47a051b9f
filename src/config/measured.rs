//! The transport with a measure of every request: to vaults, storage and identity endpoints alike.

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use tokio::time::Instant;

use crate::measure;

/// A client whose requests are measured, until their answers begin.
#[derive(Debug)]
pub(super) struct Measured<C>(pub(super) C);

#[async_trait]
impl<C: HttpClient> HttpClient for Measured<C> {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let start = Instant::now();
        let result = self.0.execute_request(request).await;
        let http_status = result.as_ref().ok().map(|response| u16::from(response.status()));
        // The conventions have no word for what can go wrong before there is an answer.
        let failure = result.is_err().then_some("_OTHER");
        let (method, host) = (request.method().as_str(), request.url().host_str());
        measure!("request", method, host, http_status, failure, seconds = start.elapsed().as_secs_f64());
        result
    }
}
