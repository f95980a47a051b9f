//! What the app meets outside: vaults, identities, storage.

use std::{collections::BTreeMap, future::Future, path::Path, sync::Arc, time::Duration};

use azure_core::base64;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use keyvault_backup::{
    repository::{Repository, manifest::Manifest},
    store::Store as _,
};
use simulator::{
    clock::Clock,
    functions_host::{HostOptions, Queues, Settings, StorageQueues, read_settings},
    identity::{Directory, Identity},
    key_vault::{KeyVaults, VaultOptions, Verb},
    proxy::{Doors, Protocols, Services},
};
use tempfile::TempDir;

use super::app::App;
use crate::azurite::{Container, azurite};

/// Longer than anything a test waits for, so that only a broken test meets it.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// A value of a secret; seeded secrets have values of the form `value 0 of secret-00000`.
pub(super) const CANARY: &str = "canary-value-7b1e";

/// Data actions of Key Vault, as the two custom roles of the app hold them: nothing more.
const READS: [&str; 3] = ["secrets/readMetadata/action", "keys/read", "certificates/read"];
const BACKUPS: [&str; 3] = ["secrets/backup/action", "keys/backup/action", "certificates/backup/action"];
const RESTORES: [&str; 3] = ["secrets/restore/action", "keys/restore/action", "certificates/restore/action"];
const RECOVERS: [&str; 3] = ["secrets/recover/action", "keys/recover/action", "certificates/recover/action"];

/// A small Azure for one test.
pub(super) struct Cloud {
    pub(super) vaults: KeyVaults,
    pub(super) doors: Doors,
    pub(super) backups: Container,
    pub(super) state: Container,
    settings: Settings,
    /// Holds the certificates.
    _folder: TempDir,
}

impl Cloud {
    /// Empty vaults: the backup identity has its role in the sources, the restore identity in the targets. The containers
    /// are there, as after the deployment; the app makes none.
    pub(super) async fn with(sources: &[&str], targets: &[&str]) -> Self {
        let clock = Clock::system();
        let directory = Directory::new(clock.clone());
        let vaults = KeyVaults::new(clock, directory.clone());
        for name in sources.iter().chain(targets) {
            vaults.add_vault(VaultOptions { name: (*name).to_owned(), ..Default::default() });
        }
        let admit = |name: &str, vaults_of_it: &[&str], roles: &[[&str; 3]]| -> Identity {
            let identity = directory.identity(name);
            directory.attach(&identity);
            let actions: Vec<String> =
                roles.as_flattened().iter().map(|action| format!("Microsoft.KeyVault/vaults/{action}")).collect();
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            for vault in vaults_of_it {
                vaults.assign(&identity, vault, &actions);
            }
            identity
        };
        let backup = admit("backup", sources, &[READS, BACKUPS]);
        let restore = admit("restore", targets, &[READS, RESTORES, RECOVERS]);

        let folder = tempfile::tempdir().unwrap();
        let services = Services::of(vaults.clone(), directory.clone());
        let doors = Doors::open(services, Protocols::Both, folder.path()).await.unwrap();
        // What trusts the doors is to trust Azurite, which all tests share.
        let bundle = doors.authority().trust_bundle();
        let roots = std::fs::read_to_string(&bundle).unwrap();
        std::fs::write(&bundle, roots + &azurite().authority).unwrap();

        let backups = Container::create().await;
        let state = backups.create_beside("-state").await;
        let unique = uuid::Uuid::new_v4();
        let mut settings = read_settings(&app_root().join("local.settings.json.example")).unwrap();
        let environment = doors.environment().into_iter().map(|(name, value)| (name.to_owned(), value));
        settings.extend(environment);
        settings.extend(
            [
                ("BACKUP_VAULTS", sources.join(",")),
                ("RESTORE_TARGET_VAULTS", targets.join(",")),
                ("BACKUP_STORE_URL", backups.url().to_string()),
                ("BACKUP_QUEUE", format!("backup-{unique}")),
                ("RESTORE_QUEUE", format!("restore-{unique}")),
                ("BACKUP_IDENTITY_CLIENT_ID", backup.client_id.to_string()),
                ("RESTORE_IDENTITY_CLIENT_ID", restore.client_id.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        directory.set_system_assigned(None);
        Self { vaults, doors, backups, state, settings, _folder: folder }
    }

    /// The settings of the app, which a test may change before it starts it.
    pub(super) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// An identity of one instance's own, so that Key Vault's log tells the instances apart. It may do in these vaults
    /// what the app's own may. Returns its client id.
    pub(super) fn admit_instance(&self, name: &str, sources: &[&str]) -> String {
        let identity = self.vaults.directory().identity(name);
        self.vaults.directory().attach(&identity);
        let actions = [READS, BACKUPS].concat().into_iter().map(|action| format!("Microsoft.KeyVault/vaults/{action}"));
        let actions: Vec<String> = actions.collect();
        for vault in sources {
            self.vaults.assign(&identity, vault, &actions.iter().map(String::as_str).collect::<Vec<_>>());
        }
        identity.client_id.to_string()
    }

    /// An identity of the machine that may restore into a vault: the operator of an emergency.
    pub(super) fn admit_operator(&self, vault: &str) {
        let operator = self.vaults.directory().identity("operator");
        self.vaults.directory().set_system_assigned(Some(&operator));
        let actions = RESTORES.map(|action| format!("Microsoft.KeyVault/vaults/{action}"));
        self.vaults.assign(&operator, vault, &actions.each_ref().map(String::as_str));
    }

    /// Starts the app.
    pub(super) async fn start(&self, settings: Settings) -> App {
        self.start_with(settings, |_| ()).await
    }

    /// Starts the app, with other waiting times of the host, say.
    pub(super) async fn start_with(&self, settings: Settings, change: impl FnOnce(&mut HostOptions)) -> App {
        let mut options = App::options(settings);
        let authority = Some(azurite().authority.as_bytes());
        options.queues = Queues::Storage(StorageQueues::azurite(azurite().queues.clone(), authority).unwrap());
        change(&mut options);
        App::start(options).await
    }

    /// The name of a queue of this test's own.
    pub(super) fn queue(&self, setting: &str) -> &str {
        &self.settings[setting]
    }

    /// Reads what the app has written, with code that is tested elsewhere.
    pub(super) fn repository(&self) -> Repository {
        Repository::new(Arc::new(self.backups.store()), Arc::new(self.state.store()))
    }

    /// All backups of a vault, oldest first.
    pub(super) async fn manifests(&self, vault: &str) -> Vec<Manifest> {
        let repository = self.repository();
        let backups = repository.backups(&vault.parse().unwrap()).await.unwrap();
        stream::iter(&backups).then(|backup| repository.open(backup)).try_collect().await.unwrap()
    }

    /// The names of the blobs in the backup container.
    pub(super) async fn blobs(&self) -> Vec<String> {
        self.backups.store().list("", None).map_ok(|entry| entry.name).try_collect().await.unwrap()
    }

    /// What Key Vault answered to these requests, by `secrets/NAME` and so on.
    pub(super) fn answers(&self, verb: Verb) -> BTreeMap<String, Vec<u16>> {
        let mut answers = BTreeMap::<String, Vec<u16>>::new();
        for request in self.vaults.requests() {
            if let Some(operation) = request.operation.filter(|operation| operation.verb == verb) {
                let item = format!("{}/{}", operation.kind.plural(), request.name);
                answers.entry(item).or_default().push(request.status);
            }
        }
        answers
    }

    /// What holds at the end of every test: nobody asked for anything unknown, nothing went past the doors, and nothing
    /// that must stay secret was logged.
    pub(super) async fn check(&self, app: &App) {
        assert_eq!(self.vaults.unknown_requests(), Vec::<String>::new());
        assert_eq!(self.doors.refused(), Vec::<String>::new());
        app.check_logs(&self.pieces_of_blobs().await);
    }

    /// A piece from the middle of every stored item, as it is and as it travels.
    async fn pieces_of_blobs(&self) -> Vec<String> {
        let store = self.backups.store();
        let names = self.blobs().await;
        stream::iter(names.iter().filter(|name| name.ends_with(".backup")))
            .map(|name| store.read(name))
            .buffer_unordered(8)
            .map_ok(|blob| {
                let middle = blob.len() / 6 * 3;
                let piece = &blob[middle..middle + 24];
                [String::from_utf8_lossy(piece).into_owned(), base64::encode_url_safe(piece)]
            })
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .concat()
    }
}

/// The folder that is deployed.
pub(super) fn app_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looks = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, looks).await;
}

/// Waits for something, but not for ever.
pub(super) async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within {} s", LIMIT.as_secs()))
}
