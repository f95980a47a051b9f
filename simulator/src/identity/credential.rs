//! The same identities for tests that never open a socket.

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    time::{Duration, OffsetDateTime},
};

use super::{Directory, Identity};

/// Gives the SDK tokens of one identity, straight from the directory.
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
        let resource = scopes.first().copied().unwrap_or_default().trim_end_matches("/.default");
        let token = self.directory.mint(&self.identity, resource);
        let lifetime = self.directory.state().token_lifetime.as_secs() as i64;
        // The SDK compares with the clock of the machine, not with the simulator's.
        Ok(AccessToken::new(token, OffsetDateTime::now_utc() + Duration::seconds(lifetime)))
    }
}
