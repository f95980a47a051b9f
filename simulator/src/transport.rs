//! The front door without sockets: the SDK's transport, answered in this process.
//!
//! Give a [`Door`] to `ClientOptions.transport`. With a paused `tokio` clock everything happens in virtual time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        AsyncRawResponse, Body, HttpClient, Request, Transport,
        headers::{HeaderName, HeaderValue, Headers},
    },
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};

use crate::{key_vault::KeyVaults, mishap::Mishap};

/// A transport that hands every request to a [`KeyVaults`]. Clones share the counter.
#[derive(Clone, Debug)]
pub struct Door {
    vaults: KeyVaults,
    requests: Arc<AtomicU64>,
}

impl Door {
    /// A door to these vaults.
    pub fn new(vaults: &KeyVaults) -> Self {
        Self { vaults: vaults.clone(), requests: Arc::default() }
    }

    /// The door in the form that `ClientOptions.transport` takes.
    pub fn transport(&self) -> Transport {
        Transport::new(Arc::new(self.clone()))
    }

    /// How many requests came through, challenges and mishaps included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl HttpClient for Door {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = self.vaults.handle(as_http(request)?).await;
        let mishap = response.extensions().get::<Mishap>().copied();
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16().into();
        let headers = Headers::from(
            parts
                .headers
                .iter()
                .filter_map(|(name, value)| {
                    let value = value.to_str().ok()?.to_owned();
                    Some((HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value)))
                })
                .collect::<std::collections::HashMap<_, _>>(),
        );
        match mishap {
            None => {}
            Some(Mishap::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Mishap::Hang) => std::future::pending().await,
            Some(Mishap::Trickle(pause)) => {
                let (start, end) = (body.slice(..body.len() / 2), body.slice(body.len() / 2..));
                let end = async move {
                    tokio::time::sleep(pause).await;
                    Ok(end)
                };
                let stream = stream::once(std::future::ready(Ok(start))).chain(stream::once(end));
                return Ok(AsyncRawResponse::new(status, headers, Box::pin(stream)));
            }
            Some(Mishap::Reset) => {
                return Err(Error::with_message(ErrorKind::Io, "the simulator reset the connection"));
            }
            Some(Mishap::Truncate(length)) => {
                let start = body.slice(..length.min(body.len()));
                let end = Error::with_message(ErrorKind::Io, "the simulator ended the body too early");
                let stream = stream::iter([Ok(start), Err(end)]);
                return Ok(AsyncRawResponse::new(status, headers, Box::pin(stream)));
            }
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

fn as_http(request: &Request) -> azure_core::Result<http::Request<Bytes>> {
    let mut builder = http::Request::builder().method(request.method().as_ref()).uri(request.url().as_str());
    for (name, value) in request.headers().iter() {
        builder = builder.header(name.as_str(), value.as_str());
    }
    let Body::Bytes(body) = request.body() else {
        return Err(Error::with_message(ErrorKind::Other, "Key Vault requests have no streams for bodies"));
    };
    builder.body(body.clone()).map_err(|error| Error::new(ErrorKind::Other, error))
}
