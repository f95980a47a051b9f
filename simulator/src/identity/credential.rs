//! The same identities for tests that never open a socket.

use azure_core::{
    Error,
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::StatusCode,
    time::{Duration, OffsetDateTime},
};

use super::{Directory, Identity};

/// Gives the SDK tokens of one identity, straight from the directory; fails while [`Directory::fail_next`] lasts.
#[derive(Clone, Debug)]
pub struct Credential {
    directory: Directory,
    identity: Identity,
}

impl Credential {
    /// A credential that signs in as `identity`.
    pub fn new(directory: &Directory, identity: &Identity) -> Self {
        Self { directory: directory.clone(), identity: identity.clone() }
    }
}

#[async_trait::async_trait]
impl TokenCredential for Credential {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if self.directory.takes_a_failure() {
            let answer = ErrorKind::HttpResponse {
                status: StatusCode::InternalServerError,
                error_code: None,
                raw_response: None,
            };
            let answer = Error::with_message(answer, "The request failed.");
            return Err(Error::with_error(ErrorKind::Credential, answer, "The endpoint gave no token."));
        }
        let resource = scopes.first().copied().unwrap_or_default().trim_end_matches("/.default");
        let token = self.directory.mint(&self.identity, resource);
        let lifetime = self.directory.state().token_lifetime.as_secs() as i64;
        // The SDK compares with the clock of the machine, not with the simulator's.
        Ok(AccessToken::new(token, OffsetDateTime::now_utc() + Duration::seconds(lifetime)))
    }
}
