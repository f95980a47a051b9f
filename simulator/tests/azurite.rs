//! Azurite beside the simulator.

use reqwest::{Certificate, Client, Method};
use simulator::{azurite::Azurite, clock::Clock, identity::Directory, proxy::Authority};
use tempfile::TempDir;

#[tokio::test]
async fn azurite_takes_the_tokens_of_a_simulated_identity() {
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::create(folder.path()).expect("an authority");
    let azurite = Azurite::start(&authority).await.expect("a running Azurite");
    let client = client(&authority);
    let directory = Directory::new(Clock::system());
    let token = directory.mint(&directory.identity("backup"), "https://storage.azure.com");
    for url in [format!("{}/backups?restype=container", azurite.blob_url()), format!("{}/jobs", azurite.queue_url())] {
        let made = client
            .request(Method::PUT, &url)
            .bearer_auth(&token)
            .header("x-ms-version", "2026-04-06") // what the Rust clients send, newer than this Azurite
            .header("content-length", 0)
            .send()
            .await
            .expect("an answer over TLS");
        assert_eq!(made.status(), 201, "{url}");
    }
}

#[tokio::test]
async fn azurite_answers_over_https_with_our_certificate_and_stops_with_its_handle() {
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::create(folder.path()).expect("an authority");
    let azurite = Azurite::start(&authority).await.expect("a running Azurite");
    let client = client(&authority);
    for url in [azurite.blob_url(), azurite.queue_url()] {
        let answer = client.get(format!("{url}?comp=list")).send().await.expect("an answer over TLS");
        assert_eq!(answer.status(), 403, "Azurite knows who it does not know");
        assert!(answer.headers().contains_key("x-ms-request-id"));
    }

    let url = azurite.blob_url().to_owned();
    drop(azurite);
    // It is killed at once and its port closes a moment later; a process that lives on keeps this waiting.
    while client.get(&url).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

fn client(authority: &Authority) -> Client {
    let pem = std::fs::read(authority.ca_file()).expect("the authority's certificate");
    Client::builder()
        .no_proxy()
        .tls_certs_only([Certificate::from_pem(&pem).expect("a certificate")])
        .build()
        .expect("a client")
}
