//! Azurite beside the simulator.

use reqwest::{Certificate, Client};
use simulator::{azurite::Azurite, proxy::Authority};
use tempfile::TempDir;

#[tokio::test]
async fn azurite_answers_over_https_with_our_certificate_and_stops_with_its_handle() {
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::create(folder.path()).expect("an authority");
    let azurite = Azurite::start(&authority).await.expect("a running Azurite");
    let pem = std::fs::read(authority.ca_file()).expect("the authority's certificate");
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([Certificate::from_pem(&pem).expect("a certificate")])
        .build()
        .expect("a client");
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
