//! Microsoft's Rust clients through the door without sockets.

use std::sync::Arc;

use azure_core::http::ClientOptions;
use azure_security_keyvault_secrets::{
    SecretClient, SecretClientOptions,
    models::{RestoreSecretParameters, SetSecretParameters},
};
use futures::TryStreamExt as _;
use simulator::{identity::Credential, key_vault::Kind, transport::Door};

use crate::bench::Bench;

#[tokio::test(start_paused = true)]
async fn rust_client_backs_up_and_restores_through_the_door() {
    let bench = Bench::new();
    let door = Door::new(&bench.vaults);
    let client = secrets(&bench, &door);
    for number in 0..60 {
        bench.vaults.set_secret("contoso", &format!("secret-{number}"), "value");
    }
    let parameters = SetSecretParameters { value: Some("red".into()), ..Default::default() };
    client.set_secret("apple", parameters.try_into().expect("plain data"), None).await.expect("the secret is set");
    let listed: Vec<_> = client.list_secret_properties(None).expect("a list").try_collect().await.expect("all pages");
    assert_eq!(listed.len(), 61);
    let backup = client.backup_secret("apple", None).await.expect("a backup").into_model().expect("a model");
    bench.vaults.purge_now("contoso", Kind::Secret, "apple");
    let restore = RestoreSecretParameters { secret_backup: backup.value };
    client.restore_secret(restore.try_into().expect("plain data"), None).await.expect("the secret is restored");
    let secret = client.get_secret("apple", None).await.expect("the secret").into_model().expect("a model");
    assert_eq!(secret.value.as_deref(), Some("red"));
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
    assert!(door.requests() >= 8);
}

fn secrets(bench: &Bench, door: &Door) -> SecretClient {
    let credential = Arc::new(Credential::new(bench.vaults.directory(), &bench.admin));
    let client_options = ClientOptions { transport: Some(door.transport()), ..Default::default() };
    let options = SecretClientOptions { client_options, ..Default::default() };
    SecretClient::new("https://contoso.vault.azure.net", credential, Some(options)).expect("the URL is good")
}
