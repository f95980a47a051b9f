//! The simulated Azure: vaults, an identity for each instance with the rights a backup needs, and Azurite.

use std::{fs, path::Path, sync::Arc, time::Duration};

use azure_core::http::{ClientOptions, Transport};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use keyvault_backup::store::azure::AzureStore;
use simulator::{
    azurite::Azurite,
    clock::Clock,
    functions_host::{Queues, Settings, StorageQueues, read_settings},
    identity::{Credential, Directory, Identity},
    key_vault::{KeyVaults, VaultOptions},
    proxy::{Doors, Protocols, Services},
};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use crate::Result;

/// What the identity that backs up may do, as its custom role has it.
const ACTIONS: &[&str] = &[
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    "Microsoft.KeyVault/vaults/secrets/backup/action",
    "Microsoft.KeyVault/vaults/keys/read",
    "Microsoft.KeyVault/vaults/keys/backup/action",
    "Microsoft.KeyVault/vaults/certificates/read",
    "Microsoft.KeyVault/vaults/certificates/backup/action",
];

/// The vaults, who may do what in them, and where blobs and queues are.
pub(crate) struct Cloud {
    pub(crate) vaults: KeyVaults,
    /// The names of the vaults.
    pub(crate) names: Vec<String>,
    doors: Doors,
    azurite: Azurite,
    identities: Vec<Identity>,
    /// Holds the certificates.
    _folder: TempDir,
}

/// Where one run keeps its messages and its blobs.
pub(crate) struct Place {
    pub(crate) queue: String,
    backups: Url,
}

impl Cloud {
    /// Fills so many vaults with so many items each, and opens the doors.
    pub(crate) async fn open(vaults: usize, items: usize, instances: usize, latency: Duration) -> Result<Self> {
        let clock = Clock::system();
        let directory = Directory::new(clock.clone());
        let key_vaults = KeyVaults::new(clock, directory.clone());
        key_vaults.set_latency(latency);
        let identities: Vec<Identity> = (0..instances)
            .map(|number| {
                let identity = directory.identity(&format!("instance-{number}"));
                directory.attach(&identity);
                identity
            })
            .collect();
        let names: Vec<String> = (0..vaults).map(|number| format!("contoso-{number:05}")).collect();
        for name in &names {
            key_vaults.add_vault(VaultOptions { name: name.clone(), ..Default::default() });
            key_vaults.seed(name, items);
            for identity in &identities {
                key_vaults.assign(identity, name, ACTIONS);
            }
        }
        let folder = tempfile::Builder::new().prefix("keyvault-fleet-").tempdir()?;
        let services = Services::of(key_vaults.clone(), directory);
        let doors = Doors::open(services, Protocols::default(), folder.path()).await?;
        let azurite = Azurite::start(doors.authority()).await?;
        Ok(Self { vaults: key_vaults, names, doors, azurite, identities, _folder: folder })
    }

    /// Empty containers and queues for one run.
    pub(crate) async fn place(&self) -> Result<Place> {
        let unique = Uuid::new_v4();
        let url = |suffix: &str| Url::parse(&format!("{}/fleet-{unique}{suffix}", self.azurite.blob_url()));
        for container in [url("")?, url("-state")?] {
            let client_options = ClientOptions { transport: Some(self.transport()?), ..Default::default() };
            let options = BlobContainerClientOptions { client_options, ..Default::default() };
            BlobContainerClient::new(container, Some(self.credential()), Some(options))?.create(None).await?;
        }
        Ok(Place { queue: format!("backup-{unique}"), backups: url("")? })
    }

    /// The settings of one instance: those of the example file, with what this machine needs.
    pub(crate) fn settings(&self, place: &Place, instance: usize) -> Result<Settings> {
        let mut settings = read_settings(&Path::new(env!("CARGO_MANIFEST_DIR")).join("local.settings.json.example"))?;
        let own = [
            ("BACKUP_VAULTS", self.names.join(",")),
            ("BACKUP_STORE_URL", place.backups.to_string()),
            ("BACKUP_QUEUE", place.queue.clone()),
            ("RESTORE_QUEUE", place.queue.replacen("backup", "restore", 1)),
            ("BACKUP_IDENTITY_CLIENT_ID", self.identities[instance].client_id.to_string()),
            ("RESTORE_TARGET_VAULTS", String::new()),
            ("RESTORE_IDENTITY_CLIENT_ID", String::new()),
        ];
        let all = own.into_iter().chain(self.doors.environment());
        settings.extend(all.map(|(name, value)| (name.to_owned(), value)));
        Ok(settings)
    }

    /// The queues that all instances share.
    pub(crate) fn queues(&self) -> Result<Queues> {
        let endpoint = Url::parse(self.azurite.queue_url())?;
        Ok(Queues::Storage(StorageQueues::azurite(endpoint, Some(&fs::read(self.doors.ca_file())?))?))
    }

    /// The backups of a run as anybody may read them.
    pub(crate) fn backups(&self, place: &Place) -> Result<AzureStore> {
        Ok(AzureStore::new(&place.backups, self.credential(), self.transport()?)?)
    }

    /// What was asked of the simulation that it does not know: a run with any proves nothing.
    pub(crate) fn surprises(&self) -> Vec<String> {
        self.vaults.unknown_requests().into_iter().chain(self.doors.refused()).collect()
    }

    fn credential(&self) -> Arc<Credential> {
        Arc::new(Credential::new(self.vaults.directory(), &self.identities[0]))
    }

    fn transport(&self) -> Result<Transport> {
        let authority = reqwest::Certificate::from_pem(&fs::read(self.doors.ca_file())?)?;
        // Azurite closes idle connections after five seconds.
        let client = reqwest::Client::builder().tls_certs_only([authority]).no_proxy();
        let client = client.pool_idle_timeout(Duration::from_secs(4)).redirect(reqwest::redirect::Policy::none());
        Ok(Transport::new(Arc::new(client.build()?)))
    }
}
