//! What a vault is made with, and the switches that tests turn.

use std::time::Duration;

use uuid::Uuid;

use super::model::Kind;

/// How a vault is made. `VaultOptions { name: "contoso".into(), ..Default::default() }` is enough for most tests.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// The first label of the host: `{name}.vault.azure.net`.
    pub name: String,
    /// The subscription. Backups open in the same one only.
    pub subscription: Uuid,
    /// The geography. Backups open in the same one only.
    pub geography: String,
    /// The region, as in `x-ms-keyvault-region`. Shares its throttling limit with the subscription's other vaults.
    pub region: String,
    /// The resource group, which 403 answers name.
    pub resource_group: String,
    /// Whether purging is refused until the retention is over.
    pub purge_protection: bool,
    /// How many days deleted items stay (7 to 90).
    pub retention_days: u32,
    /// More versions than this cannot be backed up. Azure documents 500.
    pub backup_versions: usize,
    /// How long deletes, recoveries and the like go on after their answer.
    pub delays: Delays,
    /// How the vault answers a caller without a right. Rights are given the same way in both: by data action.
    pub permissions: Permissions,
}

/// The permission model of a vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permissions {
    /// Azure roles: a refusal names the data action.
    #[default]
    Roles,
    /// The older access policies: a refusal names the permission.
    AccessPolicies,
}

impl Default for VaultOptions {
    fn default() -> Self {
        Self {
            name: "contoso".to_owned(),
            subscription: Uuid::from_u128(0x5b5c_0000_0000_4000_8000_0000_0000_0001),
            geography: "Europe".to_owned(),
            region: "westeurope".to_owned(),
            resource_group: "simulator".to_owned(),
            purge_protection: false,
            // Azure's own default.
            retention_days: 90,
            backup_versions: 500,
            delays: Delays::recorded(),
            permissions: Permissions::default(),
        }
    }
}

/// A time for each kind of item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKind {
    /// For secrets.
    pub secret: Duration,
    /// For keys.
    pub key: Duration,
    /// For certificates, with their key and secret.
    pub certificate: Duration,
}

impl PerKind {
    /// The time for one kind.
    pub const fn of(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Secret => self.secret,
            Kind::Key => self.key,
            Kind::Certificate => self.certificate,
        }
    }

    const fn seconds(secret: u64, key: u64, certificate: u64) -> Self {
        Self {
            secret: Duration::from_secs(secret),
            key: Duration::from_secs(key),
            certificate: Duration::from_secs(certificate),
        }
    }
}

/// How long a change goes on after the answer that started it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// From the answer of a delete until the deleted item can be read.
    pub delete: PerKind,
    /// From the answer of a recovery until the item can be read.
    pub recover: PerKind,
    /// From the 204 of a purge until the name is free.
    pub purge: PerKind,
    /// From the 202 of a create until the certificate is there.
    pub certificate_creation: Duration,
}

impl Delays {
    /// What the recorded exchanges show (`recordings/README.md`, table "Time until a change is visible").
    pub const fn recorded() -> Self {
        Self {
            delete: PerKind::seconds(2, 5, 10),
            recover: PerKind::seconds(2, 5, 10),
            purge: PerKind::seconds(3, 5, 11),
            certificate_creation: Duration::from_secs(10),
        }
    }

    /// Everything is done when its answer goes out.
    pub fn none() -> Self {
        Self::default()
    }
}

/// The documented request limits of one vault, switched on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttling {
    /// Multiplies every limit, also the subscription's: 0.01 makes 4000 requests into 40.
    pub scale: f64,
    /// Seconds for the `Retry-After` header of a 429. The one real 429 that was captured has none.
    pub retry_after: Option<u32>,
}

impl Default for Throttling {
    fn default() -> Self {
        Self { scale: 1.0, retry_after: None }
    }
}

/// How the ten seconds of a limit are counted. Azure does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// From one full ten seconds of the clock to the next.
    #[default]
    Fixed,
    /// The last ten seconds at any time.
    Sliding,
}

/// From where a vault can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// From everywhere.
    #[default]
    Open,
    /// A firewall does not know the address of the caller: 403 `ForbiddenByFirewall`.
    Firewall,
    /// Public access is off: 403 `ForbiddenByConnection`.
    PrivateOnly,
}
