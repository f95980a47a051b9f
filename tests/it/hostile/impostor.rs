//! What answers in the vault's place: a transport that lies where a test says so, passes the rest on to the simulated
//! vault, and remembers what it was sent.

use std::sync::{Arc, Mutex};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        AsyncRawResponse, Body, HttpClient, Request, Transport,
        headers::{HeaderName, HeaderValue, Headers},
        response::PinnedStream,
    },
};
use bytes::Bytes;
use keyvault_backup::{
    model::Cloud,
    vault::{Vault, pacing::Pacing},
};
use simulator::{identity::Credential, transport::Door};

use super::VAULT;
use crate::world::World;

/// The one host that may be asked for anything.
pub(super) const HOME: &str = "https://contoso-prod.vault.azure.net";

pub(super) type Reply = azure_core::Result<AsyncRawResponse>;

type Lie = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

pub(super) struct Impostor {
    sound: Door,
    lie: Lie,
    credential: Arc<Listening>,
    seen: Mutex<Vec<Seen>>,
}

/// What one request gave away.
struct Seen {
    origin: String,
    token: bool,
    body: bool,
}

impl Impostor {
    /// Answers with `lie` where it has an answer, and else with what the world's vault says.
    pub(super) fn before(world: &World, lie: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Arc<Self> {
        let credential = Credential::new(world.vaults.directory(), &world.identity);
        Arc::new(Self {
            sound: world.door.clone(),
            lie: Box::new(lie),
            credential: Arc::new(Listening { credential, scopes: Mutex::default() }),
            seen: Mutex::default(),
        })
    }

    pub(super) fn vault(self: &Arc<Self>) -> Vault {
        let transport = Transport::new(self.clone());
        let (name, credential) = (VAULT.parse().unwrap(), self.credential.clone());
        Vault::new(name, Cloud::Public, credential, &transport, Pacing::new(10_000.0)).unwrap()
    }

    pub(super) fn assert_nothing_left_home(&self) {
        for seen in self.seen.lock().unwrap().iter() {
            assert_eq!(seen.origin, HOME);
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// How many requests had a token.
    pub(super) fn tokens(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.token).count()
    }

    /// How many requests had a body.
    pub(super) fn bodies(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.body).count()
    }

    /// What tokens were asked for.
    pub(super) fn scopes(&self) -> Vec<String> {
        self.credential.scopes.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl HttpClient for Impostor {
    async fn execute_request(&self, request: &Request) -> Reply {
        let body = !matches!(request.body(), Body::Bytes(bytes) if bytes.is_empty());
        let token = request.headers().get_optional_str(&"authorization".into()).is_some();
        let origin = request.url().origin().ascii_serialization();
        self.seen.lock().unwrap().push(Seen { origin, token, body });
        match (self.lie)(request) {
            Some(reply) => reply,
            None => self.sound.execute_request(request).await,
        }
    }
}

impl std::fmt::Debug for Impostor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Impostor")
    }
}

/// A credential that remembers for what it gave tokens.
#[derive(Debug)]
struct Listening {
    credential: Credential,
    scopes: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl TokenCredential for Listening {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        self.scopes.lock().unwrap().extend(scopes.iter().map(ToString::to_string));
        self.credential.get_token(scopes, options).await
    }
}

pub(super) fn reply(status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Reply {
    Ok(AsyncRawResponse::from_bytes(status.into(), all(headers), body))
}

pub(super) fn streaming(status: u16, body: PinnedStream) -> Reply {
    Ok(AsyncRawResponse::new(status.into(), Headers::new(), body))
}

fn all(headers: &[(&'static str, &str)]) -> Headers {
    let mut all = Headers::new();
    for (name, value) in headers {
        all.insert(HeaderName::from_static(name), HeaderValue::from((*value).to_owned()));
    }
    all
}

/// A server that gives one answer to everything.
#[derive(Debug)]
pub(super) struct Parrot(pub(super) &'static str);

#[async_trait::async_trait]
impl HttpClient for Parrot {
    async fn execute_request(&self, _: &Request) -> Reply {
        reply(200, &[], self.0)
    }
}
