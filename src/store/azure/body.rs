//! The body of a Put Blob: bytes, or a spool that is read while it is sent.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use azure_core::{http::Body, stream::SeekableStream};
use futures::io::AsyncRead;

use super::super::Content;
use crate::spool::Spool;

/// The body for one attempt, from the beginning.
pub(super) fn of(content: &Content) -> Body {
    match content {
        Content::Bytes(bytes) => bytes.clone().into(),
        Content::Spool(spool) => Body::SeekableStream(Box::new(Reading { spool: spool.clone(), at: 0 })),
    }
}

/// A spool from its beginning to its end. Its length is known, and goes out as `Content-Length`.
#[derive(Clone, Debug)]
struct Reading {
    spool: Arc<Spool>,
    at: u64,
}

impl AsyncRead for Reading {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.spool.read_into(self.at, buffer).map_err(io::Error::other)?;
        self.at += read as u64;
        Poll::Ready(Ok(read))
    }
}

#[async_trait]
impl SeekableStream for Reading {
    async fn reset(&mut self) -> azure_core::Result<()> {
        self.at = 0;
        Ok(())
    }

    fn len(&self) -> Option<u64> {
        Some(self.spool.len())
    }
}
