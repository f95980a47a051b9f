//! Acting out what goes wrong below HTTP.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};
use http::{HeaderValue, Response, header::CONTENT_LENGTH};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::mishap::Mishap;

/// A body that arrives whole, or ends too early.
pub(super) type Body = Either<Full<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, Aborted>>>>;

/// Delivers a response, or acts out the mishap in its extensions.
///
/// # Errors
/// When there is nothing to deliver: the connection is to be closed.
pub(super) async fn deliver(mut response: Response<Bytes>, reset: &ResetSwitch) -> Result<Response<Body>, Aborted> {
    match response.extensions_mut().remove::<Mishap>() {
        None => Ok(response.map(whole)),
        Some(Mishap::Delay(time)) => {
            tokio::time::sleep(time).await;
            Ok(response.map(whole))
        }
        Some(Mishap::Hang) => std::future::pending().await,
        Some(Mishap::Trickle(pause)) => {
            let promised = HeaderValue::from(response.body().len());
            response.headers_mut().insert(CONTENT_LENGTH, promised);
            Ok(response.map(|body| halved(body, pause)))
        }
        Some(Mishap::Reset) => {
            reset.pull();
            Err(Aborted)
        }
        Some(Mishap::Truncate(length)) => {
            let promised = HeaderValue::from(response.body().len());
            response.headers_mut().insert(CONTENT_LENGTH, promised);
            Ok(response.map(|body| cut(body, length)))
        }
    }
}

fn whole(body: Bytes) -> Body {
    Either::Left(Full::new(body))
}

fn halved(body: Bytes, pause: Duration) -> Body {
    let (start, end) = (body.slice(..body.len() / 2), body.slice(body.len() / 2..));
    let first = stream::once(async move { Ok(Frame::data(start)) });
    let second = stream::once(async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(end))
    });
    Either::Right(StreamBody::new(first.chain(second).boxed()))
}

fn cut(mut body: Bytes, length: usize) -> Body {
    body.truncate(length);
    let first = stream::once(async move { Ok(Frame::data(body)) });
    let end = stream::once(async {
        // The server writes out what it has while the body makes it wait; without this the first bytes are lost too.
        // Of a body larger than the socket's buffers the end may still be lost: then it breaks off even earlier.
        tokio::task::yield_now().await;
        Err(Aborted)
    });
    Either::Right(StreamBody::new(first.chain(end).boxed()))
}

/// The connection ends here because a mishap says so.
#[derive(Debug)]
pub(super) struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection ends here because a fault rule says so")
    }
}

impl std::error::Error for Aborted {}

/// Pulled from inside a request, it makes the connection underneath end with a TCP reset.
#[derive(Clone, Debug, Default)]
pub(super) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    fn pull(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn pulled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A socket that can be reset from inside the layers above it, which own it by then.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    reset: ResetSwitch,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, reset: ResetSwitch) -> Self {
        Self { stream, reset }
    }

    fn check(&self) -> io::Result<()> {
        if self.reset.pulled() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.pulled() {
            // Closing with a linger time of zero sends a reset instead of an orderly end.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
