//! The token endpoint of Entra, for one grant: client credentials, with the assertion of a workload that an identity
//! trusts instead of a secret.

use std::collections::HashMap;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::{Directory, Identity};

/// The host that signs in for the public cloud.
pub const LOGIN_HOST: &str = "login.microsoftonline.com";

/// What an assertion says that it is (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl Directory {
    /// From now on `identity` trusts whoever presents `assertion`, as an identity with a federated credential trusts
    /// the token of a service account in Kubernetes. Entra would check its issuer, subject and signature; here it is
    /// that text or it is not.
    pub fn federate(&self, identity: &Identity, assertion: &str) {
        self.state().federated.push((identity.clone(), assertion.to_owned()));
    }

    /// Whether any identity is federated: without one nobody has a reason to ask [`LOGIN_HOST`].
    pub fn is_federated(&self) -> bool {
        !self.state().federated.is_empty()
    }

    /// Answers one request to [`LOGIN_HOST`]; somebody else owns the socket.
    ///
    /// 404 for another path than that of the tenant's tokens; else, in the form of Entra, 400 for another tenant, grant,
    /// scope or client, and 401 for an assertion that this client does not trust.
    pub fn sign_in(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path();
        let Some(tenant) = path.strip_prefix('/').and_then(|path| path.strip_suffix("/oauth2/v2.0/token")) else {
            return answer(StatusCode::NOT_FOUND, &json!({"error": format!("The simulator does not know {path}.")}));
        };
        if request.method() != Method::POST {
            return refusal(StatusCode::BAD_REQUEST, 900561, "The endpoint only accepts POST requests.");
        }
        if tenant != self.tenant().to_string() {
            return refusal(StatusCode::BAD_REQUEST, 90002, &format!("Tenant '{tenant}' not found."));
        }
        let form: HashMap<String, String> = url::form_urlencoded::parse(request.body()).into_owned().collect();
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if field("grant_type") != "client_credentials" {
            return refusal(StatusCode::BAD_REQUEST, 70003, "The app requested an unsupported grant type.");
        }
        let Some(resource) = field("scope").strip_suffix("/.default").filter(|resource| !resource.contains(' ')) else {
            return refusal(StatusCode::BAD_REQUEST, 1002012, "The provided value for scope is not valid.");
        };
        let client = field("client_id");
        let trusted = self.state().federated.clone();
        let mut known = trusted.iter().filter(|(identity, _)| identity.client_id.to_string() == client).peekable();
        if known.peek().is_none() {
            let text = format!("Application with identifier '{client}' was not found in the directory.");
            return refusal(StatusCode::BAD_REQUEST, 700016, &text);
        }
        let is_jwt = field("client_assertion_type") == ASSERTION_TYPE;
        let Some((identity, _)) = known.find(|(_, assertion)| is_jwt && assertion == field("client_assertion")) else {
            let text = "No matching federated identity record found for presented assertion.";
            return refusal(StatusCode::UNAUTHORIZED, 700213, text);
        };
        let lifetime = self.state().token_lifetime.as_secs();
        let token = json!({
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            "access_token": self.mint(identity, resource),
        });
        answer(StatusCode::OK, &token)
    }
}

/// "Microsoft Entra authentication and authorization error codes" has the codes.
fn refusal(status: StatusCode, code: u32, text: &str) -> Response<Bytes> {
    let error = if status == StatusCode::UNAUTHORIZED { "invalid_client" } else { "invalid_request" };
    let text = format!("AADSTS{code}: {text}");
    answer(status, &json!({"error": error, "error_description": text, "error_codes": [code]}))
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=utf-8")
        .body(Bytes::from(body.to_string()))
        .expect("status and header are constants")
}
