//! Azure Key Vault as far as backing up and restoring needs it: all hosts `*.vault.azure.net` at once.
//!
//! Built from recorded traffic (`simulator/recordings`, replayed by `tests/key_vault/recordings.rs`). What it does not know, it
//! refuses with 501 `SimulatorDoesNotKnow` and remembers in [`KeyVaults::unknown_requests`].
//!
//! Known differences from Azure and assumptions where nothing was recorded:
//!
//! * The public halves of created keys are random bytes; there is no cryptography with keys. A certificate is real DER
//!   but always of one EC key; an imported PKCS #12 file is not opened but answered with a new self-signed certificate
//!   (PEM is taken over). The managed secret holds random bytes, not a PKCS #12 file.
//! * Restore counts in the limit of 300 (with set and import). Windows of ten seconds are fixed, not sliding; refused
//!   requests do not count.
//! * More than 500 versions: backup answers 400 `BadParameter`. `maxresults` out of range, values over 25 KB and a
//!   certificate's name taken by a key: code known or likely, text made up.
//! * Backups of another subscription or geography: 400 `BadParameter`, `Cannot decrypt backup blob`; changed payloads
//!   answer the same. A blob of another kind: 400 `Malformed backup blob`, `… invalid or corrupt version.`
//! * Pages look at rows of items, in Azure partly at rows of versions: where a page ends early is not the same.
//! * Purging in a vault with purge protection: 403 `Forbidden` with the text seen in public reports, no `innererror`.
//! * `ObjectIsBeingRecovered` (set, recover or purge while a recovery runs), set while a purge goes on: texts made up.
//! * The managed key and secret of a deleted certificate are listed as deleted, managed; recover and purge refuse them.
//! * Reading a deleted secret needs `readMetadata`, not `getSecret`. Pending certificates cannot be backed up (404).
//! * A page of deleted items looks at rows of deleted items only. Attributes `hsmPlatform` and `attestation`, the field
//!   `previousVersion`, and the headers `x-ms-keyvault-rbac-cache` and those of IIS are missing.

mod access;
mod answer;
mod backup;
mod body;
mod bundle;
mod certificates;
mod control;
mod fault;
mod items;
mod journal;
mod keys;
mod model;
mod options;
mod page;
mod policy;
mod refusal;
mod route;
mod secrets;
mod seed;
mod snapshot;
mod throttle;
mod vault;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use uuid::Uuid;

pub use access::{ALL_DATA_ACTIONS, DATA_ACTIONS, RESOURCE};
pub use fault::{Effect, Fault};
pub use journal::Logged;
pub use model::{Kind, Operation, Verb};
pub use options::{Delays, Network, PerKind, Permissions, Throttling, VaultOptions, Window};
pub use seed::Seeded;
pub use snapshot::{ItemState, Snapshot, VersionState};

use self::{
    answer::{Answer, Outcome},
    journal::Journal,
    refusal::Refusal,
    route::Route,
    throttle::Quota,
    vault::Vault,
};
use crate::{
    clock::Clock,
    identity::{Claims, Directory},
    mishap::Mishap,
};

/// The domain of every vault.
const DOMAIN: &str = ".vault.azure.net";
/// The service version of the newest recordings that were used throughout.
const SERVICE_VERSION: HeaderValue = HeaderValue::from_static("1.9.713.1");
const NETWORK_INFO: HeaderValue = HeaderValue::from_static("conn_type=Ipv4;addr=192.0.2.1;act_addr_fam=InterNetwork;");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The service: all vaults. Clones share everything.
#[derive(Clone)]
pub struct KeyVaults(Arc<Inner>);

struct Inner {
    clock: Clock,
    directory: Directory,
    vaults: RwLock<HashMap<String, Arc<Host>>>,
    /// What all vaults of one subscription in one region have used together.
    subscriptions: Mutex<HashMap<(Uuid, String), Quota>>,
    journal: Mutex<Journal>,
    faults: Mutex<Vec<Fault>>,
    latency_micros: AtomicU64,
    requests: AtomicU64,
    faults_hit: AtomicU64,
}

/// One vault and what of it never changes.
struct Host {
    options: Arc<options::VaultOptions>,
    region: HeaderValue,
    vault: Mutex<Vault>,
}

impl std::fmt::Debug for KeyVaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyVaults").finish_non_exhaustive()
    }
}

/// What was learned about a request on the way to its answer.
#[derive(Default)]
struct Trace {
    vault: String,
    operation: Option<Operation>,
    name: String,
    identity: String,
    assignment: Option<Uuid>,
    mishap: Option<Mishap>,
}

impl KeyVaults {
    /// A service without vaults that trusts the tokens of `directory`.
    pub fn new(clock: Clock, directory: Directory) -> Self {
        Self(Arc::new(Inner {
            clock,
            directory,
            vaults: RwLock::default(),
            subscriptions: Mutex::default(),
            journal: Mutex::default(),
            faults: Mutex::default(),
            latency_micros: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            faults_hit: AtomicU64::new(0),
        }))
    }

    /// Answers one request to any `*.vault.azure.net` host.
    ///
    /// The host comes from the URI or from the `Host` header. A [`Mishap`] in the extensions of the response is for the
    /// front door to act out.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let latency = self.0.latency_micros.load(Ordering::Relaxed);
        if latency > 0 {
            tokio::time::sleep(Duration::from_micros(latency)).await;
        }
        let mut trace = Trace::default();
        let host = self.host(&request, &mut trace);
        if let Some(queue) = host.as_ref().and_then(|host| host.lock().queue(self.0.clock.now_millis())) {
            tokio::time::sleep(queue).await;
        }
        let outcome = match &host {
            Some(host) => self.serve(host, &request, &mut trace).await,
            None => Err(Refusal::unknown(format_args!("the host '{}'", trace.vault))),
        };
        self.respond(host.as_deref(), &request, outcome, trace)
    }

    fn host<T>(&self, request: &Request<T>, trace: &mut Trace) -> Option<Arc<Host>> {
        let header = || request.headers().get(header::HOST).and_then(|it| it.to_str().ok());
        let host = request.uri().authority().map(|it| it.as_str()).or_else(header).unwrap_or_default();
        trace.vault = host.to_ascii_lowercase();
        let name = trace.vault.strip_suffix(":443").unwrap_or(&trace.vault).strip_suffix(DOMAIN)?;
        let host = self.0.vaults.read().expect("a holder of the vaults panicked").get(name).cloned()?;
        host.options.name.clone_into(&mut trace.vault);
        Some(host)
    }

    async fn serve(&self, host: &Host, request: &Request<Bytes>, trace: &mut Trace) -> Outcome {
        let claims = match access::authenticate(&self.0.directory, request.headers()) {
            Ok(claims) => claims,
            Err(refusal) => {
                if let Ok(route) = Route::of(request) {
                    self.suffer(route.operation, &route.name, false, trace).await?;
                }
                return Err(refusal);
            }
        };
        claims.name.clone_into(&mut trace.identity);
        let route = Route::of(request)?;
        let body = request.body();
        trace.operation = Some(route.operation);
        route.name.clone_into(&mut trace.name);
        let brought = match route.operation.verb {
            Verb::Restore => Some(items::open_backup(&host.options, &route, body)),
            _ => None,
        };
        if let Some((_, item)) = brought.as_ref().and_then(|it| it.as_ref().ok()?.items.first()) {
            item.name.clone_into(&mut trace.name);
        }
        let name = trace.name.clone();
        self.suffer(route.operation, &name, true, trace).await?;
        self.act(host, &claims, &route, body, brought, trace)
    }

    /// What the faults do to a request before it is served.
    async fn suffer(
        &self,
        operation: Operation,
        name: &str,
        has_token: bool,
        trace: &mut Trace,
    ) -> Result<(), Refusal> {
        match self.fault(&trace.vault, operation, name, has_token) {
            Some(Effect::Answer { status, code, retry_after }) => {
                return Err(Effect::refusal(status, &code, retry_after));
            }
            Some(Effect::Words { status, code, inner, message }) => {
                return Err(Effect::worded(status, code, inner, message));
            }
            Some(Effect::Gateway { status, retry_after }) => return Err(Effect::gateway(status, retry_after)),
            Some(Effect::Expired) => return Err(Effect::expired(self.0.directory.tenant())),
            Some(Effect::Before(Mishap::Delay(delay))) => tokio::time::sleep(delay).await,
            Some(Effect::Before(mishap)) => {
                trace.mishap = Some(mishap);
                return Err(Effect::refusal(503, "ServiceUnavailable", None));
            }
            Some(Effect::After(mishap)) => trace.mishap = Some(mishap),
            None => {}
        }
        Ok(())
    }

    fn fault(&self, vault: &str, operation: Operation, name: &str, has_token: bool) -> Option<Effect> {
        let mut faults = self.0.faults.lock().expect("a holder of the faults panicked");
        let effect =
            faults.iter_mut().find_map(|it| it.hits(vault, operation, name, has_token).then(|| it.effect()))?;
        self.0.faults_hit.fetch_add(1, Ordering::Relaxed);
        Some(effect)
    }

    /// Checks what forbids the operation (in which order Azure does is assumed), then does it.
    fn act(
        &self,
        host: &Host,
        claims: &Claims,
        route: &Route,
        body: &Bytes,
        brought: Option<Result<backup::Payload<model::Item>, Refusal>>,
        trace: &mut Trace,
    ) -> Outcome {
        use Verb::*;
        let now_millis = self.0.clock.now_millis();
        let now = now_millis.div_euclid(1000);
        let mut vault = host.lock();
        let vault = &mut *vault;
        vault.settle(now_millis);
        access::check_network(vault, claims)?;
        self.throttle(vault, route, body, now_millis)?;
        access::check_role(vault, claims, route)?;
        trace.assignment = vault.grants.get(&claims.oid).map(|it| it.assignment);
        if vault.read_only && route.operation.writes() {
            return Err(Refusal::read_only(&route.operation.to_string()));
        }
        match (route.operation.verb, route.operation.kind) {
            (List | ListVersions | ListDeleted, _) => page::list(vault, route),
            (Get, _) => items::get(vault, route),
            (Backup, _) => items::backup(vault, route),
            (Restore, _) => items::restore(vault, route, brought.expect("restores are opened before")?),
            (Delete, _) => items::delete(vault, route, now_millis),
            (GetDeleted, _) => items::get_deleted(vault, route),
            (Recover, _) => items::recover(vault, route, now_millis),
            (Purge, _) => items::purge(vault, route, now_millis),
            (Set, _) => secrets::set(vault, route, body, now),
            (Update, Kind::Secret) => secrets::update(vault, route, body, now),
            (Update, Kind::Key) => keys::update(vault, route, body, now),
            (Update, Kind::Certificate) => certificates::update(vault, route, body, now),
            (Create, Kind::Key) => keys::create(vault, route, body, now),
            (Create, _) => certificates::create(vault, route, body, now_millis),
            (Import, Kind::Key) => keys::import(vault, route, body, now),
            (Import, _) => certificates::import(vault, route, body, now),
            (GetPolicy, _) => certificates::get_policy(vault, route),
            (UpdatePolicy, _) => certificates::update_policy(vault, route, body, now),
            (GetPending, _) => certificates::get_pending(vault, route),
            (UpdatePending, _) => certificates::update_pending(vault, route, body),
            (DeletePending, _) => certificates::delete_pending(vault, route),
        }
    }

    fn throttle(&self, vault: &mut Vault, route: &Route, body: &[u8], now_millis: i64) -> Result<(), Refusal> {
        let Some(throttling) = vault.throttling else { return Ok(()) };
        let item = (route.operation.kind == Kind::Key).then(|| vault.item(Kind::Key, &route.name)).flatten();
        let cost = throttle::cost(route.operation, item, keys::wants_hsm(route.operation, body));
        let mut subscriptions = self.0.subscriptions.lock().expect("a holder of the quotas panicked");
        let shared = subscriptions.entry((vault.options.subscription, vault.options.region.clone())).or_default();
        let window = vault.window;
        if vault.quota.take(cost, throttling, window, now_millis)
            && shared.take_shared(cost, throttling, window, now_millis)
        {
            return Ok(());
        }
        Err(Refusal::throttled(throttling.retry_after))
    }

    fn respond(
        &self,
        host: Option<&Host>,
        request: &Request<Bytes>,
        outcome: Outcome,
        trace: Trace,
    ) -> Response<Bytes> {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let unknown = outcome.as_ref().err().filter(|it| it.unknown).map(|it| it.message.clone());
        let answer = outcome.unwrap_or_else(Refusal::into_answer);
        let mut response = Response::new(answer.body.clone().unwrap_or_default());
        *response.status_mut() = answer.status;
        *response.headers_mut() = headers(host, request.headers(), answer, trace.assignment, number);
        if let Some(mishap) = trace.mishap {
            response.extensions_mut().insert(mishap);
        }
        let mut journal = self.journal();
        journal.unknown.extend(unknown);
        journal.record(Logged {
            at_millis: self.0.clock.now_millis(),
            vault: trace.vault,
            method: request.method().to_string(),
            operation: trace.operation,
            name: trace.name,
            identity: trace.identity,
            status: response.status().as_u16(),
        });
        response
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0.journal.lock().expect("a holder of the journal panicked")
    }
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, Vault> {
        self.vault.lock().expect("an operation on this vault panicked")
    }
}

fn headers(host: Option<&Host>, asked: &HeaderMap, answer: Answer, assignment: Option<Uuid>, number: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(10);
    if answer.body.is_some() {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    let id = Uuid::from_u64_pair(0x5125_0000_0000_4000, 0x8000_0000_0000_0000 | number);
    let mut insert_id = |name, id: Uuid| {
        let mut buffer = Uuid::encode_buffer();
        let id = HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer)).expect("GUIDs are ASCII");
        headers.insert(name, id);
    };
    insert_id("x-ms-request-id", id);
    if let Some(assignment) = assignment {
        insert_id("x-ms-keyvault-rbac-assignment-id", assignment);
    }
    if let Some(id) = asked.get("x-ms-client-request-id") {
        headers.insert("x-ms-client-request-id", id.clone());
    }
    if let Some(host) = host {
        headers.insert("x-ms-keyvault-region", host.region.clone());
        headers.insert("x-ms-keyvault-service-version", SERVICE_VERSION);
        headers.insert("x-ms-keyvault-network-info", NETWORK_INFO);
    }
    headers.extend(answer.headers);
    headers
}
