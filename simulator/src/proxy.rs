//! The front door on sockets: production host names, real TLS, unmodified clients.
//!
//! A client that honours `HTTPS_PROXY` (our release binary, `curl`, the official SDKs) asks the door to `CONNECT` to
//! `NAME.vault.azure.net:443`; the door answers in the vault's place with a certificate of its own authority. The
//! client needs no test switch: [`Doors::environment`] is all it is told.
//!
//! Beside it, on a plain loopback port, stand the App Service managed-identity endpoint, as it does in Azure, and the
//! control endpoint for tests that live in another process.
//!
//! A host nobody serves is refused with a sentence and remembered in [`Doors::refused`]: a client that quietly talks to
//! the wrong place must not pass a test.

mod authority;
mod control;
mod listener;
mod mishaps;
mod tunnel;

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{
    FutureExt as _,
    future::{self, BoxFuture},
};
use http::{Request, Response};

pub use self::authority::{Authority, CertificateFiles};
use self::{listener::Listener, tunnel::Gate};
use crate::{
    identity::{Directory, LOGIN_HOST},
    key_vault::KeyVaults,
};

/// Answers one request; what stands behind a door.
pub type Handler = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// What stands behind the doors.
#[derive(Clone)]
pub struct Services {
    /// Says whether a host name exists. In Azure the name service does this: a vault that was never created has no
    /// address.
    pub serves: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Answers for those hosts, and for the one that signs in workloads. The request's URI is absolute; a [`Mishap`](crate::mishap::Mishap) in the response's
    /// extensions is acted out.
    pub vaults: Handler,
    /// Answers for the managed-identity endpoint.
    pub identity: Handler,
    /// Answers below `/control`.
    pub control: Handler,
    /// What a client must send as `X-IDENTITY-HEADER`.
    pub identity_header: String,
    /// Where the proxy notes what it refused.
    pub refusals: Refusals,
}

/// Every connection and request a proxy refused, one sentence each. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Vec<String>>>);

impl Refusals {
    fn add(&self, sentence: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sentence.to_owned());
    }

    /// All of them so far.
    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Services {
    /// The simulated Azure.
    pub fn of(vaults: KeyVaults, directory: Directory) -> Self {
        let identity_header = directory.identity_header().to_owned();
        let refusals = Refusals::default();
        let control = control::handler(vaults.clone(), refusals.clone());
        let (hosts, tenant, entra) = (vaults.clone(), directory.clone(), directory.clone());
        Self {
            serves: Arc::new(move |host| {
                let is_vault = host.strip_suffix(authority::VAULT_SUFFIX).is_some_and(|name| hosts.has_vault(name));
                is_vault || (host == LOGIN_HOST && tenant.is_federated())
            }),
            vaults: Arc::new(move |request| {
                if request.uri().host() == Some(LOGIN_HOST) {
                    return future::ready(entra.sign_in(&request)).boxed();
                }
                let vaults = vaults.clone();
                async move { vaults.handle(request).await }.boxed()
            }),
            identity: Arc::new(move |request| future::ready(directory.answer(request)).boxed()),
            control,
            identity_header,
            refusals,
        }
    }
}

/// Which HTTP versions the TLS handshake offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 and HTTP/1.1; the client chooses.
    #[default]
    Both,
    /// HTTP/1.1 alone.
    Http1,
}

/// The open doors; dropping them closes every connection.
pub struct Doors {
    authority: Arc<Authority>,
    refusals: Refusals,
    proxy: Listener,
    loopback: Listener,
    identity_header: String,
}

impl Doors {
    /// Opens both doors on free loopback ports. Certificates are written to `folder`, which must exist.
    ///
    /// # Errors
    /// When a port cannot be bound or a certificate cannot be made or written.
    pub async fn open(services: Services, protocols: Protocols, folder: &Path) -> io::Result<Self> {
        let authority = Arc::new(Authority::create(folder)?);
        let gate = Arc::new(Gate::new(&services, authority.acceptor(protocols)?));
        let (identity_header, refusals) = (services.identity_header, services.refusals);
        let proxy = Listener::open(move |stream| tunnel::serve(stream, Arc::clone(&gate))).await?;
        let plain = listener::routes(services.identity, services.control);
        let loopback = Listener::open(move |stream| listener::serve_plain(stream, Arc::clone(&plain))).await?;
        Ok(Self { authority, refusals, proxy, loopback, identity_header })
    }

    /// Where the proxy listens.
    pub fn proxy_address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// The managed-identity endpoint.
    pub fn identity_endpoint(&self) -> String {
        format!("http://{}{}", self.loopback.address(), listener::IDENTITY_PATH)
    }

    /// The control endpoint.
    pub fn control_endpoint(&self) -> String {
        format!("http://{}/control", self.loopback.address())
    }

    /// The authority behind every certificate of the doors; it also certifies Azurite.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The authority's certificate alone, as PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.ca_file()
    }

    /// Every connection the proxy refused, one sentence each. Tests assert that it is empty.
    pub fn refused(&self) -> Vec<String> {
        self.refusals.list()
    }

    /// The environment a client must be started with; nothing else is needed.
    ///
    /// `SSL_CERT_FILE`, `CURL_CA_BUNDLE` and `REQUESTS_CA_BUNDLE` replace a client's own roots and therefore name a bundle of the
    /// system's roots and ours; `NODE_EXTRA_CA_CERTS` adds to them and names ours alone.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let bundle = self.authority.trust_bundle().display().to_string();
        let (proxy, direct) = (format!("http://{}", self.proxy_address()), "127.0.0.1,localhost".to_owned());
        vec![
            // curl and Python prefer the names in lower case, other clients know the upper ones alone.
            ("HTTPS_PROXY", proxy.clone()),
            ("https_proxy", proxy),
            ("NO_PROXY", direct.clone()),
            ("no_proxy", direct),
            ("SSL_CERT_FILE", bundle.clone()),
            ("CURL_CA_BUNDLE", bundle.clone()), // curl looks at SSL_CERT_FILE only where SSL_CERT_DIR is not set
            ("REQUESTS_CA_BUNDLE", bundle),
            ("NODE_EXTRA_CA_CERTS", self.ca_file().display().to_string()),
            ("IDENTITY_ENDPOINT", self.identity_endpoint()),
            ("IDENTITY_HEADER", self.identity_header.clone()),
            ("SIMULATOR_CONTROL", self.control_endpoint()),
        ]
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Doors")
            .field("proxy", &self.proxy_address())
            .field("identity", &self.identity_endpoint())
            .finish_non_exhaustive()
    }
}
