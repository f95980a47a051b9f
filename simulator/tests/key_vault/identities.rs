//! The managed-identity endpoint.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use simulator::{clock::Clock, identity::Directory};

use crate::bench::START;

const VAULT: &str = "api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net";

#[test]
fn endpoint_gives_a_token_with_its_end_as_a_string() {
    let directory = Directory::new(Clock::starting_at(START));
    let identity = directory.identity("worker");
    directory.set_system_assigned(Some(&identity));
    directory.set_token_lifetime(Duration::from_secs(3600));
    let body = body(ask(&directory, VAULT));
    let fields: Vec<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["access_token", "expires_on", "resource", "token_type", "client_id"]);
    assert_eq!(body["expires_on"], (START + 3600).to_string());
    let claims = directory.verify(body["access_token"].as_str().expect("a token")).expect("a good token");
    assert_eq!(
        (claims.aud.as_str(), claims.exp, claims.name.as_str()),
        ("https://vault.azure.net", START + 3600, "worker")
    );
    assert_eq!(claims.iss, format!("https://sts.windows.net/{}/", directory.tenant()));
}

#[test]
fn endpoint_knows_attached_identities_by_either_id() {
    let directory = Directory::new(Clock::starting_at(START));
    let identity = directory.identity("worker");
    let by_client = format!("{VAULT}&client_id={}", identity.client_id);
    assert_eq!(ask(&directory, VAULT).status(), 400, "no identity at all");
    assert_eq!(ask(&directory, &by_client).status(), 400, "not attached");
    directory.attach(&identity);
    assert_eq!(ask(&directory, VAULT).status(), 400, "none named, none system-assigned");
    for query in [
        by_client,
        format!("{VAULT}&principal_id={}", identity.object_id),
        format!("{VAULT}&object_id={}", identity.object_id),
    ] {
        assert_eq!(body(ask(&directory, &query))["client_id"], identity.client_id.to_string());
    }
    assert_eq!(ask(&directory, &format!("{VAULT}&client_id={}", identity.object_id)).status(), 400);
}

#[test]
fn endpoint_refuses_wrong_secret_version_and_missing_resource() {
    let directory = Directory::new(Clock::starting_at(START));
    directory.set_system_assigned(Some(&directory.identity("worker")));
    let without = Request::get(format!("http://127.0.0.1/token?{VAULT}")).body(Bytes::new()).expect("a request");
    assert_eq!(directory.answer(without).status(), 401);
    assert_eq!(ask(&directory, "api-version=2017-09-01&resource=https%3A%2F%2Fvault.azure.net").status(), 400);
    assert_eq!(ask(&directory, "api-version=2019-08-01").status(), 400);
    directory.fail_next(1);
    assert_eq!(ask(&directory, VAULT).status(), 500);
    assert_eq!(ask(&directory, VAULT).status(), 200);
    assert_eq!(directory.requests(), 5);
}

fn ask(directory: &Directory, query: &str) -> Response<Bytes> {
    let request = Request::get(format!("http://127.0.0.1/msi/token?{query}"))
        .header("X-IDENTITY-HEADER", directory.identity_header())
        .body(Bytes::new());
    directory.answer(request.expect("a request"))
}

fn body(response: Response<Bytes>) -> Value {
    assert_eq!(response.status(), 200);
    serde_json::from_slice(response.body()).expect("JSON")
}
