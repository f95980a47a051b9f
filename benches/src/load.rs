//! The bare load generator: the requests of a backup or a restore, sent by a client that does nothing else. What it
//! reaches is what the emulators can do.

use std::{env, fs, net::SocketAddr, str, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex, mpsc},
};
use tokio_rustls::TlsConnector;

use crate::Result;

/// The same versions as keyvault-backup asks for.
const VAULT_VERSION: &str = "2025-07-01";
const STORAGE_VERSION: &str = "2026-04-06";

/// Any will do; the SDK sends a new one with each request.
const REQUEST_ID: &str = "0b4a1e2c-6f1d-4a55-9d7e-3c2f8e9a1b00";

/// What to send.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    pub(crate) job: Job,
    pub(crate) vault: Uri,
    pub(crate) container: Uri,
    /// How many items at once.
    #[arg(long, default_value_t = 16)]
    pub(crate) at_once: usize,
    /// HTTP/2 with the vault: all requests on one connection.
    #[arg(long)]
    http2: bool,
    /// Leaves the storage out.
    #[arg(long)]
    vault_only: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Job {
    /// List, back up, look at the versions, put the blob.
    Backup,
    /// List, get the blob, restore, look at the versions.
    Restore,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let tls = tls()?;
    let vault = Server::new(&args.vault, "VAULT_TOKEN", &tls)?;
    let storage = Server::new(&args.container, "STORAGE_TOKEN", &tls)?;
    let shared = if args.http2 { Some(vault.connect_http2().await?) } else { None };
    let (sender, receiver): (Names, _) = mpsc::channel(args.at_once);
    let receiver = Arc::new(Mutex::new(receiver));
    let workers = (0..args.at_once).map(|_| {
        let mut vault = vault.open(shared.clone());
        let mut storage = storage.open(None);
        let (receiver, args) = (Arc::clone(&receiver), args.clone());
        tokio::spawn(async move {
            loop {
                let next = receiver.lock().await.recv().await;
                let Some((kind, name)) = next else { return Result::<()>::Ok(()) };
                one(&args, &mut vault, &mut storage, kind, &name).await?;
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    match args.job {
        Job::Backup => {
            let listings = KINDS.map(|kind| {
                let (mut vault, sender) = (vault.open(shared.clone()), sender.clone());
                async move { list_vault(&mut vault, kind, &sender).await }
            });
            try_join_all(listings).await?;
        }
        Job::Restore => list_container(&mut storage.open(None), storage.path.as_str(), &sender).await?,
    }
    drop(sender);
    try_join_all(workers).await?.into_iter().collect()
}

const KINDS: [&str; 3] = ["certificates", "keys", "secrets"];

/// Where an item's backup goes, under a name as long as those of keyvault-backup, which hold a state and a hash.
pub(crate) fn blob(kind: &str, name: &str) -> String {
    const STATE: &str = "0123456789abcdef";
    format!("{kind}/{name}.vaults.contoso-prod.items.20261122T135338Z-47baab29.{STATE}.{0}{0}{0}{0}.backup", STATE)
}

/// The kind of the item that a blob holds, and what follows the kind in the blob's name.
pub(crate) fn item(blob: &str) -> Option<(&'static str, String)> {
    let (kind, rest) = blob.split_once('/')?;
    Some((KINDS.into_iter().find(|it| *it == kind)?, rest.to_owned()))
}

/// The name of the item, of what follows the kind.
pub(crate) fn name(rest: &str) -> &str {
    rest.split('.').next().unwrap_or(rest)
}

/// One item: its name, or what follows the kind in that of its blob.
async fn one(args: &Args, vault: &mut Client, storage: &mut Client, kind: &'static str, item: &str) -> Result<()> {
    match args.job {
        Job::Backup => {
            let path = format!("/{kind}/{item}/backup?api-version={VAULT_VERSION}");
            let answer: Value = serde_json::from_slice(&vault.send(Method::POST, &path, Bytes::new()).await?)?;
            let bytes = URL_SAFE_NO_PAD.decode(answer["value"].as_str().unwrap_or_default())?;
            vault.send(Method::GET, &versions(kind, item), Bytes::new()).await?;
            if !args.vault_only {
                let blob = format!("{}/{}", args.container.path(), blob(kind, item).replace('/', "%2F"));
                storage.send(Method::PUT, &blob, bytes.into()).await?;
            }
        }
        Job::Restore => {
            let blob = format!("{}/{kind}/{item}", args.container.path());
            let bytes = storage.send(Method::GET, &blob, Bytes::new()).await?;
            let body = json!({ "value": URL_SAFE_NO_PAD.encode(&bytes) }).to_string();
            let path = format!("/{kind}/restore?api-version={VAULT_VERSION}");
            vault.send(Method::POST, &path, body.into()).await?;
            vault.send(Method::GET, &versions(kind, name(item)), Bytes::new()).await?;
        }
    }
    Ok(())
}

fn versions(kind: &str, name: &str) -> String {
    format!("/{kind}/{name}/versions?api-version={VAULT_VERSION}")
}

type Names = mpsc::Sender<(&'static str, String)>;

async fn list_vault(vault: &mut Client, kind: &'static str, names: &Names) -> Result<()> {
    let mut next = format!("/{kind}?api-version={VAULT_VERSION}");
    loop {
        let page: Value = serde_json::from_slice(&vault.send(Method::GET, &next, Bytes::new()).await?)?;
        for row in page["value"].as_array().into_iter().flatten().filter(|row| row["managed"] != true) {
            let id = row["id"].as_str().or(row["kid"].as_str()).unwrap_or_default();
            names.send((kind, id.rsplit('/').next().unwrap_or_default().to_owned())).await?;
        }
        let Some(link) = page["nextLink"].as_str() else { return Ok(()) };
        next = link.parse::<Uri>()?.path_and_query().map(ToString::to_string).unwrap_or_default();
    }
}

async fn list_container(storage: &mut Client, path: &str, names: &Names) -> Result<()> {
    let mut marker = String::new();
    loop {
        let url = format!("{path}?restype=container&comp=list&maxresults=5000&marker={marker}");
        let page = storage.send(Method::GET, &url, Bytes::new()).await?;
        let page = str::from_utf8(&page)?;
        for name in page.split("<Name>").skip(1).filter_map(|rest| rest.split('<').next()) {
            let Some(item) = item(name) else { continue };
            names.send(item).await?;
        }
        match page.split_once("<NextMarker>").and_then(|(_, rest)| rest.split('<').next()) {
            Some(next) if !next.is_empty() => marker = next.to_owned(),
            _ => return Ok(()),
        }
    }
}

/// A service and how to reach it.
#[derive(Clone)]
struct Server {
    host: String,
    port: u16,
    path: String,
    proxy: Option<SocketAddr>,
    token: String,
    tls: Arc<ClientConfig>,
}

/// One client of it, with a connection of its own that is opened when it is needed, or a share in one.
struct Client {
    server: Server,
    sender: Option<Sender>,
}

/// Requests of one connection at once: clones share it.
type Shared = http2::SendRequest<Full<Bytes>>;

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(Shared),
}

impl Server {
    fn new(url: &Uri, token: &str, tls: &Arc<ClientConfig>) -> Result<Self> {
        let host = url.host().ok_or("The URL names no host.")?.to_owned();
        let direct = host == "127.0.0.1";
        let proxy = env::var("HTTPS_PROXY")?;
        let proxy = if direct { None } else { Some(proxy.trim_start_matches("http://").parse()?) };
        let (port, path) = (url.port_u16().unwrap_or(443), url.path().to_owned());
        Ok(Self { host, port, path, proxy, token: format!("Bearer {}", env::var(token)?), tls: Arc::clone(tls) })
    }

    fn open(&self, shared: Option<Shared>) -> Client {
        Client { server: self.clone(), sender: shared.map(Sender::Http2) }
    }

    async fn tunnel(&self, protocol: &[u8]) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let address = self.proxy.map_or_else(|| format!("{}:{}", self.host, self.port), |it| it.to_string());
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if self.proxy.is_some() {
            let asked = format!("CONNECT {0}:443 HTTP/1.1\r\nHost: {0}:443\r\n\r\n", self.host);
            stream.write_all(asked.as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await?);
            }
        }
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from(self.host.clone())?;
        Ok(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?)
    }

    async fn connect_http1(&self) -> Result<Sender> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.tunnel(b"http/1.1").await?)).await?;
        tokio::spawn(connection);
        Ok(Sender::Http1(sender))
    }

    async fn connect_http2(&self) -> Result<Shared> {
        let stream = TokioIo::new(self.tunnel(b"h2").await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Client {
    /// Sends a request and reads the answer.
    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let sender = match &mut self.sender {
            Some(sender) => sender,
            closed => closed.insert(self.server.connect_http1().await?),
        };
        let mut request = Request::builder()
            .method(&method)
            .header(header::AUTHORIZATION, &self.server.token)
            .header(header::ACCEPT, if method == Method::PUT { "application/xml" } else { "application/json" })
            .header(header::USER_AGENT, "azsdk-rust-storage_blob/1.1.0 (1.95.0; linux; x86_64)")
            .header("x-ms-client-request-id", REQUEST_ID)
            .header("x-ms-version", STORAGE_VERSION);
        if method == Method::PUT {
            request = request
                .header("x-ms-blob-type", "BlockBlob")
                .header("x-ms-blob-content-type", "application/octet-stream")
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::IF_NONE_MATCH, "*");
        } else {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let answer = match sender {
            Sender::Http1(sender) => {
                let host = if self.server.proxy.is_some() {
                    self.server.host.clone()
                } else {
                    format!("{}:{}", self.server.host, self.server.port)
                };
                sender.ready().await?;
                sender.send_request(request.uri(path).header(header::HOST, host).body(Full::new(body))?).await?
            }
            Sender::Http2(sender) => {
                let uri = Uri::builder().scheme("https").authority(self.server.host.as_str()).path_and_query(path);
                sender.ready().await?;
                sender.send_request(request.uri(uri.build()?).body(Full::new(body))?).await?
            }
        };
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&body)).into())
    }
}

/// Trusts the authority of the simulator alone.
fn tls() -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for part in pem::parse_many(fs::read(env::var("NODE_EXTRA_CA_CERTS")?)?)? {
        roots.add(part.into_contents().into())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
