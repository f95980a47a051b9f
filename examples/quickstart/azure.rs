//! The simulated Azure: two vaults, two identities with the rights they need and no more, and the doors to them.

use std::{fs, path::Path};

use simulator::{
    clock::Clock,
    identity::{Directory, Identity},
    key_vault::{KeyVaults, VaultOptions},
    proxy::{Doors, Protocols, Services},
};

use crate::Result;

/// The vault that is backed up and lost.
pub(crate) const PRODUCTION: &str = "contoso-prod";

/// The vault that is restored into.
pub(crate) const DISASTER_RECOVERY: &str = "contoso-dr";

/// What the identity that backs up may do: see what there is, and take sealed copies. It can read no value.
const BACKUP_ACTIONS: &[&str] = &[
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    "Microsoft.KeyVault/vaults/secrets/backup/action",
    "Microsoft.KeyVault/vaults/keys/read",
    "Microsoft.KeyVault/vaults/keys/backup/action",
    "Microsoft.KeyVault/vaults/certificates/read",
    "Microsoft.KeyVault/vaults/certificates/backup/action",
];

/// What the identity that restores may do.
const RESTORE_ACTIONS: &[&str] = &[
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    "Microsoft.KeyVault/vaults/secrets/restore/action",
    "Microsoft.KeyVault/vaults/secrets/recover/action",
    "Microsoft.KeyVault/vaults/keys/read",
    "Microsoft.KeyVault/vaults/keys/restore/action",
    "Microsoft.KeyVault/vaults/keys/recover/action",
    "Microsoft.KeyVault/vaults/certificates/read",
    "Microsoft.KeyVault/vaults/certificates/restore/action",
    "Microsoft.KeyVault/vaults/certificates/recover/action",
];

/// The vaults and who may do what in them.
pub(crate) struct Azure {
    pub(crate) vaults: KeyVaults,
    doors: Doors,
    backup_identity: Identity,
    restore_identity: Identity,
}

impl Azure {
    /// Fills the vault that is backed up with so many items, and opens the doors. Certificates go below `folder`.
    pub(crate) async fn open(folder: &Path, items: usize) -> Result<Self> {
        let clock = Clock::system();
        let directory = Directory::new(clock.clone());
        let vaults = KeyVaults::new(clock, directory.clone());
        for name in [PRODUCTION, DISASTER_RECOVERY] {
            vaults.add_vault(VaultOptions { name: name.to_owned(), ..Default::default() });
        }
        vaults.seed(PRODUCTION, items);
        let assigned = |name, vault, actions| {
            let identity = directory.identity(name);
            directory.attach(&identity);
            vaults.assign(&identity, vault, actions);
            identity
        };
        let backup_identity = assigned("backup", PRODUCTION, BACKUP_ACTIONS);
        let restore_identity = assigned("restore", DISASTER_RECOVERY, RESTORE_ACTIONS);
        let certificates = folder.join("certificates");
        fs::create_dir(&certificates)?;
        let services = Services::of(vaults.clone(), directory);
        let doors = Doors::open(services, Protocols::default(), &certificates).await?;
        Ok(Self { vaults, doors, backup_identity, restore_identity })
    }

    /// What a process needs in its environment so that the simulated Azure is all the Azure there is for it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = self.doors.environment();
        environment.push(("BACKUP_IDENTITY_CLIENT_ID", self.backup_identity.client_id.to_string()));
        environment.push(("RESTORE_IDENTITY_CLIENT_ID", self.restore_identity.client_id.to_string()));
        environment
    }

    /// What was asked of the simulation that it does not know: a story with any proves nothing.
    pub(crate) fn surprises(&self) -> Vec<String> {
        self.vaults.unknown_requests().into_iter().chain(self.doors.refused()).collect()
    }
}
