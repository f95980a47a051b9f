//! The managed-identity endpoint of App Service and Functions (`IDENTITY_ENDPOINT`), as a function.

use std::collections::HashMap;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{Directory, Identity};

/// The only api-version that App Service documents for `IDENTITY_ENDPOINT`.
const API_VERSION: &str = "2019-08-01";

impl Directory {
    /// Answers one request to the endpoint; somebody else owns the socket. The path does not matter.
    ///
    /// 401 without the right `X-IDENTITY-HEADER`, 400 for a wrong api-version, a missing resource or an identity the
    /// host does not have, 500 while [`Directory::fail_next`] lasts.
    pub fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        if self.takes_a_failure() {
            return refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "An unexpected error occurred while fetching the AAD Token.",
            );
        }
        let state = self.state();
        if request.method() != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "The endpoint is asked with GET.");
        }
        let header = request.headers().get("x-identity-header").and_then(|it| it.to_str().ok());
        if header != Some(self.identity_header()) {
            return refusal(StatusCode::UNAUTHORIZED, "The X-IDENTITY-HEADER header is missing or wrong.");
        }
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
        if query.get("api-version").map(String::as_str) != Some(API_VERSION) {
            return refusal(StatusCode::BAD_REQUEST, "The api-version is not supported.");
        }
        let Some(resource) = query.get("resource").filter(|it| !it.is_empty()) else {
            return refusal(StatusCode::BAD_REQUEST, "The resource parameter is missing.");
        };
        let Some(identity) = chosen(&query, state.system_assigned.as_ref(), &state.user_assigned) else {
            return refusal(StatusCode::BAD_REQUEST, "Unable to load requested managed identity.");
        };
        let expires_on = self.0.clock.now() + state.token_lifetime.as_secs() as i64;
        drop(state);
        answer(
            StatusCode::OK,
            &json!({
                "access_token": self.mint(&identity, resource),
                // A string: a number is what the real endpoint never sends and clients cannot read.
                "expires_on": expires_on.to_string(),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": identity.client_id.to_string(),
            }),
        )
    }
}

fn chosen(query: &HashMap<String, String>, system: Option<&Identity>, user: &[Identity]) -> Option<Identity> {
    let same = |asked: &String, id: uuid::Uuid| asked.eq_ignore_ascii_case(&id.to_string());
    let all = || user.iter().chain(system);
    let found = if let Some(asked) = query.get("client_id").or(query.get("clientid")) {
        all().find(|it| same(asked, it.client_id))
    } else if let Some(asked) = query.get("principal_id").or(query.get("object_id")) {
        all().find(|it| same(asked, it.object_id))
    } else if query.contains_key("mi_res_id") {
        None
    } else {
        system
    };
    found.cloned()
}

fn refusal(status: StatusCode, message: &str) -> Response<Bytes> {
    answer(status, &json!({"statusCode": status.as_u16(), "message": message}))
}

fn answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=utf-8")
        .body(Bytes::from(body.to_string()))
        .expect("status and header are constants")
}
