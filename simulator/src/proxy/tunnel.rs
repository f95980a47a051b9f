//! One connection to the proxy: `CONNECT`, TLS, then HTTP in the vault's place.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header::HOST, uri::Authority};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    body::Incoming,
    service::service_fn,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{
    Handler, Refusals, Services, listener,
    mishaps::{self, Aborted, Body, ResetSwitch, Wire},
};

/// Who may pass, to what.
pub(super) struct Gate {
    serves: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    vaults: Handler,
    tls: TlsAcceptor,
    refusals: Refusals,
}

impl Gate {
    pub(super) fn new(services: &Services, tls: TlsAcceptor) -> Self {
        let (serves, vaults) = (Arc::clone(&services.serves), Arc::clone(&services.vaults));
        Self { serves, vaults, tls, refusals: services.refusals.clone() }
    }

    /// The host a `CONNECT` request may have, or why not.
    fn admit<B>(&self, request: &Request<B>) -> Result<String, String> {
        if request.method() != Method::CONNECT {
            return Err(format!(
                "The simulator's proxy only passes on HTTPS, by CONNECT; it was sent {} {}.",
                request.method(),
                request.uri()
            ));
        }
        let target = request.uri().authority().map(Authority::as_str).unwrap_or_default();
        match target.rsplit_once(':') {
            Some((host, "443")) if (self.serves)(host) => Ok(host.to_ascii_lowercase()),
            Some((_, "443")) => Err(format!(
                "The simulator has no vault at {target}. Add the vault when the simulator is started, or put the host \
                 into NO_PROXY if it is meant to be reached directly."
            )),
            _ => Err(format!("The simulator serves vaults on port 443 only; it was asked to CONNECT to {target}.")),
        }
    }

    fn refuse(&self, status: StatusCode, reason: String) -> Response<Bytes> {
        tracing::warn!("{reason}");
        self.refusals.add(&reason);
        listener::sentence(status, reason)
    }
}

/// Serves one connection of a client to the proxy.
pub(super) async fn serve(stream: TcpStream, gate: Arc<Gate>) {
    let reset = ResetSwitch::default();
    let Some((upgraded, host)) = connect(Wire::new(stream, reset.clone()), &gate).await else { return };
    let tls = match gate.tls.accept(TokioIo::new(upgraded)).await {
        Ok(tls) => tls,
        Err(error) => {
            // Usually a client that was not told to trust our authority; it will say so itself.
            tracing::warn!(%host, %error, "the TLS handshake failed");
            return;
        }
    };
    let service = service_fn(move |request| answer(Arc::clone(&gate), host.clone(), request, reset.clone()));
    // Without a timer the server never closes an idle connection, which clients would have to race with.
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection(TokioIo::new(tls), service).await {
        tracing::debug!(error, "a vault connection ended early");
    }
}

/// Answers requests to the proxy itself until one is a `CONNECT` that may pass.
async fn connect(wire: Wire, gate: &Gate) -> Option<(Upgraded, String)> {
    let passed: Mutex<Option<(OnUpgrade, String)>> = Mutex::default();
    let service = service_fn(async |mut request: Request<Incoming>| {
        let response = match gate.admit(&request) {
            Ok(host) => {
                let upgrade = hyper::upgrade::on(&mut request);
                *passed.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, host));
                Response::new(Bytes::new())
            }
            Err(reason) => gate.refuse(StatusCode::BAD_GATEWAY, reason),
        };
        Ok::<_, Aborted>(response.map(Full::new))
    });
    let server = hyper::server::conn::http1::Builder::new();
    if let Err(error) = server.serve_connection(TokioIo::new(wire), service).with_upgrades().await {
        tracing::debug!(%error, "a proxy connection ended before CONNECT");
    }
    let (upgrade, host) = passed.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Some((upgrade.await.ok()?, host))
}

/// Answers one request inside the tunnel to `host`.
async fn answer(
    gate: Arc<Gate>,
    host: String,
    request: Request<Incoming>,
    reset: ResetSwitch,
) -> Result<Response<Body>, Aborted> {
    let (mut head, body) = request.into_parts();
    let named = head.uri.host().map(str::to_owned).or_else(|| {
        let header = head.headers.get(HOST)?.to_str().ok()?;
        Some(header.rsplit_once(':').map_or(header, |(name, _)| name).to_owned())
    });
    if !named.as_deref().is_some_and(|named| named.eq_ignore_ascii_case(&host)) {
        let reason = format!(
            "A request for {} came through the tunnel to {host}. A client must open a tunnel for each vault.",
            named.as_deref().unwrap_or("no host")
        );
        return Ok(gate.refuse(StatusCode::MISDIRECTED_REQUEST, reason).map(|text| Either::Left(Full::new(text))));
    }
    // HTTP/1.1 names the host in a header and HTTP/2 in the URI; the service sees one form.
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = Uri::builder().scheme("https").authority(host).path_and_query(path).build().map_err(|_| Aborted)?;
    let body = body.collect().await.map_err(|_| Aborted)?.to_bytes();
    mishaps::deliver((gate.vaults)(Request::from_parts(head, body)).await, &reset).await
}
