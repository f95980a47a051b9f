//! A network on a bad day: one request in five goes wrong, each in another way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        AsyncRawResponse, HttpClient, Request, StatusCode, Transport,
        headers::{HeaderName, HeaderValue, Headers},
    },
};
use futures::stream;
use simulator::transport::Door;

/// A transport that lets one request in five go wrong.
#[derive(Debug)]
pub(crate) struct Storm {
    door: Door,
    dice: Mutex<fastrand::Rng>,
}

impl Storm {
    /// The same seed makes the same storm, as far as the requests come in the same order.
    pub(crate) fn transport(door: &Door, seed: u64) -> Transport {
        Transport::new(Arc::new(Self { door: door.clone(), dice: Mutex::new(fastrand::Rng::with_seed(seed)) }))
    }
}

#[async_trait]
impl HttpClient for Storm {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let fate = self.dice.lock().unwrap().u32(0..100);
        match fate {
            0..3 => Ok(refusal(StatusCode::TooManyRequests, None)),
            3..5 => Ok(refusal(StatusCode::TooManyRequests, Some("3"))),
            5..7 => Ok(refusal(StatusCode::ServiceUnavailable, None)),
            7..9 => Ok(refusal(StatusCode::InternalServerError, None)),
            9..12 => Err(broken("the connection was reset before the request")),
            12..15 => {
                let _lost = self.door.execute_request(request).await?;
                Err(broken("the connection was reset before the answer"))
            }
            15..19 => {
                let (status, headers, body) = self.door.execute_request(request).await?.deconstruct();
                let whole = body.collect().await?;
                let start = whole.slice(..whole.len() / 2);
                let parts = [Ok(start), Err(broken("the answer ended too early"))];
                Ok(AsyncRawResponse::new(status, headers, Box::pin(stream::iter(parts))))
            }
            19 => std::future::pending().await,
            _ => self.door.execute_request(request).await,
        }
    }
}

fn broken(how: &'static str) -> Error {
    Error::with_message(ErrorKind::Io, how)
}

/// What a gateway says, which is not in the form of Key Vault's own answers.
fn refusal(status: StatusCode, retry_after: Option<&'static str>) -> AsyncRawResponse {
    let retry_after =
        retry_after.map(|seconds| (HeaderName::from_static("retry-after"), HeaderValue::from_static(seconds)));
    let headers = Headers::from(retry_after.into_iter().collect::<HashMap<_, _>>());
    AsyncRawResponse::from_bytes(status, headers, "<html>Try again later.</html>")
}
