//! The door of one vault: no token leaves home, and nothing that answers in the vault's place can make this program run
//! for ever or out of memory.

use std::{collections::HashSet, fmt, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    error::ErrorKind,
    http::{
        AsyncRawResponse, Context, Request, StatusCode, Transport, Url,
        headers::WWW_AUTHENTICATE,
        policies::{Policy, PolicyResult},
    },
};
use bytes::Bytes;
use futures::StreamExt as _;

use crate::model::{Cloud, VaultName};

/// The longest answer that is read, in bytes. The longest of Key Vault's is a backup: 500 versions of 25 KB, twice in
/// base64, come to some 23 MB (Microsoft Learn, "Azure Key Vault service limits").
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// More pages than any listing has: a million items at the 25 that Key Vault puts on a page.
const MOST_PAGES: usize = 40_000;

/// The transport of a vault's clients, behind the SDK's authorisation: the last to see a request with its token and the
/// first to see its answer. The SDK would follow the next links of a listing anywhere, and gives a token to whoever
/// asks for one of a domain above its own.
#[derive(Debug)]
pub(super) struct Home {
    uri: String,
    transport: Transport,
}

/// Why nothing is sent to, or believed of, what answers in the vault's place.
#[derive(Debug)]
pub(super) struct NotHome(String);

impl fmt::Display for NotHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotHome {}

impl Home {
    /// The transport for the clients of this vault.
    pub(super) fn of(vault: &VaultName, cloud: Cloud, transport: &Transport) -> Transport {
        Transport::with_policy(Arc::new(Self { uri: vault.uri(cloud), transport: transport.clone() }))
    }
}

#[async_trait]
impl Policy for Home {
    async fn send(&self, context: &Context, request: &mut Request, _: &[Arc<dyn Policy>]) -> PolicyResult {
        let refuse = |why| azure_core::Error::new(ErrorKind::Other, NotHome(why));
        check(request.url(), &self.uri).map_err(refuse)?;
        let response = self.transport.send(context, request).await?;
        if response.status() == StatusCode::Unauthorized
            && let Some(challenge) = response.headers().get_optional_str(&WWW_AUTHENTICATE)
        {
            check_challenge(challenge, &self.uri).map_err(refuse)?;
        }
        Ok(bounded(response, LONGEST_ANSWER))
    }
}

/// The response, whose body fails as soon as it is longer than `longest` bytes.
fn bounded(response: AsyncRawResponse, longest: usize) -> AsyncRawResponse {
    let (status, headers, body) = response.deconstruct();
    let mut length = 0_usize;
    let body = body.map(move |part: azure_core::Result<Bytes>| {
        let part = part?;
        length = length.saturating_add(part.len());
        if length <= longest {
            return Ok(part);
        }
        let why = format!(
            "the answer is longer than {} MB, which no answer of Key Vault is. Find out what answers in the vault's place.",
            longest / 1024 / 1024
        );
        Err(azure_core::Error::new(ErrorKind::Other, NotHome(why)))
    });
    AsyncRawResponse::new(status, headers, body.boxed())
}

/// Whether the challenge asks for a token of Key Vault: `resource="https://vault.azure.net"`, or the same as a scope.
fn check_challenge(challenge: &str, uri: &str) -> Result<(), String> {
    let home = uri.split_once('.').map(|(_, domain)| format!("https://{domain}")).unwrap_or_default();
    let asked = ["resource=\"", "scope=\""].into_iter().find_map(|field| {
        let (_, value) = challenge.split_once(field)?;
        value.split_once('"').map(|(value, _)| value)
    });
    let same = |asked: &str| asked.strip_suffix("/.default").unwrap_or(asked).trim_end_matches('/') == home;
    if asked.is_some_and(same) {
        return Ok(());
    }
    Err(format!(
        "the vault asks for a token of {:?} instead of {home:?}; none was sent. Find out what answers in the vault's place.",
        asked.unwrap_or_default()
    ))
}

/// The next links of one listing, which must end.
pub(super) struct Trail<'a> {
    uri: &'a str,
    seen: HashSet<Url>,
}

impl<'a> Trail<'a> {
    /// A listing of the vault at `uri`.
    pub(super) fn of(uri: &'a str) -> Self {
        Self { uri, seen: HashSet::new() }
    }

    /// Whether the listing may go on at `link`, or why not.
    pub(super) fn follow(&mut self, link: &Url) -> Result<(), String> {
        check(link, self.uri)?;
        if self.seen.len() < MOST_PAGES && self.seen.insert(link.clone()) {
            return Ok(());
        }
        Err("the listing has no end. Find out what answers in the vault's place.".to_owned())
    }
}

/// Whether `url` is on the host of `uri`. Key Vault's next links name the port (`:443`).
fn check(url: &Url, uri: &str) -> Result<(), String> {
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
        url.origin().ascii_serialization()
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

    #[test]
    fn only_a_token_of_key_vault_is_given() {
        let check = |challenge: &str| check_challenge(challenge, "https://contoso.vault.azure.net").is_ok();
        let tenant = "Bearer authorization=\"https://login.microsoftonline.com/t\"";
        assert!(check(&format!("{tenant}, resource=\"https://vault.azure.net\"")));
        assert!(check(&format!("{tenant}, scope=\"https://vault.azure.net/.default\"")));
        for other in ["https://evil.example", "https://azure.net", "https://net", "http://vault.azure.net", ""] {
            assert!(!check(&format!("{tenant}, resource=\"{other}\"")), "{other}");
        }
        assert!(!check(tenant));
    }
}
