//! The same with the real binary, real TLS and real connections: a lying vault, and the host it wants to be followed to,
//! which exists and waits.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{FutureExt as _, future};
use simulator::proxy::Services;
use warp::http::{Request, Response};

use crate::local_azure::LocalAzure;

const EVIL: &str = "evil.example";

type Lie = fn(&Request<Bytes>) -> Option<Response<Bytes>>;

/// What the vault says instead of the truth, if anything, and what reached the other host.
#[derive(Clone, Default)]
struct Scene {
    lie: Arc<Mutex<Option<Lie>>>,
    reached: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn behind(&self, mut services: Services) -> Services {
        let (serves, sound, scene) = (services.serves.clone(), services.vaults.clone(), self.clone());
        services.serves = Arc::new(move |host| host == EVIL || serves(host));
        services.vaults = Arc::new(move |request| {
            if request.uri().host() == Some(EVIL) {
                scene.reached.lock().unwrap().push(format!("{request:?}"));
                return future::ready(answer(200, &[], r#"{"value":[],"nextLink":null}"#)).boxed();
            }
            match scene.lie.lock().unwrap().and_then(|lie| lie(&request)) {
                Some(lie) => future::ready(lie).boxed(),
                None => sound(request),
            }
        });
        services
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
    let builder =
        headers.iter().fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
    builder.body(Bytes::from(body.to_owned())).unwrap()
}

fn authorized(request: &Request<Bytes>) -> bool {
    request.headers().contains_key("authorization")
}

fn page(next: &str) -> Option<Response<Bytes>> {
    Some(answer(200, &[], &format!(r#"{{"value":[],"nextLink":"{next}"}}"#)))
}

#[tokio::test]
async fn the_program_follows_nobody_and_says_so() {
    let scene = Scene::default();
    let azure = LocalAzure::altered(&["contoso-prod", "contoso-dr"], |services| scene.behind(services)).await;
    azure.vaults.set_secret("contoso-prod", "apple", "1");
    assert_eq!(azure.run(&["backup"]).await.code, 0);

    let backup = ["backup"].as_slice();
    let restore = ["restore", "contoso-prod", "--to", "contoso-dr"].as_slice();
    let cases: [(&str, &[&str], Lie, &str); 9] = [
        (
            "next link to another host",
            backup,
            |_| page("https://evil.example/secrets"),
            "leads to \"https://evil.example\"",
        ),
        ("next link to another port", backup, |_| page("https://contoso-prod.vault.azure.net:8443/secrets"), ":8443"),
        (
            "next link without TLS",
            backup,
            |_| page("http://contoso-prod.vault.azure.net/secrets"),
            "\"http://contoso-prod",
        ),
        (
            "next link to itself",
            backup,
            |request| page(&format!("https://contoso-prod.vault.azure.net:443{}", request.uri().path())),
            "the listing has no end",
        ),
        (
            "redirect",
            backup,
            |_| Some(answer(302, &[("location", "https://evil.example/secrets")], "")),
            "(302) leads somewhere else",
        ),
        (
            "redirect of a restore",
            restore,
            |request| {
                let restores = request.uri().path().ends_with("/restore");
                restores.then(|| answer(307, &[("location", "https://evil.example/secrets/restore")], ""))
            },
            "(307) leads somewhere else",
        ),
        (
            "challenge for another resource",
            backup,
            |request| {
                assert!(!authorized(request), "it must not get a token");
                let challenge = r#"Bearer authorization="https://evil.example/t", resource="https://evil.example""#;
                Some(answer(401, &[("www-authenticate", challenge)], ""))
            },
            "asks for a token of \"https://evil.example\"",
        ),
        (
            "challenge for no resource",
            restore,
            |request| {
                assert!(!authorized(request) && request.body().is_empty(), "it must get nothing");
                Some(answer(401, &[("www-authenticate", "Bearer")], ""))
            },
            "asks for a token of \"\"",
        ),
        (
            "a page that is none",
            backup,
            |request| authorized(request).then(|| answer(200, &[], "{}")),
            "could not be listed at all",
        ),
    ];
    for (case, arguments, lie, words) in cases {
        *scene.lie.lock().unwrap() = Some(lie);
        let ran = azure.run(arguments).await;
        assert!(ran.code != 0 && ran.stderr.contains(words), "{case}: {ran:?}");
        assert!(ran.stderr.contains("contoso-") && !ran.stderr.contains("panicked"), "{case}: {ran:?}");
        assert_eq!(*scene.reached.lock().unwrap(), Vec::<String>::new(), "{case}");
    }
    // Nor did it try ports and hosts that the proxy refuses.
    azure.assert_all_known();
    *scene.lie.lock().unwrap() = None;
    assert_eq!(azure.run(restore).await.code, 0, "an honest vault is believed again");
}

/// The length of a compressed answer says nothing about that of the blob in it, and a part of one is no part of the blob.
#[tokio::test]
async fn no_answer_is_asked_for_in_a_compressed_form() {
    let encodings = Arc::new(Mutex::new(Vec::new()));
    let asked = encodings.clone();
    let azure = LocalAzure::altered(&["contoso-prod"], move |mut services| {
        let sound = services.vaults.clone();
        services.vaults = Arc::new(move |request| {
            asked.lock().unwrap().push(request.headers().get("accept-encoding").cloned());
            sound(request)
        });
        services
    })
    .await;
    azure.vaults.set_secret("contoso-prod", "apple", "1");
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let encodings = encodings.lock().unwrap();
    assert!(encodings.len() > 4 && encodings.iter().all(Option::is_none), "{encodings:?}");
}

/// A stranger's certificate is a reason to stop, not to try for minutes.
#[tokio::test]
async fn a_certificate_that_nobody_trusts_ends_with_a_sentence_before_anything_is_sent() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    azure.vaults.set_secret("contoso-prod", "apple", "1");
    let other = tempfile::tempdir().unwrap();
    let authority = simulator::proxy::Authority::create(other.path()).unwrap();
    let trusted = authority.trust_bundle().display().to_string();
    let ran = azure.run_with(&[("SSL_CERT_FILE", &trusted)], &["backup"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("no certificate that this machine trusts"), "{ran:?}");
    assert_eq!(azure.vaults.requests(), []);
}
