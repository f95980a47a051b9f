//! Loopback ports: accept, serve each connection, and close them all when the owner lets go.

use std::{convert::Infallible, io, net::Ipv4Addr, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::Handler;

/// The path the identity endpoint has on App Service.
pub(super) const IDENTITY_PATH: &str = "/msi/token";

/// How long to wait when the system refuses another connection, usually for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A port that serves until it is dropped.
pub(super) struct Listener {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Listener {
    /// Serves every connection to a free loopback port.
    pub(super) async fn open<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("Could not open a loopback port: {error}.")))?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            // Dropped together with this task, and with it every open connection.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            // Without this, small answers wait for the client's delayed acknowledgement.
                            let _ = stream.set_nodelay(true);
                            connections.spawn(serve(stream));
                        }
                        Err(error) => {
                            tracing::warn!(%error, "could not accept a connection");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, accepting })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Sends `/control…` to one handler, the identity endpoint's path to the other, and refuses the rest.
pub(super) fn routes(identity: Handler, control: Handler) -> Handler {
    Arc::new(move |request| match request.uri().path() {
        IDENTITY_PATH => identity(request),
        path if path.starts_with("/control/") => control(request),
        path => futures::future::ready(sentence(
            StatusCode::NOT_FOUND,
            format!("The simulator has nothing at {path}. It answers at {IDENTITY_PATH} and below /control/."),
        ))
        .boxed(),
    })
}

/// Serves HTTP/1.1 without TLS.
pub(super) async fn serve_plain(stream: TcpStream, handler: Handler) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        async move {
            let (head, body) = request.into_parts();
            let response = match body.collect().await {
                Ok(body) => handler(Request::from_parts(head, body.to_bytes())).await,
                Err(error) => {
                    sentence(StatusCode::BAD_REQUEST, format!("The request's body could not be read: {error}."))
                }
            };
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let server = hyper::server::conn::http1::Builder::new();
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a loopback connection ended early");
    }
}

/// A plain answer for people.
pub(super) fn sentence(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text + "\n"));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
