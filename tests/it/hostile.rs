//! Something else answers in the vault's place, and lies. It gets no token and no body for another host, none of the
//! program's memory and little of its time; and the program ends with a sentence.

mod impostor;
mod through_the_proxy;

use std::{sync::Arc, time::Duration};

use azure_core::{
    error::ErrorKind as SdkErrorKind,
    http::{Method, Request, Transport},
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use keyvault_backup::{
    error::{Error, ErrorKind},
    model::{ItemId, Kind, Sealed},
    report::Status,
    store::{Store as _, azure::AzureStore},
    vault::{DEADLINE, Vault},
};
use tokio::time::Instant;

use self::impostor::{HOME, Impostor, Parrot, Reply, reply};
use crate::world::World;

const VAULT: &str = "contoso-prod";

fn item() -> ItemId {
    ItemId { kind: Kind::Secrets, name: "apple".parse().unwrap() }
}

fn world() -> World {
    let world = World::with(&[VAULT]);
    world.vaults.set_secret(VAULT, "apple", "1");
    world.vaults.create_key(VAULT, "key", "EC");
    world.vaults.create_certificate(VAULT, "certificate");
    world
}

/// Every way in which a vault is asked, once each.
async fn ask_everything(vault: &Vault) -> Vec<(&'static str, Error)> {
    let item = item();
    let results = [
        ("list", vault.list(Kind::Secrets).try_collect::<Vec<_>>().await.map(drop)),
        ("list keys", vault.list(Kind::Keys).try_collect::<Vec<_>>().await.map(drop)),
        ("list certificates", vault.list(Kind::Certificates).try_collect::<Vec<_>>().await.map(drop)),
        ("list deleted", vault.list_deleted(Kind::Secrets).try_collect::<Vec<_>>().await.map(drop)),
        ("versions", vault.current(&item, None).await.map(drop)),
        ("back up", vault.back_up(&item).await.map(drop)),
        ("restore", vault.restore(&item, &Sealed::new(b"canary-backup".to_vec())).await.map(drop)),
        ("recover", vault.recover(&item).await.map(drop)),
        ("look", vault.deleted(&item).await.map(drop)),
        ("delete", vault.delete(&item).await),
        ("purge", vault.purge(&item).await),
    ];
    results.into_iter().filter_map(|(what, result)| Some((what, result.err()?))).collect()
}

/// How many ways there are.
const EVERYTHING: usize = 11;

fn of_listings(errors: Vec<(&'static str, Error)>) -> Vec<(&'static str, Error)> {
    let is_listing = |what: &str| what.starts_with("list") || what == "versions";
    let listings: Vec<_> = errors.into_iter().filter(|(what, _)| is_listing(what)).collect();
    assert_eq!(listings.len(), 5, "{listings:?}");
    listings
}

fn assert_all_refused(errors: &[(&str, Error)], words: &str, case: &str) {
    for (what, error) in errors {
        assert_eq!(error.kind(), ErrorKind::Refused, "{case}, {what}: {error:?}");
        let message = error.message();
        assert!(message.contains(VAULT) && message.contains(words), "{case}, {what}: {message}");
        assert!(message.contains("what answers in the vault's place"), "{case}, {what}: {message}");
    }
}

fn is_listing(request: &Request) -> bool {
    request.method() == Method::Get
}

/// A page of no rows that goes on there.
fn page(next: &str) -> Reply {
    reply(200, &[], format!(r#"{{"value":[],"nextLink":"{next}"}}"#))
}

#[tokio::test(start_paused = true)]
async fn a_next_link_to_another_host_port_or_scheme_is_not_followed() {
    for link in [
        "https://evil.example/secrets?api-version=2025-07-01",
        "https://contoso-prod.vault.azure.net:8443/secrets",
        "http://contoso-prod.vault.azure.net/secrets",
        "http://contoso-prod.vault.azure.net:443/secrets",
        "https://contoso-dr.vault.azure.net/secrets",
        "https://contoso-prod.vault.azure.net.evil.example/secrets",
        "https://contoso-prod.vault.azure.net@evil.example/secrets",
        "https://127.0.0.1/secrets",
    ] {
        let world = world();
        let impostor = Impostor::before(&world, move |request| is_listing(request).then(|| page(link)));
        let errors = ask_everything(&impostor.vault()).await;
        let listings = of_listings(errors);
        assert_all_refused(&listings, "leads to", link);
        impostor.assert_nothing_left_home();
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let world = world();
        let to = [("location", "https://evil.example/secrets/restore")];
        let impostor = Impostor::before(&world, move |request| {
            request.headers().get_optional_str(&"authorization".into()).map(|_| reply(status, &to, ""))
        });
        let errors = ask_everything(&impostor.vault()).await;
        assert_eq!(errors.len(), EVERYTHING, "{status}: {errors:?}");
        assert_all_refused(&errors, &format!("({status}) leads somewhere else"), "redirect");
        impostor.assert_nothing_left_home();
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_is_given_to_a_challenge_for_another_resource() {
    let tenant = r#"Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000""#;
    for resource in [
        r#", resource="https://evil.example""#,
        r#", resource="https://vault.azure.net.evil.example""#,
        r#", resource="https://azure.net""#,
        r#", resource="https://management.azure.com""#,
        r#", resource="http://vault.azure.net""#,
        r#", scope="https://storage.azure.com/.default""#,
        r#", resource="vault.azure.net""#,
        r#", resource="""#,
        r#", resource="https://vault.azure.net"#,
        "",
    ] {
        let challenge = format!("{tenant}{resource}");
        let world = world();
        let impostor = Impostor::before(&world, move |_| Some(reply(401, &[("www-authenticate", &challenge)], "")));
        let errors = ask_everything(&impostor.vault()).await;
        assert_eq!(errors.len(), EVERYTHING, "{resource}: {errors:?}");
        assert_all_refused(&errors, "asks for a token of", resource);
        impostor.assert_nothing_left_home();
        assert_eq!(impostor.scopes(), Vec::<String>::new(), "{resource}");
        assert_eq!((impostor.tokens(), impostor.bodies()), (0, 0), "{resource}");
    }
}

/// The vault asked for the right token at first, and changes its mind.
#[tokio::test(start_paused = true)]
async fn no_other_token_is_given_when_the_challenge_changes() {
    let world = world();
    let impostor = Impostor::before(&world, |request| {
        let challenge = [("www-authenticate", r#"Bearer resource="https://evil.example""#)];
        (request.url().path() == "/keys").then(|| reply(401, &challenge, ""))
    });
    let vault = impostor.vault();
    let sound: Vec<_> = vault.list(Kind::Secrets).try_collect().await.unwrap();
    assert!(!sound.is_empty());
    let error = vault.list(Kind::Keys).try_collect::<Vec<_>>().await.unwrap_err();
    assert_all_refused(&[("list keys", error)], "asks for a token of \"https://evil.example\"", "changed");
    assert!(impostor.scopes().iter().all(|scope| scope == "https://vault.azure.net/.default"));
}

#[tokio::test(start_paused = true)]
async fn a_401_without_a_challenge_ends_with_a_sentence() {
    let world = world();
    let impostor = Impostor::before(&world, |_| Some(reply(401, &[], "")));
    let errors = ask_everything(&impostor.vault()).await;
    assert_eq!(errors.len(), EVERYTHING);
    assert!(errors.iter().all(|(_, error)| error.kind() == ErrorKind::Unauthenticated), "{errors:?}");
    assert_eq!((impostor.tokens(), impostor.bodies()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_given_up_at_64_megabytes() {
    for status in [200, 403, 404, 500] {
        let world = world();
        let impostor = Impostor::before(&world, move |_| {
            let part = Bytes::from(vec![b' '; 1024 * 1024]);
            Some(impostor::streaming(status, stream::repeat_with(move || Ok(part.clone())).boxed()))
        });
        let vault = impostor.vault();
        let error = vault.back_up(&item()).await.unwrap_err();
        assert_all_refused(&[("back up", error)], "longer than 64 MB", "endless");
        let error = vault.list(Kind::Secrets).try_collect::<Vec<_>>().await.unwrap_err();
        assert_all_refused(&[("list", error)], "longer than 64 MB", "endless");
        assert_eq!(impostor.requests(), 2, "such an answer is not asked for again");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_key_vaults_is_never_an_empty_vault() {
    let row = |id: &str| format!(r#"{{"value":[{{"id":"{id}"}}],"nextLink":null}}"#);
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"{".to_vec(),
        b"{\"value\":null}".to_vec(),
        b"{\"value\":7,\"nextLink\":null}".to_vec(),
        b"{\"value\":[{}],\"nextLink\":null}".to_vec(),
        b"<html>Sign in to the network</html>".to_vec(),
        vec![0xff; 4096],
        row("https://contoso-prod.vault.azure.net/secrets/../../etc").into_bytes(),
        row("https://contoso-prod.vault.azure.net/secrets/a%2fb").into_bytes(),
        row("https://contoso-prod.vault.azure.net/secrets").into_bytes(),
        row("secrets/apple").into_bytes(),
        b"{\"value\":[],\"nextLink\":\"no url\"}".to_vec(),
        b"{\"value\":[],\"nextLink\":\"//evil.example/secrets\"}".to_vec(),
        vec![b'['; 1_000_000],
    ];
    for body in bodies {
        let case: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        let world = world();
        let impostor = Impostor::before(&world, {
            let body = Bytes::from(body);
            move |request| is_listing(request).then(|| reply(200, &[], body.clone()))
        });
        let start = Instant::now();
        let vault = impostor.vault();
        let error = vault.list(Kind::Secrets).try_collect::<Vec<_>>().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Refused), "{case}: {error:?}");
        assert!(error.message().contains(VAULT), "{case}: {error:?}");
        assert!(error.message().chars().count() < 400, "{case}: {error:?}");
        assert!(start.elapsed() <= Duration::from_secs(20), "{case}: {:?}", start.elapsed());
        let backup = world.back_up_from(&vault, &world.repository(), &world.backup_options()).await;
        assert!(backup.is_err(), "{case}: {backup:?}");
        assert_eq!(world.blobs().await, Vec::<String>::new(), "{case}");
        impostor.assert_nothing_left_home();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_always_breaks_off_is_given_up_within_the_deadline() {
    let world = world();
    let impostor = Impostor::before(&world, |_| {
        let broken = Err(azure_core::Error::with_message(SdkErrorKind::Io, "the wire was cut"));
        Some(impostor::streaming(200, stream::iter([Ok(Bytes::from_static(b"{\"value\":[")), broken]).boxed()))
    });
    let start = Instant::now();
    let error = impostor.vault().list(Kind::Secrets).try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("broke off its answer"), "{error:?}");
    assert!(start.elapsed() <= DEADLINE, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_goes_round_in_circles_ends() {
    for steps in [1, 2, 5] {
        let world = world();
        let impostor = Impostor::before(&world, move |request| {
            let query = request.url().query().unwrap_or_default();
            let step: u32 = query.rsplit_once("step=").map_or(0, |(_, step)| step.parse().unwrap());
            is_listing(request)
                .then(|| page(&format!("{HOME}:443{}?step={}", request.url().path(), (step + 1) % steps)))
        });
        let errors = ask_everything(&impostor.vault()).await;
        let listings = of_listings(errors);
        assert_all_refused(&listings, "the listing has no end", "circle");
        assert!(impostor.requests() < 100, "{}", impostor.requests());
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_always_has_another_page_ends() {
    let world = world();
    let impostor = Impostor::before(&world, |request| {
        let query = request.url().query().unwrap_or_default();
        let step: u32 = query.rsplit_once("step=").map_or(0, |(_, step)| step.parse().unwrap());
        Some(page(&format!("{HOME}/secrets?step={}", step + 1)))
    });
    let error = impostor.vault().list(Kind::Secrets).try_collect::<Vec<_>>().await.unwrap_err();
    assert_all_refused(&[("list", error)], "the listing has no end", "endless");
    assert!(impostor.requests() <= 40_001, "{}", impostor.requests());
}

#[tokio::test(start_paused = true)]
async fn a_lie_about_one_kind_does_not_keep_the_others_from_being_backed_up() {
    let world = world();
    let impostor = Impostor::before(&world, |request| {
        (request.url().path() == "/keys").then(|| page("https://evil.example/keys"))
    });
    let header = world.back_up_from(&impostor.vault(), &world.repository(), &world.backup_options()).await.unwrap();
    assert_eq!((header.status, header.counts.read), (Status::PartiallySucceeded, 2), "{:?}", header.failures);
    let [failure] = &header.failures[..] else { panic!("{:?}", header.failures) };
    assert_eq!((failure.kind, failure.name.as_deref(), &*failure.code), (Kind::Keys, None, "Refused"));
    assert!(failure.reason.contains("https://evil.example"), "{}", failure.reason);
    impostor.assert_nothing_left_home();
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_blobs_that_stays_on_one_page_ends() {
    let page = "<EnumerationResults><Blobs></Blobs><NextMarker>2!same</NextMarker></EnumerationResults>";
    let url = "https://contosobackups.blob.core.windows.net/backups".parse().unwrap();
    let transport = Transport::new(Arc::new(Parrot(page)));
    let store = AzureStore::new(&url, Arc::new(crate::azurite::Identity), transport).unwrap();
    let error = store.list("vaults/", None).try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("does not go on") && error.message().contains("Check that"), "{error}");
    store.folders("vaults/").try_collect::<Vec<_>>().await.unwrap_err();
}
