//! What only a service behind a network can get wrong: against Azurite where it plays along, against scripted answers
//! where it does not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind as Cause;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode, Transport};
use futures::StreamExt;
use keyvault_backup::store::azure::AzureStore;
use keyvault_backup::store::{DEADLINE, LEASE};
use tokio::time::Instant;
use url::Url;

use super::*;
use crate::azurite::{Identity, client};

type Reply = azure_core::Result<AsyncRawResponse>;

/// What is answered to a request, given how many there were before; `None` passes it on.
type Answers = Box<dyn Fn(usize, &Request) -> Option<Reply> + Send + Sync>;

/// A client that answers by a function of what was asked and of how often anything was asked before, and keeps a record.
struct Network {
    answer: Answers,
    /// Where requests go for which the function has no answer; without it they wait for ever.
    beyond: Option<Arc<dyn HttpClient>>,
    /// Whether the request gets through and only its answer is lost, where the function answers with an error.
    loses_answers: bool,
    record: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

#[async_trait::async_trait]
impl HttpClient for Network {
    async fn execute_request(&self, request: &Request) -> Reply {
        let header = |name: &'static str| request.headers().get_optional_str(&name.into()).unwrap_or("-").to_owned();
        let before = {
            let mut record = self.record.lock().unwrap();
            record.push(format!(
                "{} {} if-none-match={} type={} lease={}/{}",
                request.method(),
                request.url().query().unwrap_or_default(),
                header("if-none-match"),
                header("x-ms-blob-content-type"),
                header("x-ms-lease-action"),
                if header("x-ms-lease-id") == "-" { header("x-ms-proposed-lease-id") } else { header("x-ms-lease-id") },
            ));
            record.len() - 1
        };
        match (&self.beyond, (self.answer)(before, request)) {
            (Some(beyond), Some(Err(error))) if self.loses_answers => {
                beyond.execute_request(request).await?;
                Err(error)
            }
            (_, Some(answer)) => answer,
            (Some(beyond), None) => beyond.execute_request(request).await,
            (None, None) => std::future::pending().await,
        }
    }
}

impl Network {
    fn scripted(answer: impl Fn(usize, &Request) -> Option<Reply> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answer: Box::new(answer), beyond: None, loses_answers: false, record: Mutex::default() })
    }

    /// To the real storage, whose answer to the request of that number is lost where this is an error.
    fn to_storage(loss: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) -> Arc<Self> {
        let answer = Box::new(move |before: usize, _: &Request| loss(before));
        Arc::new(Self { answer, beyond: Some(client()), loses_answers: true, record: Mutex::default() })
    }

    fn store(self: &Arc<Self>) -> AzureStore {
        let url = Url::parse("https://contoso.blob.core.windows.net/backups").unwrap();
        AzureStore::new(&url, Arc::new(Identity), Transport::new(self.clone())).unwrap()
    }

    fn record(&self) -> Vec<String> {
        self.record.lock().unwrap().clone()
    }
}

fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Reply {
    let mut all = Headers::new();
    headers.iter().for_each(|(name, value)| all.insert(*name, *value));
    Ok(AsyncRawResponse::from_bytes(StatusCode::from(status), all, body))
}

fn refuse(status: u16, code: &'static str) -> Reply {
    reply(status, &[("x-ms-error-code", code), ("x-ms-request-id", "request-7")], "")
}

fn broken(cause: Cause) -> Reply {
    Err(azure_core::Error::with_message(cause, "the wire was cut"))
}

#[tokio::test]
async fn a_blob_of_any_size_is_created_with_one_conditional_put() {
    let container = Container::create().await;
    for (name, size, content_type) in
        [("a/empty.json", 0, "application/json"), ("a/large.json.bin", 9 * 1024 * 1024, "application/octet-stream")]
    {
        let network = Network::to_storage(|_| None);
        let store = container.store_through(network.clone());
        store.create(name, vec![1; size].into()).await.unwrap();
        store.create(&format!("spooled/{name}"), spooled(&vec![1; size])).await.unwrap();
        assert_eq!(network.record(), vec![format!("PUT  if-none-match=* type={content_type} lease=-/-"); 2]);
    }
}

#[tokio::test]
async fn what_is_sent_from_a_spool_is_sent_whole_again_when_the_answer_is_lost() {
    let container = Container::create().await;
    let network = Network::to_storage(|before| (before == 0).then(|| broken(Cause::Io)));
    let store = container.store_through(network.clone());
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| at as u8).collect();
    store.replace("blob", spooled(&bytes)).await.unwrap();
    assert_eq!(network.record().len(), 2);
    assert!(store.read("blob").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_finds_its_own_blob() {
    let container = Container::create().await;
    let network = Network::to_storage(|before| (before == 0).then(|| broken(Cause::Io)));
    let store = container.store_through(network.clone());
    assert_eq!(store.create("blob", "whole".into()).await.unwrap(), Create::Exists);
    assert_eq!(network.record().len(), 2);
    assert_eq!(store.read("blob").await.unwrap(), "whole");
}

#[tokio::test]
async fn a_missing_container_is_named_together_with_what_makes_it() {
    let store = Container::missing().store();
    let errors = [
        store.create("blob", "x".into()).await.map(drop).unwrap_err(),
        store.replace("blob", "x".into()).await.unwrap_err(),
        store.read("blob").await.map(drop).unwrap_err(),
        store.delete("blob").await.unwrap_err(),
        store.lease("blob").await.map(drop).unwrap_err(),
        store.list("", None).try_collect::<Vec<_>>().await.map(drop).unwrap_err(),
        store.folders("").try_collect::<Vec<_>>().await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(error.message().contains(&store.describe()), "{error:?}");
        assert!(error.message().contains("az storage container create"), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_tried_again() {
    for failure in [
        (|| refuse(408, "OperationTimedOut")) as fn() -> Reply,
        || refuse(429, "TooManyRequests"),
        || refuse(500, "InternalError"),
        || refuse(502, ""),
        || refuse(503, "ServerBusy"),
        || refuse(504, ""),
        || broken(Cause::Io),
        || broken(Cause::Connection),
    ] {
        let network =
            Network::scripted(move |before, _| Some(if before < 3 { failure() } else { reply(201, &[], "") }));
        assert_eq!(network.store().create("blob", "x".into()).await.unwrap(), Create::Created);
        assert_eq!(network.record().len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_by_itself_is_asked_once() {
    for (status, code, kind, said) in [
        (400, "InvalidHeaderValue", ErrorKind::Internal, "not understood"),
        (401, "NoAuthenticationInformation", ErrorKind::Unauthenticated, "token"),
        (403, "AuthenticationFailed", ErrorKind::Unauthenticated, "token"),
        (403, "AuthorizationPermissionMismatch", ErrorKind::Forbidden, "Storage Blob Data Contributor"),
        (403, "AuthorizationFailure", ErrorKind::Forbidden, "firewall"),
        (404, "ContainerNotFound", ErrorKind::NotFound, "az storage container create"),
        (404, "ResourceNotFound", ErrorKind::NotFound, "does not exist"),
        (409, "BlobImmutableDueToPolicy", ErrorKind::Refused, "immutability policy"),
        (409, "BlobImmutableDueToLegalHold", ErrorKind::Refused, "legal hold"),
        (409, "SnapshotsPresent", ErrorKind::Conflict, "changed meanwhile"),
        (412, "LeaseIdMissing", ErrorKind::Busy, "lease"),
        (412, "ConditionNotMet", ErrorKind::Conflict, "changed meanwhile"),
    ] {
        let network = Network::scripted(move |_, _| Some(refuse(status, code)));
        let error = network.store().replace("a/blob", "canary".into()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.message().contains(said), "{error:?}");
        assert!(error.message().contains("a/blob"), "{error:?}");
        assert!(!error.chain().contains("canary"), "{error:?}");
        assert_eq!(error.target(), Some("a/blob"));
        if kind != ErrorKind::Busy {
            assert!(error.message().contains(code) && error.message().contains("request-7"), "{error:?}");
        }
        assert_eq!(network.record().len(), 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_code_is_read_from_the_body_where_the_header_is_missing() {
    let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthorizationFailure</Code>\
                <Message>This request is not authorized.\r\nRequestId:1</Message></Error>";
    let network = Network::scripted(move |_, _| Some(reply(403, &[], body)));
    let error = network.store().read("blob").await.unwrap_err();
    assert!(error.message().contains("firewall"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_within_its_deadline_whatever_the_service_does() {
    for (answer, kind) in [
        ((|| None) as fn() -> Option<Reply>, ErrorKind::Unavailable),
        (|| Some(refuse(500, "InternalError")), ErrorKind::Unavailable),
        (|| Some(broken(Cause::Io)), ErrorKind::Unavailable),
        (|| Some(reply(503, &[("retry-after", "600"), ("x-ms-error-code", "ServerBusy")], "")), ErrorKind::Throttled),
    ] {
        let network = Network::scripted(move |_, _| answer());
        let (store, asked) = (network.store(), Instant::now());
        let error = store.read("blob").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(asked.elapsed() <= DEADLINE, "{:?}", asked.elapsed());
        assert!((2..=8).contains(&network.record().len()), "{:?}", network.record());
    }
}

#[tokio::test(start_paused = true)]
async fn taking_a_lease_ends_within_the_deadline_too_although_it_takes_several_requests() {
    let network = Network::scripted(|_, request| {
        let acquires = request.headers().get_optional_str(&"x-ms-lease-action".into()).is_some();
        acquires.then(|| refuse(404, "BlobNotFound"))
    });
    let (store, asked) = (network.store(), Instant::now());
    assert_eq!(store.lease("lease").await.map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(asked.elapsed() <= DEADLINE, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_service_is_given_the_time_it_asks_for() {
    let network = Network::scripted(|before, _| {
        Some(if before == 0 { reply(503, &[("retry-after", "7")], "") } else { reply(202, &[], "") })
    });
    let asked = Instant::now();
    network.store().delete("blob").await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_early_is_never_taken_for_the_blob() {
    let network = Network::scripted(|_, _| Some(reply(200, &[("content-length", "10")], "01234")));
    let error = network.store().read("blob").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");

    let network = Network::scripted(|before, _| {
        let body = if before == 0 { "01234" } else { "0123456789" };
        Some(reply(206, &[("content-range", "bytes 0-9/10")], body))
    });
    assert_eq!(network.store().read("blob").await.unwrap(), "0123456789");
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_must_not_change_exists_and_is_neither_replaced_nor_deleted() {
    for code in ["BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold"] {
        let store = Network::scripted(move |_, _| Some(refuse(409, code))).store();
        assert_eq!(store.create("blob", "x".into()).await.unwrap(), Create::Exists);
        assert_eq!(store.replace("blob", "x".into()).await.unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(store.delete("blob").await.unwrap_err().kind(), ErrorKind::Refused);
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_may_only_add_sees_that_a_blob_exists() {
    let store = |found: u16| {
        let network = Network::scripted(move |_, request| {
            Some(match request.method().as_ref() {
                "PUT" => refuse(403, "AuthorizationPermissionMismatch"),
                _ => reply(found, &[], ""),
            })
        });
        network.store()
    };
    assert_eq!(store(200).create("blob", "x".into()).await.unwrap(), Create::Exists);
    assert_eq!(store(404).create("blob", "x".into()).await.unwrap_err().kind(), ErrorKind::Forbidden);
}

const FIRST_PAGE: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>
<EnumerationResults ServiceEndpoint=\"https://contoso.blob.core.windows.net/\" ContainerName=\"backups\"><Blobs>
<Blob><Name>a</Name><Properties><Creation-Time>Sat, 21 Nov 2026 20:00:00 GMT</Creation-Time><Etag>0x1</Etag>
<Content-Length>3</Content-Length><AccessTier>Frozen</AccessTier><LeaseState>unheard-of</LeaseState></Properties></Blob>
<BlobPrefix><Name>b-1/</Name></BlobPrefix>
<Blob><Name>b</Name><Properties><Creation-Time>Sat, 21 Nov 2026 20:00:00 GMT</Creation-Time>
<Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>
<Blob><Name Encoded=\"true\">b%EF%BF%BE</Name><Properties><Creation-Time>Sat, 21 Nov 2026 20:00:00 GMT</Creation-Time>
<Content-Length>0</Content-Length></Properties></Blob>
<BlobPrefix><Name>c/</Name></BlobPrefix></Blobs><NextMarker>2!page</NextMarker></EnumerationResults>";

const SECOND_PAGE: &str = "<EnumerationResults><Blobs><BlobPrefix><Name>c/</Name></BlobPrefix>
<Blob><Name>d</Name><Properties><Creation-Time>Sat, 21 Nov 2026 20:00:00 GMT</Creation-Time>
<Content-Length>4</Content-Length></Properties></Blob>
<BlobPrefix><Name>e f/</Name></BlobPrefix></Blobs><NextMarker /></EnumerationResults>";

fn page(request: &Request) -> Reply {
    let second = request.url().query_pairs().any(|(name, value)| name == "marker" && value == "2!page");
    reply(200, &[], if second { SECOND_PAGE } else { FIRST_PAGE })
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_at_the_page_that_failed() {
    let failing = [1, 2, 4];
    let network = Network::scripted(move |before, request| {
        Some(if failing.contains(&before) { refuse(503, "ServerBusy") } else { page(request) })
    });
    assert_eq!(names(&network.store(), "", None).await, ["a", "d"]);
    assert_eq!(network.record().len(), 4);
    assert!(network.record()[1..].iter().all(|request| request.contains("marker=2")), "{:?}", network.record());
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_for_good_ends_with_an_error() {
    let network = Network::scripted(|before, request| {
        Some(if before == 0 { page(request) } else { refuse(403, "AuthorizationFailure") })
    });
    let store = network.store();
    let rows: Vec<_> = store.list("", None).collect().await;
    assert_eq!(rows[0].as_ref().unwrap().name, "a");
    assert_eq!(rows[1].as_ref().unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(rows.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn folders_and_blobs_come_mixed_and_values_that_are_new_do_no_harm() {
    let network = Network::scripted(|_, request| Some(page(request)));
    assert_eq!(folders(&network.store(), "").await, ["b-1", "c"]);
    assert!(network.record().iter().all(|request| request.contains("delimiter=%2F")), "{:?}", network.record());
    let network = Network::scripted(|_, request| Some(page(request)));
    assert_eq!(names(&network.store(), "", Some("a")).await, ["d"]);
    assert!(!network.record().iter().any(|request| request.contains("delimiter")), "{:?}", network.record());
}

/// Lease requests of a network whose renewals go as told; the other requests succeed.
fn lease_network(renew: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) -> Arc<Network> {
    let renewals = AtomicUsize::new(0);
    Network::scripted(move |_, request| match request.headers().get_optional_str(&"x-ms-lease-action".into()) {
        Some("renew") => renew(renewals.fetch_add(1, Ordering::SeqCst)),
        _ => Some(reply(201, &[], "")),
    })
}

/// A container in which leases are given and never renewed; everything else succeeds there, and nothing is kept.
pub(crate) fn container_without_renewals() -> AzureStore {
    lease_network(|_| Some(broken(Cause::Connection))).store()
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_alive_for_as_long_as_it_is_wanted() {
    let network = lease_network(|_| Some(reply(200, &[], "")));
    let lease = network.store().lease("lease").await.unwrap();
    for _ in 0..360 {
        tokio::time::advance(Duration::from_secs(10)).await;
        tokio::task::yield_now().await;
        assert!(lease.is_held());
    }
    lease.release().await;
    let record = network.record();
    let id = record[0].rsplit_once('/').unwrap().1;
    assert!(record[0].contains("lease=acquire/") && id.len() == 36, "{}", record[0]);
    assert!(record.iter().all(|request| request.ends_with(id)), "every request names the one lease");
    assert!(record.last().unwrap().contains("lease=release/"));
    assert!(record.len() > 300, "{}", record.len());

    let until = record.len();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(network.record().len(), until, "a released lease is not renewed");
}

#[tokio::test(start_paused = true)]
async fn a_lease_outlives_renewals_that_fail_for_a_while() {
    let network = lease_network(|before| match before {
        0..3 => Some(broken(Cause::Io)),
        3 => Some(refuse(503, "ServerBusy")),
        _ => Some(reply(200, &[], "")),
    });
    let lease = network.store().lease("lease").await.unwrap();
    tokio::time::sleep(LEASE * 4).await;
    assert!(lease.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_when_it_could_not_be_renewed_for_as_long_as_it_lasts() {
    for renewal in [(|| None) as fn() -> Option<Reply>, || Some(broken(Cause::Connection))] {
        let network = lease_network(move |before| if before == 0 { Some(reply(200, &[], "")) } else { renewal() });
        let lease = network.store().lease("lease").await.unwrap();
        tokio::time::sleep(Duration::from_secs(10) + LEASE - Duration::from_secs(1)).await;
        assert!(lease.is_held());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!lease.is_held());
        tokio::time::sleep(LEASE * 10).await;
        assert!(!lease.is_held(), "lost is lost");
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_comes_too_late_does_not_bring_a_lease_back() {
    let taken = Instant::now();
    let network = lease_network(move |_| {
        Some(if taken.elapsed() < LEASE { broken(Cause::Connection) } else { reply(200, &[], "") })
    });
    let lease = network.store().lease("lease").await.unwrap();
    tokio::time::sleep(LEASE * 10).await;
    assert!(!lease.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_broke_is_lost_at_once() {
    let network = lease_network(|before| {
        Some(if before == 0 { refuse(409, "LeaseIdMismatchWithLeaseOperation") } else { reply(200, &[], "") })
    });
    let lease = network.store().lease("lease").await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!lease.is_held());
    tokio::time::sleep(LEASE * 10).await;
    assert!(!lease.is_held(), "lost is lost");
}

#[tokio::test]
async fn only_a_plain_container_url_is_taken_and_no_secret_in_it_is_repeated() {
    for url in [
        "http://contoso.blob.core.windows.net/backups",
        "https://contoso.blob.core.windows.net/",
        "https://contoso.blob.core.windows.net/backups?sv=2026&sig=canary",
        "https://user:canary@contoso.blob.core.windows.net/backups",
        "file:///backups",
    ] {
        let network = Network::scripted(|_, _| None);
        let store = AzureStore::new(&Url::parse(url).unwrap(), Arc::new(Identity), Transport::new(network));
        let error = store.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(!error.chain().contains("canary"), "{error:?}");
    }
}

/// An identity that was never assigned.
#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl TokenCredential for Nobody {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let inner = azure_core::Error::with_message(Cause::Credential, "Identity not found");
        Err(azure_core::Error::with_error(Cause::Credential, inner, "ManagedIdentityCredential failed"))
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_token_the_whole_cause_is_told() {
    let network = Network::scripted(|_, _| Some(reply(200, &[], "")));
    let url = Url::parse("https://contoso.blob.core.windows.net/backups").unwrap();
    let store = AzureStore::new(&url, Arc::new(Nobody), Transport::new(network.clone())).unwrap();
    let error = store.read("blob").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.chain().contains("Identity not found"), "{error:?}");
    assert!(network.record().is_empty());
}
