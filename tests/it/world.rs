//! A small Azure in this process: simulated vaults behind the SDK's transport, and stores in memory. Time is virtual
//! where a test pauses tokio's clock.

use std::sync::Arc;

use keyvault_backup::{
    backup::{self, Backup},
    error::Result,
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
    key_vault::{ALL_DATA_ACTIONS, KeyVaults, VaultOptions},
    transport::Door,
};
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
        Self { vaults, door, identity, backups: MemoryStore::new(), state: MemoryStore::new() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.vaults.clock().now())
    }

    pub(crate) fn vault(&self, name: &str) -> Vault {
        let credential = Arc::new(Credential::new(self.vaults.directory(), &self.identity));
        let name: VaultName = name.parse().unwrap();
        Vault::new(name, Cloud::Public, credential, &self.door.transport(), Pacing::new(10_000.0)).unwrap()
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
        }
    }

    pub(crate) async fn back_up(&self, vault: &str) -> Result<Header> {
        self.back_up_with(vault, &self.backup_options()).await
    }

    pub(crate) async fn back_up_with(&self, vault: &str, options: &backup::Options) -> Result<Header> {
        let (vault, repository) = (self.vault(vault), self.repository());
        let (operation, progress) = (Uuid::new_v4(), Progress::default());
        match backup::run(&vault, &repository, operation, options, &progress, self.now()).await? {
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
        restore::execute(&plan, &manifest, &repository, &target, &options, false, &Progress::default()).await
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
