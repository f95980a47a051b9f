//! The doors on sockets, with a service behind them that does what each test asks.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::{Certificate, Client, Proxy};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use simulator::{
    mishap::Mishap,
    proxy::{Doors, Handler, Protocols, Refusals, Services},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const URL: &str = "https://contoso.vault.azure.net/secrets?api-version=7.5";

#[tokio::test]
async fn answers_for_the_real_host_name() {
    let door = Door::open(Protocols::Http1, echo).await;
    let answer = door.client().post(URL).body("hello").send().await.expect("an answer");
    assert_eq!(answer.version(), http::Version::HTTP_11);
    assert_eq!(answer.text().await.expect("a body"), format!("{URL} hello"));
}

#[tokio::test]
async fn answers_over_http2_when_the_client_asks_for_it() {
    let door = Door::open(Protocols::Both, echo).await;
    let answer = door.over_http2(Request::post(URL).body(Full::new(Bytes::from_static(b"hello")))).await;
    let body = answer.expect("an answer").collect().await.expect("a body").to_bytes();
    assert_eq!(body, format!("{URL} hello"));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let door = Door::open(Protocols::Http1, |_| Response::new(Bytes::from_static(b"ok"))).await;
    let client = door.client();
    for _ in 0..20 {
        assert_eq!(client.get(URL).send().await.expect("an answer").text().await.expect("a body"), "ok");
    }
    assert_eq!(door.admitted.load(Ordering::Relaxed), 1, "every request after the first reuses the tunnel");
}

#[tokio::test]
async fn a_host_nobody_serves_is_refused_and_remembered() {
    let door = Door::open(Protocols::Both, |_| Response::new(Bytes::new())).await;
    let refused = door.client().get("https://unknown.vault.azure.net/secrets").send().await;
    assert!(refused.expect_err("no such vault").is_connect());
    let remembered = door.doors.refused();
    assert_eq!(remembered.len(), 1);
    assert!(remembered[0].contains("no vault at unknown.vault.azure.net:443"), "{remembered:?}");
}

#[tokio::test]
async fn plain_http_through_the_proxy_is_refused_with_a_sentence() {
    let door = Door::open(Protocols::Both, |_| Response::new(Bytes::new())).await;
    let proxy = Proxy::http(format!("http://{}", door.doors.proxy_address())).expect("a proxy");
    let client = Client::builder().proxy(proxy).build().expect("a client");
    let answer = client.get("http://contoso.vault.azure.net/").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(answer.text().await.expect("a body").contains("only passes on HTTPS"));
    assert_eq!(door.doors.refused().len(), 1);
}

#[tokio::test]
async fn a_request_for_another_host_than_the_tunnels_is_misdirected() {
    let door = Door::open(Protocols::Http1, |_| Response::new(Bytes::new())).await;
    let answer = door.client().get(URL).header("host", "other.vault.azure.net").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(door.doors.refused().len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_is_not_served() {
    let door = Door::open(Protocols::Both, |_| Response::new(Bytes::new())).await;
    let proxy = Proxy::https(format!("http://{}", door.doors.proxy_address())).expect("a proxy");
    let stranger = Client::builder().proxy(proxy).build().expect("a client");
    assert!(stranger.get(URL).send().await.is_err());
}

#[tokio::test]
async fn a_reset_ends_the_connection_without_an_answer() {
    let door = Door::open(Protocols::Both, |_| mishap("never seen", Mishap::Reset)).await;
    let error = door.client().get(URL).send().await.expect_err("a reset");
    assert!(has_io_error(&error, ErrorKind::ConnectionReset), "{error:?}");
    let error = door.over_http2(Request::get(URL).body(Full::default())).await.expect_err("a reset");
    assert!(has_io_error(&*error, ErrorKind::ConnectionReset), "{error:?}");
}

#[tokio::test]
async fn a_truncated_body_breaks_off_after_the_bytes_that_were_sent() {
    let door = Door::open(Protocols::Both, |_| mishap("0123456789", Mishap::Truncate(4))).await;
    let mut answer = door.client().get(URL).send().await.expect("the head arrives");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.content_length(), Some(10), "the whole length was promised");
    assert_eq!(answer.chunk().await.expect("the first bytes").as_deref(), Some(&b"0123"[..]));
    assert!(answer.chunk().await.is_err(), "the rest never comes");

    let mut answer = door.over_http2(Request::get(URL).body(Full::default())).await.expect("the head arrives");
    assert_eq!(answer.headers()["content-length"], "10");
    let first = answer.frame().await.expect("a frame").expect("the first bytes");
    assert_eq!(first.into_data().expect("data"), "0123");
    assert!(answer.frame().await.expect("an end").is_err(), "the rest never comes");
}

#[tokio::test]
async fn a_hanging_request_ends_by_the_clients_patience_alone() {
    let door = Door::open(Protocols::Http1, |_| mishap("never seen", Mishap::Hang)).await;
    let error = door.client().get(URL).timeout(Duration::from_millis(200)).send().await.expect_err("a time-out");
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn a_delayed_answer_arrives_whole_and_late() {
    let time = Duration::from_millis(150);
    let door = Door::open(Protocols::Both, move |_| mishap("late", Mishap::Delay(time))).await;
    let started = Instant::now();
    let answer = door.client().get(URL).send().await.expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "late");
    assert!(started.elapsed() >= time);
}

#[tokio::test]
async fn closing_the_doors_ends_open_connections() {
    let mut door = Door::open(Protocols::Http1, |_| mishap("never seen", Mishap::Hang)).await;
    let client = door.client();
    let arrived = Arc::clone(&door.arrived);
    let waiting = tokio::spawn(async move { client.get(URL).send().await });
    arrived.notified().await;
    door.doors = Door::open(Protocols::Http1, |_| Response::new(Bytes::new())).await.doors;
    assert!(waiting.await.expect("no panic").is_err());
}

#[tokio::test]
async fn the_loopback_port_routes_to_identity_and_control_and_refuses_the_rest() {
    let door = Door::open(Protocols::Both, |_| Response::new(Bytes::new())).await;
    let client = Client::builder().no_proxy().build().expect("a client");
    let get = async |url: String| {
        let answer = client.get(url).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    assert_eq!(get(door.doors.identity_endpoint() + "?resource=x").await, (200, "identity".to_owned()));
    assert_eq!(get(door.doors.control_endpoint() + "/requests").await, (200, "control".to_owned()));
    let (status, text) = get(door.doors.identity_endpoint().replace("/msi/token", "/elsewhere")).await;
    assert_eq!(status, 404);
    assert!(text.contains("nothing at /elsewhere"), "{text}");
}

#[tokio::test]
async fn the_environment_names_files_that_exist_and_the_bundle_holds_our_authority() {
    let door = Door::open(Protocols::Both, |_| Response::new(Bytes::new())).await;
    let environment = door.doors.environment();
    let value = |name: &str| &environment.iter().find(|(key, _)| *key == name).expect(name).1;
    let ours = std::fs::read_to_string(value("NODE_EXTRA_CA_CERTS")).expect("the authority's certificate");
    assert_eq!(ours.matches("BEGIN CERTIFICATE").count(), 1);
    let bundle = std::fs::read_to_string(value("SSL_CERT_FILE")).expect("the bundle");
    assert!(bundle.starts_with(&ours));
    assert!(!bundle.contains("PRIVATE KEY"));
    assert_eq!(value("REQUESTS_CA_BUNDLE"), value("SSL_CERT_FILE"));
}

/// Doors with one vault, `contoso`, behind them.
struct Door {
    doors: Doors,
    admitted: Arc<AtomicUsize>,
    arrived: Arc<tokio::sync::Notify>,
    _folder: TempDir,
}

impl Door {
    async fn open(
        protocols: Protocols,
        service: impl Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let (admitted, arrived) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (count, notify) = (Arc::clone(&admitted), Arc::clone(&arrived));
        let services = Services {
            serves: Arc::new(move |host| {
                let known = host == "contoso.vault.azure.net";
                count.fetch_add(usize::from(known), Ordering::Relaxed);
                known
            }),
            vaults: handler(move |request| {
                notify.notify_one();
                service(request)
            }),
            identity: handler(|_| Response::new(Bytes::from_static(b"identity"))),
            control: handler(|_| Response::new(Bytes::from_static(b"control"))),
            identity_header: "header".to_owned(),
            refusals: Refusals::default(),
        };
        let folder = TempDir::new().expect("a folder");
        let doors = Doors::open(services, protocols, folder.path()).await.expect("open doors");
        Self { doors, admitted, arrived, _folder: folder }
    }

    fn client(&self) -> Client {
        let authority = std::fs::read(self.doors.ca_file()).expect("the authority's certificate");
        Client::builder()
            .proxy(Proxy::https(format!("http://{}", self.doors.proxy_address())).expect("a proxy"))
            .tls_certs_only([Certificate::from_pem(&authority).expect("a certificate")])
            .build()
            .expect("a client")
    }

    /// One request by a client that speaks HTTP/2 alone, as the tests' other client does not.
    async fn over_http2(
        &self,
        request: http::Result<Request<Full<Bytes>>>,
    ) -> Result<Response<hyper::body::Incoming>, Box<dyn std::error::Error>> {
        let mut stream = TcpStream::connect(self.doors.proxy_address()).await?;
        stream.write_all(b"CONNECT contoso.vault.azure.net:443 HTTP/1.1\r\n\r\n").await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.doors.ca_file())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TlsConnector::from(Arc::new(tls)).connect("contoso.vault.azure.net".try_into()?, stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        match sender.send_request(request?).await {
            Ok(response) => Ok(response),
            // The stream's own error only says that the connection is gone; the connection knows why.
            Err(error) => Err(connection.await?.err().unwrap_or(error).into()),
        }
    }
}

fn echo(request: Request<Bytes>) -> Response<Bytes> {
    Response::new(Bytes::from(format!("{} {}", request.uri(), String::from_utf8_lossy(request.body()))))
}

fn handler(answer: impl Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static) -> Handler {
    Arc::new(move |request| futures::future::ready(answer(request)).boxed())
}

fn mishap(body: &'static str, mishap: Mishap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    response.extensions_mut().insert(mishap);
    response
}

fn has_io_error(error: &(dyn std::error::Error + 'static), kind: ErrorKind) -> bool {
    let mut source = Some(error);
    while let Some(error) = source {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == kind) {
            return true;
        }
        source = error.source();
    }
    false
}
