//! An identity endpoint that fails, hangs or talks nonsense, and tokens whose time is over, through the real program.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, future};
use simulator::{
    key_vault::{Effect, Fault},
    proxy::Services,
};
use warp::http::Response;

use crate::{
    leaks::TOKENS,
    local_azure::{LocalAzure, Ran},
};

const VAULT: &str = "contoso-prod";

/// Backs up with an endpoint that answers so, or never.
async fn backed_up_with(answer: Option<(u16, &'static str)>) -> (LocalAzure, Ran) {
    let lie = |mut services: Services| {
        services.identity = Arc::new(move |_| match answer {
            Some((status, body)) => {
                let body = Bytes::from_static(body.as_bytes());
                future::ready(Response::builder().status(status).body(body).unwrap()).boxed()
            }
            None => future::pending().boxed(),
        });
        services
    };
    let azure = LocalAzure::altered(&[VAULT], lie).await;
    azure.vaults.seed(VAULT, 10);
    let ran = azure.run(&["backup"]).await;
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    for token in TOKENS.into_iter().chain(["canary"]) {
        assert!(!ran.stdout.contains(token) && !ran.stderr.contains(token), "{ran:?}");
    }
    (azure, ran)
}

#[tokio::test]
async fn an_endpoint_that_fails_is_told_from_an_identity_that_is_unknown() {
    let passing = [Some((500, "An unexpected error occurred.")), Some((429, "Too many requests.")), None];
    let lasting = [
        Some((400, "Unable to load requested managed identity.")),
        Some((200, "{\"access_token\":\"canary\",\"expires_on\":7}")),
        Some((200, "<html>canary</html>")),
    ];
    let cases = passing.into_iter().chain(lasting).map(|answer| async move { (answer, backed_up_with(answer).await) });
    for (answer, (azure, ran)) in future::join_all(cases).await {
        assert_ne!(ran.code, 0, "{answer:?}: {ran:?}");
        assert!(ran.stderr.contains("no token could be had"), "{answer:?}: {ran:?}");
        let told = ran.stderr.contains("the identity endpoint does not answer as it should");
        assert_eq!(told, passing.contains(&answer), "{answer:?}: {ran:?}");
        assert_eq!(azure.manifests(VAULT), Vec::<PathBuf>::new(), "{answer:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_a_few_times_does_no_harm() {
    let azure = LocalAzure::with(&[VAULT]).await;
    azure.vaults.seed(VAULT, 10);
    azure.vaults.directory().fail_next(3);
    let ran = azure.run(&["backup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(azure.vaults.directory().requests() > 3);
}

/// Tokens live for two seconds, and each request takes a quarter of one.
#[tokio::test]
async fn tokens_that_expire_in_the_middle_are_replaced() {
    let azure = LocalAzure::with(&[VAULT]).await;
    azure.vaults.seed(VAULT, 40);
    azure.vaults.directory().set_token_lifetime(Duration::from_secs(2));
    azure.vaults.set_latency(Duration::from_millis(250));
    let ran = azure.run(&["backup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(azure.vaults.directory().requests() > 1);
    azure.assert_all_known();
}

/// The vault may call a token expired that ours still takes for good, when clocks differ.
#[tokio::test]
async fn a_token_that_the_vault_calls_expired_is_replaced() {
    let azure = LocalAzure::with(&[VAULT]).await;
    azure.vaults.seed(VAULT, 20);
    azure.vaults.add_fault(Fault::new(Effect::Expired).skip(20).times(1));
    let ran = azure.run(&["backup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}
