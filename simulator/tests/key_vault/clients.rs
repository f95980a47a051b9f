//! Microsoft's Rust clients through the door without sockets.

use std::{collections::HashMap, sync::Arc};

use azure_core::http::ClientOptions;
use azure_security_keyvault_certificates::{
    CertificateClient, CertificateClientOptions,
    models::{
        CertificatePolicy, CreateCertificateParameters, ImportCertificateParameters, IssuerParameters,
        RestoreCertificateParameters, X509CertificateProperties,
    },
};
use azure_security_keyvault_keys::{
    KeyClient, KeyClientOptions,
    models::{CreateKeyParameters, CurveName, ImportKeyParameters, JsonWebKey, KeyType, RestoreKeyParameters},
};
use azure_security_keyvault_secrets::{
    SecretClient, SecretClientOptions,
    models::{RestoreSecretParameters, SetSecretParameters},
};
use futures::TryStreamExt as _;
use simulator::{identity::Credential, key_vault::Kind, transport::Door};

use crate::bench::Bench;

const URL: &str = "https://contoso.vault.azure.net";

#[tokio::test(start_paused = true)]
async fn rust_client_backs_up_and_restores_secrets() {
    let bench = Bench::new();
    let door = Door::new(&bench.vaults);
    let (credential, client_options) = access(&bench, &door);
    let options = SecretClientOptions { client_options, ..Default::default() };
    let client = SecretClient::new(URL, credential, Some(options)).expect("the URL is good");
    for number in 0..60 {
        bench.vaults.set_secret("contoso", &format!("secret-{number}"), "value");
    }
    let parameters = SetSecretParameters {
        value: Some("red".into()),
        content_type: Some("text/plain".into()),
        tags: Some(HashMap::from([("ripe".into(), "yes".into())])),
        ..Default::default()
    };
    client.set_secret("apple", parameters.try_into().expect("plain data"), None).await.expect("the secret is set");
    let listed: Vec<_> = client.list_secret_properties(None).expect("a list").try_collect().await.expect("all pages");
    assert_eq!(listed.len(), 61);
    let before = bench.vaults.snapshot("contoso");
    let backup = client.backup_secret("apple", None).await.expect("a backup").into_model().expect("a model");
    bench.vaults.purge_now("contoso", Kind::Secret, "apple");
    let restore = RestoreSecretParameters { secret_backup: backup.value };
    client.restore_secret(restore.try_into().expect("plain data"), None).await.expect("the secret is restored");
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")), [""; 0]);
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
    // One challenge, one set, three pages, one backup, one restore.
    assert_eq!(door.requests(), 7);
}

#[tokio::test(start_paused = true)]
async fn rust_client_makes_backs_up_and_restores_keys() {
    let bench = Bench::new();
    let (credential, client_options) = access(&bench, &Door::new(&bench.vaults));
    let options = KeyClientOptions { client_options, ..Default::default() };
    let client = KeyClient::new(URL, credential, Some(options)).expect("the URL is good");
    for (name, kty, curve, size) in [
        ("ec", KeyType::Ec, Some(CurveName::P384), None),
        ("rsa", KeyType::Rsa, None, Some(4096)),
        ("hsm", KeyType::RsaHsm, None, None),
        ("oct", KeyType::OctHsm, None, Some(256)),
    ] {
        let parameters = CreateKeyParameters { kty: Some(kty), curve, key_size: size, ..Default::default() };
        client.create_key(name, parameters.try_into().expect("plain data"), None).await.expect("the key is made");
    }
    let key = JsonWebKey {
        kty: Some(KeyType::Ec),
        crv: Some(CurveName::P256),
        x: Some(vec![1; 32]),
        y: Some(vec![2; 32]),
        d: Some(vec![3; 32]),
        ..Default::default()
    };
    let parameters = ImportKeyParameters { key: Some(key), ..Default::default() };
    client.import_key("own", parameters.try_into().expect("plain data"), None).await.expect("the key is imported");
    let before = bench.vaults.snapshot("contoso");
    for (_, name) in before.items.keys() {
        let backup = client.backup_key(name, None).await.expect("a backup").into_model().expect("a model");
        bench.vaults.purge_now("contoso", Kind::Key, name);
        let restore = RestoreKeyParameters { key_backup: backup.value };
        client.restore_key(restore.try_into().expect("plain data"), None).await.expect("the key is restored");
    }
    assert_eq!(before.items.len(), 5);
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")), [""; 0]);
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn rust_client_makes_backs_up_and_restores_certificates() {
    let bench = Bench::new();
    let (credential, client_options) = access(&bench, &Door::new(&bench.vaults));
    let options = CertificateClientOptions { client_options, ..Default::default() };
    let client = CertificateClient::new(URL, credential, Some(options)).expect("the URL is good");
    let policy = CertificatePolicy {
        issuer_parameters: Some(IssuerParameters { name: Some("Self".into()), ..Default::default() }),
        x509_certificate_properties: Some(X509CertificateProperties {
            subject: Some("CN=web".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let parameters = CreateCertificateParameters { certificate_policy: Some(policy), ..Default::default() };
    let poller = client.begin_create_certificate("web", parameters.try_into().expect("plain data"), None);
    poller.expect("an operation").await.expect("the certificate is made");
    let import = ImportCertificateParameters { base64_encoded_certificate: Some("AAAA".into()), ..Default::default() };
    client.import_certificate("own", import.try_into().expect("plain data"), None).await.expect("it is imported");
    let before = bench.vaults.snapshot("contoso");
    assert_eq!((before.items.len(), before.count(Kind::Certificate)), (6, 2));
    for name in ["web", "own"] {
        let backup = client.backup_certificate(name, None).await.expect("a backup").into_model().expect("a model");
        bench.vaults.purge_now("contoso", Kind::Certificate, name);
        let restore = RestoreCertificateParameters { certificate_backup: backup.value };
        client.restore_certificate(restore.try_into().expect("plain data"), None).await.expect("it is restored");
    }
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")), [""; 0]);
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
}

fn access(bench: &Bench, door: &Door) -> (Arc<Credential>, ClientOptions) {
    let credential = Arc::new(Credential::new(bench.vaults.directory(), &bench.admin));
    (credential, ClientOptions { transport: Some(door.transport()), ..Default::default() })
}
