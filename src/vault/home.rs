//! No token leaves home: every request of a vault's clients goes to that vault's host, over HTTPS, or not at all.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{
    Context, Request, Url,
    policies::{Policy, PolicyResult},
};

use crate::model::{Cloud, VaultName};

/// A per-try policy that stops requests to any other host. It sits behind the SDK's authorisation, so it is the last to
/// see a request with its token; the next links of a listing come from outside and the SDK follows them anywhere.
#[derive(Debug)]
pub(super) struct Home {
    uri: String,
}

impl Home {
    pub(super) fn new(vault: &VaultName, cloud: Cloud) -> Self {
        Self { uri: vault.uri(cloud) }
    }
}

#[async_trait]
impl Policy for Home {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        match check(request.url(), &self.uri) {
            Ok(()) => next[0].send(context, request, &next[1..]).await,
            Err(why) => Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Other, why)),
        }
    }
}

/// Whether `url` is on the host of `uri`. Key Vault's next links name the port (`:443`).
pub(super) fn check(url: &Url, uri: &str) -> Result<(), String> {
    let host = uri.strip_prefix("https://").unwrap_or(uri);
    let same = url.scheme() == "https"
        && url.host_str().is_some_and(|other| other.eq_ignore_ascii_case(host))
        && matches!(url.port_or_known_default(), Some(443));
    if same {
        return Ok(());
    }
    Err(format!(
        "the vault's answer leads to {:?}, which is not the vault; nothing was sent there. Find out what answers in the \
         vault's place.",
        url.host_str().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_vault_itself_is_home() {
        let home = "https://contoso.vault.azure.net";
        let check = |url: &str| check(&url.parse().unwrap(), home).is_ok();
        assert!(check("https://contoso.vault.azure.net:443/secrets?$skiptoken=x"));
        assert!(check("https://CONTOSO.vault.azure.net/secrets"));
        assert!(!check("http://contoso.vault.azure.net/secrets"));
        assert!(!check("https://contoso.vault.azure.net:8443/secrets"));
        assert!(!check("https://contoso.vault.azure.net.evil.example/secrets"));
        assert!(!check("https://evil.vault.azure.net/secrets"));
    }
}
