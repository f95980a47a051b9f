//! The Azure that everybody is measured on: simulated vaults behind the proxy, Azurite, and counters between.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use simulator::{
    azurite::{Account, Azurite},
    clock::Clock,
    identity::{Directory, Identity},
    key_vault::{ALL_DATA_ACTIONS, Delays, KeyVaults, RESOURCE, VaultOptions},
    proxy::{Doors, Protocols, Services},
};
use tempfile::TempDir;

use crate::{Result, process::Program};

/// The host of the storage account, where its requests go through the proxy.
const ACCOUNT_HOST: &str = "contosobackups.blob.core.windows.net";

/// The audience of tokens for Blob Storage.
const STORAGE: &str = "https://storage.azure.com";

/// In which Azurite answers.
const STORAGE_VERSION: &str = "2025-11-05";

/// Faster than anything here: the pace is never what is measured, except where it is set.
pub(crate) const NO_PACE: &str = "100000";

/// Where clients find the storage account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Azurite's own address: nothing stands between.
    Direct,
    /// The name it would have in Azure, through the proxy, where requests are counted and take the time they are to.
    Counted,
}

pub(crate) struct Azure {
    pub(crate) vaults: KeyVaults,
    pub(crate) directory: Directory,
    pub(crate) counters: Arc<Counters>,
    /// Holds the certificates.
    _folder: TempDir,
    identity: Identity,
    doors: Doors,
    azurite: Azurite,
    account: Account,
    containers: AtomicU64,
}

/// What passed the proxy.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) key_vault: AtomicU64,
    pub(crate) storage: AtomicU64,
    storage_micros: AtomicU64,
}

impl Counters {
    /// Connections to vaults and to storage, requests to vaults, requests to the storage.
    pub(crate) fn read(&self) -> [u64; 3] {
        [self.connections.load(Relaxed), self.key_vault.load(Relaxed), self.storage.load(Relaxed)]
    }
}

/// A container for the backups, and one beside it for leases and records.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    name: String,
    pub(crate) url: String,
}

impl Container {
    /// A folder instead: file URLs need no Azure.
    pub(crate) fn folder(path: &Path) -> Self {
        let path = path.join("backups");
        Self { name: String::new(), url: format!("file://{}", path.display()) }
    }

    /// The same container where its requests are counted.
    pub(crate) fn counted(&self) -> String {
        if self.name.is_empty() { self.url.clone() } else { format!("https://{ACCOUNT_HOST}/{}", self.name) }
    }
}

impl Azure {
    pub(crate) async fn start(protocols: Protocols) -> Result<Self> {
        let clock = Clock::system();
        let directory = Directory::new(clock.clone());
        let vaults = KeyVaults::new(clock, directory.clone());
        let identity = directory.identity("system");
        directory.set_system_assigned(Some(&identity));
        let folder = tempfile::Builder::new().prefix("keyvault-bench-").tempdir()?;
        let (counters, late) = (Arc::new(Counters::default()), Arc::new(OnceLock::new()));
        let services = counted(Services::of(vaults.clone(), directory.clone()), &counters, &late);
        let doors = Doors::open(services, protocols, folder.path()).await?;
        let azurite = Azurite::start(doors.authority()).await?;
        let account = Account::new(&fs::read(doors.ca_file())?, azurite.blob_url())?;
        let account = late.get_or_init(|| account).clone();
        let containers = AtomicU64::new(0);
        Ok(Self { vaults, directory, counters, _folder: folder, identity, doors, azurite, account, containers })
    }

    /// Every request to a vault takes this long, and every one to the storage that is [`Storage::Counted`].
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.vaults.set_latency(latency);
        self.counters.storage_micros.store(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// A vault with so many items, in which the identity of the machine may do everything. There is no more of another
    /// vault of that name.
    pub(crate) fn add_vault(&self, name: &str, items: usize) {
        self.vaults.add_vault(VaultOptions {
            name: name.to_owned(),
            delays: Delays::none(),
            ..VaultOptions::default()
        });
        self.vaults.assign(&self.identity, name, ALL_DATA_ACTIONS);
        self.vaults.seed(name, items);
    }

    pub(crate) async fn create_container(&self, storage: Storage) -> Result<Container> {
        let name = format!("backups-{}", self.containers.fetch_add(1, Relaxed));
        for name in [name.clone(), format!("{name}-state")] {
            self.ask(Method::PUT, &format!("/{name}?restype=container")).await?;
        }
        let account = match storage {
            Storage::Direct => self.azurite.blob_url().to_owned(),
            Storage::Counted => format!("https://{ACCOUNT_HOST}"),
        };
        Ok(Container { url: format!("{account}/{name}"), name })
    }

    /// Azurite keeps everything in memory, so what is measured must go again.
    pub(crate) async fn delete_container(&self, container: &Container) -> Result<()> {
        for name in [container.name.clone(), format!("{}-state", container.name)] {
            self.ask(Method::DELETE, &format!("/{name}?restype=container")).await?;
        }
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str) -> Result<()> {
        let token = self.directory.mint(&self.identity, STORAGE);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("x-ms-version", STORAGE_VERSION)
            .header("content-length", "0")
            .body(Bytes::new())?;
        let answer = self.account.pass(request).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(format!("Azurite answered {path} with {}: {}", answer.status(), String::from_utf8_lossy(answer.body()))
            .into())
    }

    /// A client that finds this Azure in its environment.
    pub(crate) fn client(&self, program: Program) -> Program {
        program.set_all(self.doors.environment())
    }

    /// Tokens for clients that do not ask for one.
    pub(crate) fn tokens(&self) -> [(&'static str, String); 2] {
        [
            ("VAULT_TOKEN", self.directory.mint(&self.identity, RESOURCE)),
            ("STORAGE_TOKEN", self.directory.mint(&self.identity, STORAGE)),
        ]
    }

    /// Nobody asked for what the simulator does not know.
    ///
    /// # Errors
    /// When somebody did: then nothing that was measured counts.
    pub(crate) fn check(&self) -> Result<()> {
        let strange: Vec<String> = self.vaults.unknown_requests().into_iter().chain(self.doors.refused()).collect();
        if strange.is_empty() { Ok(()) } else { Err(format!("The simulator refused: {}", strange.join("; ")).into()) }
    }
}

/// The same services behind counters, with the storage account as one more host.
fn counted(mut services: Services, counters: &Arc<Counters>, account: &Arc<OnceLock<Account>>) -> Services {
    let (hosts, key_vault) = (services.serves, services.vaults);
    let (counting, account) = (Arc::clone(counters), Arc::clone(account));
    services.serves = Arc::new(move |host| {
        let served = host == ACCOUNT_HOST || hosts(host);
        counting.connections.fetch_add(u64::from(served), Relaxed);
        served
    });
    let counting = Arc::clone(counters);
    services.vaults =
        Arc::new(move |request| match account.get().filter(|_| request.uri().host() == Some(ACCOUNT_HOST)).cloned() {
            Some(account) => {
                counting.storage.fetch_add(1, Relaxed);
                let latency = counting.storage_micros.load(Relaxed);
                async move {
                    if latency > 0 {
                        tokio::time::sleep(Duration::from_micros(latency)).await;
                    }
                    account.pass(request).await.unwrap_or_else(|_| unavailable())
                }
                .boxed()
            }
            None => {
                counting.key_vault.fetch_add(1, Relaxed);
                key_vault(request)
            }
        });
    services
}

fn unavailable() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
