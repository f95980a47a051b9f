//! Access tokens.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{Directory, Identity};

/// How many verified tokens are remembered before the memory starts anew.
const REMEMBERED_TOKENS: usize = 1024;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The resource it is for, without a trailing slash.
    pub aud: String,
    /// The issuer: `https://sts.windows.net/{tenant}/`.
    pub iss: String,
    /// Issued at, unix seconds.
    pub iat: i64,
    /// Not valid before, unix seconds.
    pub nbf: i64,
    /// Expires, unix seconds.
    pub exp: i64,
    /// Application id.
    pub appid: String,
    /// Object id.
    pub oid: String,
    /// Subject; equal to the object id.
    pub sub: String,
    /// Tenant id.
    pub tid: String,
    /// Token format; always `1.0`.
    pub ver: String,
    /// What tests call the caller. Not part of the token.
    #[serde(skip)]
    pub name: String,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// Not a token of this directory, or changed on the way.
    Forged,
    /// Its time is over, or has not come.
    Expired,
}

impl Directory {
    /// A token for `identity` that is good for `resource` (a trailing slash is dropped).
    pub fn mint(&self, identity: &Identity, resource: &str) -> String {
        let now = self.0.clock.now();
        let lifetime = self.state().token_lifetime.as_secs() as i64;
        self.sign(&Claims {
            aud: resource.trim_end_matches('/').to_owned(),
            iss: format!("https://sts.windows.net/{}/", identity.tenant),
            iat: now,
            nbf: now,
            exp: now + lifetime,
            appid: identity.client_id.to_string(),
            oid: identity.object_id.to_string(),
            sub: identity.object_id.to_string(),
            tid: identity.tenant.to_string(),
            ver: "1.0".to_owned(),
            name: identity.name.clone(),
        })
    }

    /// Checks signature and times. Audience and issuer are for the caller to judge.
    ///
    /// # Errors
    /// [`BadToken`] says why the token is refused.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, BadToken> {
        let claims = self.authentic(token)?;
        let now = self.0.clock.now();
        if now < claims.nbf || now >= claims.exp {
            return Err(BadToken::Expired);
        }
        Ok(claims)
    }

    pub(super) fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("claims are plain data");
        let mut token = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256","kid":"simulator"}"#);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = hmac::sign(&self.0.signing_key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// The claims, if this directory signed them. Remembers the answer: a client sends one token very often.
    fn authentic(&self, token: &str) -> Result<Arc<Claims>, BadToken> {
        let mut verified = self.0.verified.lock().expect("a holder of the token lock panicked");
        if let Some(claims) = verified.get(token) {
            return Ok(claims.clone());
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Forged)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken::Forged)?;
        hmac::verify(&self.0.signing_key, signed.as_bytes(), &signature).map_err(|_| BadToken::Forged)?;
        let (_, claims) = signed.split_once('.').ok_or(BadToken::Forged)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| BadToken::Forged)?;
        let mut claims: Claims = serde_json::from_slice(&claims).map_err(|_| BadToken::Forged)?;
        claims.name = self.name_of(&claims.oid).unwrap_or_else(|| claims.oid.clone());
        let claims = Arc::new(claims);
        if verified.len() >= REMEMBERED_TOKENS {
            verified.clear();
        }
        verified.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }
}
