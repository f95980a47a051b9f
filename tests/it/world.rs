//! A small Azure in this process: simulated vaults behind the SDK's transport, and stores in memory. Time is virtual
//! where a test pauses tokio's clock.

pub(crate) mod faulty;
pub(crate) mod immutable;
pub(crate) mod interruption;
pub(crate) mod meanwhile;
pub(crate) mod storm;

use std::{sync::Arc, time::Duration};

use azure_core::http::{HttpClient as _, Method, Request, Transport};
use keyvault_backup::{
    backup::{self, Backup},
    error::Result,
    guard,
    model::{BackupId, Cloud, Timestamp, VaultName, filter::ItemFilter},
    report::{ItemReport, Progress},
    repository::{
        Repository, Selector,
        manifest::{Header, Manifest},
    },
    restore::{self, OnConflict, OnDeleted, Plan},
    store::{Store, memory::MemoryStore},
    vault::{Vault, pacing::Pacing},
};
use simulator::{
    clock::Clock,
    identity::{Credential, Directory, Identity},
    key_vault::{ALL_DATA_ACTIONS, KeyVaults, RESOURCE, VaultOptions},
    transport::Door,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// The moment at which every test world begins: 2026-11-21T02:00:00Z.
pub(crate) const BEGINNING: i64 = 1_795_226_400;

pub(crate) struct World {
    pub(crate) vaults: KeyVaults,
    pub(crate) door: Door,
    pub(crate) identity: Identity,
    pub(crate) backups: MemoryStore,
    pub(crate) state: MemoryStore,
}

impl World {
    /// A world with these vaults, all in one subscription and geography, and one identity that may do everything.
    pub(crate) fn with(names: &[&str]) -> Self {
        let clock = Clock::starting_at(BEGINNING);
        let directory = Directory::new(clock.clone());
        let vaults = KeyVaults::new(clock, directory.clone());
        let identity = directory.identity("operator");
        for name in names {
            vaults.add_vault(VaultOptions { name: (*name).to_owned(), ..Default::default() });
            vaults.assign(&identity, name, ALL_DATA_ACTIONS);
        }
        let door = Door::new(&vaults);
        let store = || {
            let clock = vaults.clock().clone();
            MemoryStore::with_clock(move || OffsetDateTime::from_unix_timestamp(clock.now()).unwrap())
        };
        let (backups, state) = (store(), store());
        Self { vaults, door, identity, backups, state }
    }

    /// Another vault, made with these options.
    pub(crate) fn add(&self, options: VaultOptions) {
        let name = options.name.clone();
        self.vaults.add_vault(options);
        self.vaults.assign(&self.identity, &name, ALL_DATA_ACTIONS);
    }

    /// Lets so much time pass at once.
    pub(crate) fn pass(&self, time: Duration) {
        self.vaults.clock().advance(time);
    }

    /// What a person does to a vault meanwhile: one request, such as PATCH contoso-prod/secrets/apple.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: serde_json::Value) {
        let (vault, path) = path.split_once('/').unwrap();
        let url = format!("https://{vault}.vault.azure.net/{path}?api-version=7.6");
        let mut request = Request::new(url.parse().unwrap(), method);
        let token = self.vaults.directory().mint(&self.identity, RESOURCE);
        request.insert_header("authorization", format!("Bearer {token}"));
        request.insert_header("content-type", "application/json");
        if !body.is_null() {
            request.set_body(body.to_string());
        }
        let answer = self.door.execute_request(&request).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.vaults.clock().now())
    }

    pub(crate) fn vault(&self, name: &str) -> Vault {
        self.vault_through(name, &self.door.transport(), Pacing::new(10_000.0))
    }

    /// A vault behind another transport, or with another pace.
    pub(crate) fn vault_through(&self, name: &str, transport: &Transport, pacing: Arc<Pacing>) -> Vault {
        let credential = Arc::new(Credential::new(self.vaults.directory(), &self.identity));
        let name: VaultName = name.parse().unwrap();
        Vault::new(name, Cloud::Public, credential, transport, pacing).unwrap()
    }

    pub(crate) fn repository(&self) -> Repository {
        Repository::new(Arc::new(self.backups.clone()), Arc::new(self.state.clone()))
    }

    pub(crate) fn backup_options(&self) -> backup::Options {
        backup::Options {
            id: BackupId::new(self.now(), fastrand::u32(..)),
            label: None,
            filter: ItemFilter::all(),
            full: false,
            full_every: std::time::Duration::from_secs(7 * 86_400),
            concurrency: 8,
            guard: guard::Limits::default(),
        }
    }

    pub(crate) async fn back_up(&self, vault: &str) -> Result<Header> {
        self.back_up_with(vault, &self.backup_options()).await
    }

    pub(crate) async fn back_up_with(&self, vault: &str, options: &backup::Options) -> Result<Header> {
        self.back_up_from(&self.vault(vault), &self.repository(), options).await
    }

    pub(crate) async fn back_up_from(
        &self,
        vault: &Vault,
        repository: &Repository,
        options: &backup::Options,
    ) -> Result<Header> {
        let (operation, progress) = (Uuid::new_v4(), Progress::default());
        match backup::run(vault, repository, operation, options, &progress, self.now()).await? {
            Backup::Committed(header) => Ok(*header),
            Backup::NotNeeded => panic!("nobody else is backing this vault up"),
        }
    }

    pub(crate) async fn newest(&self, vault: &str) -> Manifest {
        let repository = self.repository();
        let newest = repository.find(&vault.parse().unwrap(), &Selector::Latest).await.unwrap();
        repository.open(&newest).await.unwrap()
    }

    pub(crate) fn restore_options(&self) -> restore::Options {
        restore::Options {
            filter: ItemFilter::all(),
            on_conflict: OnConflict::Skip,
            on_deleted: OnDeleted::Recover,
            concurrency: 8,
        }
    }

    pub(crate) async fn plan(&self, manifest: &Manifest, target: &str) -> Plan {
        restore::plan(manifest, &self.vault(target), &self.restore_options()).await.unwrap()
    }

    /// Restores the newest backup of `source` into `target`.
    pub(crate) async fn restore(&self, source: &str, target: &str) -> Vec<ItemReport> {
        let (manifest, options) = (self.newest(source).await, self.restore_options());
        let plan = self.plan(&manifest, target).await;
        let (repository, target) = (self.repository(), self.vault(target));
        restore::execute(&plan, &manifest, &repository, &target, &options, false, &Progress::default())
            .await
            .unwrap()
            .to_vec()
            .unwrap()
    }

    /// The names of all blobs in the backup container.
    pub(crate) async fn blobs(&self) -> Vec<String> {
        use futures::TryStreamExt as _;
        self.backups.list("", None).map_ok(|entry| entry.name).try_collect().await.unwrap()
    }

    /// Nothing asked the simulator for something it does not know.
    pub(crate) fn assert_all_known(&self) {
        assert_eq!(self.vaults.unknown_requests(), Vec::<String>::new());
    }
}
