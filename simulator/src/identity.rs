//! Who calls: identities, the access tokens they get, and the two endpoints that hand them out: that of a managed
//! identity, and Entra's own for workloads outside Azure.
//!
//! Tokens are JSON web tokens as Entra issues them, except that they are signed (HS256) with a key that only this
//! [`Directory`] knows. Storage emulators that check claims but no signature accept them too.

mod credential;
mod endpoint;
mod sign_in;
mod token;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Clock;
pub use credential::Credential;
pub use sign_in::LOGIN_HOST;
pub use token::{BadToken, Claims};

/// One service principal or managed identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What tests call it.
    pub name: String,
    /// The application id (`appid` in tokens, `client_id` at the endpoint).
    pub client_id: Uuid,
    /// The object id (`oid` in tokens, `principal_id` at the endpoint): what roles are assigned to.
    pub object_id: Uuid,
    /// The tenant it lives in.
    pub tenant: Uuid,
}

/// The tenant: its identities, its signing key, and the managed-identity endpoint of one host. Clones share it.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    clock: Clock,
    tenant: Uuid,
    signing_key: aws_lc_rs::hmac::Key,
    identity_header: String,
    state: Mutex<State>,
    verified: Mutex<HashMap<String, Arc<Claims>>>,
}

struct State {
    identities: HashMap<String, Identity>,
    system_assigned: Option<Identity>,
    user_assigned: Vec<Identity>,
    /// Who is trusted with which assertion.
    federated: Vec<(Identity, String)>,
    token_lifetime: Duration,
    failures_left: u32,
    requests: u64,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("tenant", &self.0.tenant).finish_non_exhaustive()
    }
}

impl Directory {
    /// An empty tenant. Its signing key and the endpoint's header secret are random.
    pub fn new(clock: Clock) -> Self {
        let secret: [u8; 32] = rand::random();
        Self(Arc::new(Inner {
            clock,
            tenant: guid("tenant", "simulator"),
            signing_key: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret),
            identity_header: Uuid::new_v4().simple().to_string().to_uppercase(),
            state: Mutex::new(State {
                identities: HashMap::new(),
                system_assigned: None,
                user_assigned: Vec::new(),
                federated: Vec::new(),
                // Entra gives managed identities tokens for about a day.
                token_lifetime: Duration::from_secs(24 * 3600),
                failures_left: 0,
                requests: 0,
            }),
            verified: Mutex::default(),
        }))
    }

    /// The tenant's id.
    pub fn tenant(&self) -> Uuid {
        self.0.tenant
    }

    /// The identity of that name, made on first use. Its ids depend on nothing but the name.
    pub fn identity(&self, name: &str) -> Identity {
        let tenant = self.0.tenant;
        let new = || Identity {
            name: name.to_owned(),
            client_id: guid("client", name),
            object_id: guid("object", name),
            tenant,
        };
        self.state().identities.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// Lets the endpoint hand out tokens for `identity` when a request names none.
    pub fn set_system_assigned(&self, identity: Option<&Identity>) {
        self.state().system_assigned = identity.cloned();
    }

    /// Lets the endpoint hand out tokens for `identity` when a request names it.
    pub fn attach(&self, identity: &Identity) {
        self.state().user_assigned.push(identity.clone());
    }

    /// How long new tokens are valid (default 24 h).
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.state().token_lifetime = lifetime;
    }

    /// Makes the endpoint answer 500 to the next `times` requests, and fail each [`Credential`] likewise.
    pub fn fail_next(&self, times: u32) {
        self.state().failures_left = times;
    }

    /// How many requests the endpoint has had.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// The value the host puts into `IDENTITY_HEADER`; requests without it are refused.
    pub fn identity_header(&self) -> &str {
        &self.0.identity_header
    }

    /// The name behind an object id, for logs that people read.
    pub(crate) fn name_of(&self, object_id: &str) -> Option<String> {
        let state = self.state();
        state.identities.values().find(|it| it.object_id.to_string() == object_id).map(|it| it.name.clone())
    }

    /// Counts a request; whether it is one that is to fail.
    fn takes_a_failure(&self) -> bool {
        let mut state = self.state();
        state.requests += 1;
        let fails = state.failures_left > 0;
        state.failures_left = state.failures_left.saturating_sub(1);
        fails
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("a holder of the directory's lock panicked")
    }
}

/// A GUID that depends on nothing but its arguments, so that failures read the same in every run.
fn guid(purpose: &str, name: &str) -> Uuid {
    let digest = Sha256::digest(format!("{purpose}/{name}"));
    uuid::Builder::from_slice(&digest[..16])
        .expect("sixteen bytes make a GUID")
        .with_version(uuid::Version::Random)
        .into_uuid()
}
