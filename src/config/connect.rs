//! From settings to the parts that talk: one transport, the identities, the stores and the vaults. Nothing is opened
//! before it is needed, so that the handler answers its first probe at once.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "identities and the transport are made here")]

use std::{
    collections::HashMap,
    env,
    iter::successors,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind as Cause,
    http::{ClientOptions, ExponentialRetryOptions, HttpClient, RetryOptions, Transport},
    time::{Duration as SdkDuration, OffsetDateTime},
};
use azure_identity::{
    ClientAssertionCredentialOptions, DeveloperToolsCredential, DeveloperToolsCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use uuid::Uuid;

use super::{Config, Location, measured::Measured, tool::Tool};
use crate::{
    error::{Error, ErrorKind, Result},
    model::VaultName,
    repository::Repository,
    store::{Store, azure::AzureStore, local::LocalStore},
    vault::{
        Vault,
        pacing::{Pacing, Total},
    },
};

/// Which of the identities is at work: each has the rights of its part only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Lists and backs up; may add to the backup container.
    Backup,
    /// Reads the backup container; restores and recovers.
    Restore,
    /// Removes backups that the retention policy does not keep; has no right to any vault.
    Prune,
}

/// Everything that can be reached with the settings.
pub struct Connections {
    config: Config,
    transport: OnceLock<Transport>,
    credentials: Mutex<HashMap<Role, Arc<dyn TokenCredential>>>,
    /// One budget per vault, shared by all work of this process, and one for all of them.
    pacing: Mutex<HashMap<VaultName, Arc<Pacing>>>,
    total: OnceLock<Arc<Total>>,
}

impl Connections {
    /// Opens nothing yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            transport: OnceLock::new(),
            credentials: Mutex::default(),
            pacing: Mutex::default(),
            total: OnceLock::new(),
        }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A vault, called by the identity of that part.
    pub fn vault(&self, name: &VaultName, role: Role) -> Result<Vault> {
        Vault::new(name.clone(), self.config.cloud, self.credential(role)?, self.transport()?, self.pacing(name))
    }

    /// The pacing of a vault, whoever calls it and whatever for.
    pub fn pacing(&self, name: &VaultName) -> Arc<Pacing> {
        let total = self.total.get_or_init(|| Total::new(self.config.total_requests_per_second));
        let mut known = self.pacing.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.clone()).or_insert_with(|| Pacing::sharing(self.config.requests_per_second, total)).clone()
    }

    /// The backups, read and written by the identity of that part.
    pub fn repository(&self, role: Role) -> Result<Repository> {
        Ok(Repository::new(self.store(&self.config.backups, role)?, self.store(&self.config.state, role)?))
    }

    /// Another repository than that of the settings, by the URL of its backups, which `flag` gives.
    pub fn other_repository(&self, flag: &str, url: &str, role: Role) -> Result<Repository> {
        let [backups, state] = self.config.other_repository(flag, url)?;
        Ok(Repository::new(self.store(&backups, role)?, self.store(&state, role)?))
    }

    fn store(&self, location: &Location, role: Role) -> Result<Arc<dyn Store>> {
        Ok(match location {
            Location::Folder(path) => Arc::new(LocalStore::open(path)?),
            Location::Container(url) => {
                Arc::new(AzureStore::new(url, self.credential(role)?, self.transport()?.clone())?)
            }
        })
    }

    /// One connection pool for everything.
    fn transport(&self) -> Result<&Transport> {
        if let Some(transport) = self.transport.get() {
            return Ok(transport);
        }
        let client = client(Duration::from_secs(60), Duration::from_secs(110), self.config.concurrency.max(8))?;
        Ok(self.transport.get_or_init(|| Transport::new(client)))
    }

    fn credential(&self, role: Role) -> Result<Arc<dyn TokenCredential>> {
        let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credential) = credentials.get(&role) {
            return Ok(credential.clone());
        }
        let Config { backup_identity, restore_identity, prune_identity, .. } = self.config;
        if let (Some(_), None) | (None, Some(_)) = (backup_identity, restore_identity) {
            tracing::warn!(
                "only one of BACKUP_IDENTITY_CLIENT_ID and RESTORE_IDENTITY_CLIENT_ID is set: one identity can both back \
                 up and restore, so stealing it is enough to read every value"
            );
        }
        if role == Role::Prune && prune_identity.is_none() && backup_identity.is_some() {
            tracing::warn!(
                "PRUNE_IDENTITY_CLIENT_ID is not set: the identity that backs up removes backups too, so stealing it is \
                 enough to destroy them"
            );
        }
        let client_id = match role {
            Role::Prune => prune_identity.or(backup_identity).or(restore_identity),
            Role::Backup => backup_identity.or(restore_identity),
            Role::Restore => restore_identity.or(backup_identity),
        };
        let credential = discreet_credential(client_id, self.transport()?)?;
        credentials.insert(role, credential.clone());
        Ok(credential)
    }
}

/// How long the front end of a Functions app waits for an answer to one call, and a little more: 230 seconds ("Azure
/// Functions scale and hosting", function app timeout duration).
const APP_DEADLINE: Duration = Duration::from_secs(240);

/// What a client of the deployed app works with: an HTTPS client of its own, because an app may take longer to answer than
/// a vault or a storage account.
pub fn app_client() -> Result<Arc<dyn HttpClient>> {
    client(APP_DEADLINE, APP_DEADLINE, 8)
}

/// The sign-in of whoever runs this command, or the identity of the machine it runs on.
pub fn own_sign_in() -> Result<Arc<dyn TokenCredential>> {
    let transport = Transport::new(client(Duration::from_secs(60), Duration::from_secs(110), 1)?);
    discreet_credential(None, &transport)
}

/// Redirects are not followed: a token or a key would follow them. Compression is off, because it breaks ranged reads of
/// blobs; the SDK has it built in, so that it must be said. What is tried again is for the callers to say.
fn client(silence: Duration, deadline: Duration, at_once: usize) -> Result<Arc<dyn HttpClient>> {
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(silence)
        .timeout(deadline)
        .redirect(reqwest::redirect::Policy::none())
        .no_gzip()
        .no_deflate()
        .retry(reqwest::retry::never())
        .pool_idle_timeout(Duration::from_secs(60))
        // Listings run beside the items, and a connection that is ready too late for its request waits for the next:
        // with room for exactly those at work, these would be closed and opened again all the time.
        .pool_max_idle_per_host(2 * at_once)
        .build()
        .map_err(|cause| {
            let message = "The HTTPS client could not be set up. Check the certificate files that SSL_CERT_FILE or \
                           SSL_CERT_DIR name.";
            Error::new(ErrorKind::InvalidInput, message).because(cause)
        })?;
    Ok(Arc::new(Measured(client)))
}

/// How long getting one token may take, with the SDK's own further attempts. The endpoint is on the same machine, or a
/// program on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A token that expires sooner is asked for anew, as the SDK does with the tokens that it keeps.
const NEARLY_EXPIRED: SdkDuration = SdkDuration::minutes(5);

/// A credential that answers in time, and whose errors quote no token: readers of JSON quote what they cannot read, and
/// refusals their body, and here both can hold one.
#[derive(Debug)]
struct Discreet {
    credential: Arc<dyn TokenCredential>,
    /// Whether it is the sign-in of the person who runs this.
    is_own: bool,
    /// Own tokens by their scope.
    tokens: tokio::sync::Mutex<HashMap<String, AccessToken>>,
}

#[async_trait]
impl TokenCredential for Discreet {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if !self.is_own {
            return self.ask(scopes, options).await;
        }
        // Each question starts a tool, which takes a second or more, and the SDK keeps no token of theirs: without this
        // every client of every vault would start one at the same time.
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(&scopes.join(" "))
            && token.expires_on > OffsetDateTime::now_utc() + NEARLY_EXPIRED
        {
            return Ok(token.clone());
        }
        let token = self.ask(scopes, options).await?;
        tokens.insert(scopes.join(" "), token.clone());
        Ok(token)
    }
}

impl Discreet {
    async fn ask(&self, scopes: &[&str], options: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let got = tokio::time::timeout(PATIENCE, self.credential.get_token(scopes, options)).await;
        let got = got.unwrap_or_else(|_| {
            let message = format!("no token came within {} seconds.", PATIENCE.as_secs());
            let late = azure_core::Error::with_message(Cause::Io, message);
            Err(azure_core::Error::with_error(Cause::Credential, late, "The identity endpoint is silent."))
        });
        got.map_err(|error| {
            let causes = successors(Some(&error as &(dyn std::error::Error + 'static)), |cause| cause.source());
            if causes.into_iter().any(|cause| cause.is::<serde_json::Error>() || cause.to_string().contains("eyJ")) {
                let message = "the answer of the identity endpoint cannot be read. Check what answers there.";
                return azure_core::Error::with_message(Cause::Credential, message);
            }
            // With a cause it is not the SDK's list of what was tried.
            let is_list = self.is_own && std::error::Error::source(&error).is_none();
            if is_list { signed_out(&error) } else { error }
        })
    }
}

fn discreet_credential(client_id: Option<Uuid>, transport: &Transport) -> Result<Arc<dyn TokenCredential>> {
    let credential = credential(client_id, transport).map_err(|cause| {
        let message = "No identity could be set up. In Azure, assign a managed identity to the app; elsewhere, sign in \
                       with az login.";
        Error::new(ErrorKind::Unauthenticated, message).because(cause)
    })?;
    let is_own = !is_set(MANAGED_IDENTITY) && !is_set(WORKLOAD_IDENTITY);
    Ok(Arc::new(Discreet { credential, is_own, tokens: Default::default() }))
}

/// What App Service and Functions set where an app has a managed identity.
const MANAGED_IDENTITY: &str = "IDENTITY_ENDPOINT";

/// What Kubernetes sets where a pod has a workload identity.
const WORKLOAD_IDENTITY: &str = "AZURE_FEDERATED_TOKEN_FILE";

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Nobody could be identified: what was tried, in the order in which it was, in one line. The SDK adds links, and says
/// everything twice.
fn signed_out(error: &azure_core::Error) -> azure_core::Error {
    let said = error.to_string();
    let said = said.lines().filter(|line| !line.starts_with("To troubleshoot") && !line.starts_with("Multiple errors"));
    let message = format!(
        "Tried, in this order: a managed identity ({MANAGED_IDENTITY} is not set), a workload identity \
         ({WORKLOAD_IDENTITY} is not set), the Azure CLI, the Azure Developer CLI. {}. Sign in with `az login` or `azd auth \
         login`.",
        said.collect::<Vec<_>>().join("; ")
    );
    azure_core::Error::with_message(Cause::Credential, message)
}

/// The managed identity where there is one; else the workload identity of a Kubernetes pod; else the operator's own
/// sign-in with the Azure CLI or azd.
fn credential(client_id: Option<Uuid>, transport: &Transport) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let client_options = ClientOptions {
        transport: Some(transport.clone()),
        // The default goes on for over a minute when the endpoint is broken; a run has better things to do.
        retry: RetryOptions::exponential(ExponentialRetryOptions {
            max_retries: 4,
            max_total_elapsed: SdkDuration::seconds(10),
            ..Default::default()
        }),
        ..Default::default()
    };
    if is_set(MANAGED_IDENTITY) {
        let user_assigned_id = client_id.map(|id| UserAssignedId::ClientId(id.to_string()));
        let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
        return Ok(ManagedIdentityCredential::new(Some(options))?);
    }
    if is_set(WORKLOAD_IDENTITY) {
        let client_id = client_id.map(|id| id.to_string());
        let credential_options = ClientAssertionCredentialOptions { client_options };
        let options = WorkloadIdentityCredentialOptions { client_id, credential_options, ..Default::default() };
        return Ok(WorkloadIdentityCredential::new(Some(options))?);
    }
    Ok(DeveloperToolsCredential::new(Some(DeveloperToolsCredentialOptions { executor: Some(Arc::new(Tool)) }))?)
}
