//! What the blobs mean: backups of vaults, and the records of operations (`docs/format.md`).
//!
//! Order of writing: the items of a backup, then its manifest, whose presence is the commit. Nothing in the backup
//! container is ever overwritten. What must change lives in a second container, the state.

pub mod draft;
pub mod findings;
pub mod guard;
pub mod inspection;
pub mod items;
pub mod manifest;
mod names;
pub mod operation;
pub mod reading;
mod records;
mod removal;
mod selector;
mod transfer;
mod unfinished;

use std::{fmt, sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use uuid::Uuid;

pub use self::selector::Selector;
use self::{
    draft::{Draft, Leftovers},
    inspection::Place,
    items::Collector,
    manifest::{Header, Item, Manifest},
    reading::ManifestReader,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, Label, Sealed, Timestamp, VaultName, counted, did_you_mean},
    store::{Create, Lease, Store},
};

/// Long enough for the header of nearly every manifest, so that listing backups does not read their items.
const HEAD: u64 = 32 * 1024;

/// By how much the clocks of two instances may differ, and so an id from the time its backup began. What is later than
/// now by more was dated by a clock that was wrong.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);

/// All backups of all vaults, and the operations on them.
#[derive(Clone, Debug)]
pub struct Repository {
    backups: Arc<dyn Store>,
    state: Arc<dyn Store>,
}

/// A backup as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackupRef {
    /// The vault it is of.
    pub vault: VaultName,
    /// Its id.
    pub id: BackupId,
    /// Its label.
    pub label: Option<Label>,
}

impl Repository {
    /// Backups in one container, state in another: the first can be locked against any change.
    pub fn new(backups: Arc<dyn Store>, state: Arc<dyn Store>) -> Self {
        Self { backups, state }
    }

    /// What a person calls the place of the backups.
    pub fn describe(&self) -> String {
        self.backups.describe()
    }

    /// All vaults that have a backup or the beginning of one.
    pub async fn vaults(&self) -> Result<Vec<VaultName>> {
        let folders: Vec<String> = self.backups.folders(names::VAULTS).try_collect().await?;
        Ok(folders.iter().filter_map(|folder| folder.parse().ok()).collect())
    }

    /// All backups of a vault, oldest first. Names that are not those of manifests are passed over.
    pub async fn backups(&self, vault: &VaultName) -> Result<Vec<BackupRef>> {
        let prefix = names::manifests(vault);
        let entries: Vec<_> = self.backups.list(&prefix, None).try_collect().await?;
        let mut backups: Vec<BackupRef> = entries
            .iter()
            .filter(|entry| names::place(vault, &entry.name) == Place::Manifest)
            .filter_map(|entry| names::parse_manifest(&entry.name))
            .map(|(id, label)| BackupRef { vault: vault.clone(), id, label })
            .collect();
        backups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(backups)
    }

    /// The id of the backup that `operation` makes: the same for every delivery and every attempt, also for two that
    /// begin at the same moment. It is above the newest backup's, though that may be of this very second, or of an
    /// instance whose clock was ahead, however far: the highest id is the latest, which is what a restore takes
    /// (docs/decisions/0023-ids-follow-each-other.md).
    pub async fn backup_id(&self, vault: &VaultName, operation: Uuid, now: Timestamp) -> Result<BackupId> {
        let newest = self.backups(vault).await?.pop();
        let next = newest.map_or(now, |newest| newest.id.started().plus(Duration::from_secs(1)));
        let started = now.max(next);
        let id = BackupId::new(started, operation.as_fields().0);
        let name = names::backup_id(operation);
        match self.state.create(&name, id.to_string().into()).await? {
            Create::Created => Ok(id),
            Create::Exists => {
                let text = self.state.read(&name).await?;
                std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
                    let message = format!("The blob {name} does not hold the id of a backup. Start the backup again.");
                    Error::new(ErrorKind::Corrupt, message).at(name)
                })
            }
        }
    }

    /// The backup a person means. `NotFound` names the newest ones there are.
    pub async fn find(&self, vault: &VaultName, selector: &Selector) -> Result<BackupRef> {
        let backups = self.backups(vault).await?;
        let newest_first = backups.iter().rev();
        let found = match selector {
            Selector::Latest => newest_first.clone().find(|backup| !backup.is_safety_copy()),
            Selector::Id(id) => backups.iter().find(|backup| backup.id == *id),
            Selector::Label(label) => newest_first.clone().find(|backup| backup.label.as_ref() == Some(label)),
            Selector::At(moment) => {
                let mut found = None;
                let latest = moment.plus(CLOCKS_DIFFER);
                let candidates = newest_first.clone().filter(|backup| !backup.is_safety_copy());
                // The newest is looked at in any case: its id may follow one from a clock that was ahead.
                let candidates = candidates.enumerate();
                let candidates = candidates.filter(|(index, backup)| *index == 0 || backup.id.started() <= latest);
                for (_, backup) in candidates {
                    if self.header(backup).await?.finished_at <= *moment {
                        found = Some(backup);
                        break;
                    }
                }
                found
            }
        };
        if let Some(found) = found {
            return Ok(found.clone());
        }
        let known;
        let mut meant = String::new();
        if backups.is_empty() {
            let place = self.describe();
            known =
                format!("there is no backup of that vault in {place}; `keyvault-backup list` shows whose there are");
            // Whatever is wrong with that listing is not what was asked.
            meant = did_you_mean(vault.as_str(), self.vaults().await.unwrap_or_default().iter().map(VaultName::as_str));
        } else {
            let newest: Vec<String> = newest_first.take(3).map(ToString::to_string).collect();
            known = format!("the newest are {}; `keyvault-backup list {vault}` shows all", newest.join(", "));
            if matches!(selector, Selector::Id(_) | Selector::Label(_)) {
                meant = selector::meant(&selector.to_string(), &backups);
            }
        }
        let wanted = match selector {
            Selector::Latest => format!("No backup of vault {vault}"),
            Selector::Id(_) | Selector::Label(_) => format!("No backup {selector} of vault {vault}"),
            Selector::At(moment) => format!("No backup of vault {vault} that was complete at {moment}"),
        };
        Err(Error::new(ErrorKind::NotFound, format!("{wanted} was found: {known}.{meant}")).at("backup"))
    }

    /// All about a backup but its items, from the beginning of its manifest. Unlike [`Repository::open`] this does not
    /// check the manifest's hash.
    pub async fn header(&self, backup: &BackupRef) -> Result<Header> {
        let name = backup.manifest();
        let start = self.backups.read_part(&name, 0..HEAD).await?;
        if let Some(header) = Header::decode(&name, &start)? {
            return Ok(header);
        }
        Ok(self.open(backup).await?.header)
    }

    /// A backup with all its items, checked.
    pub async fn open(&self, backup: &BackupRef) -> Result<Manifest> {
        let mut reader = self.read_manifest(backup).await?;
        let mut items = Collector::default();
        while let Some(item) = reader.next().await? {
            items.push(&item)?;
        }
        Ok(Manifest { header: reader.header().clone(), items: items.finish()? })
    }

    /// A backup's manifest, to be read item by item in memory that does not depend on their number. How it must be
    /// used: [`ManifestReader`].
    pub async fn read_manifest(&self, backup: &BackupRef) -> Result<ManifestReader> {
        ManifestReader::open(self.backups.clone(), backup).await
    }

    /// The bytes of an item, checked against size and hash. `Corrupt` when they are not what was written.
    pub async fn read_item(&self, item: &Item) -> Result<Sealed> {
        let damaged = |why: String| {
            let message = format!(
                "The stored backup of {} is damaged: {why} (blob {}). Use another backup for this item.",
                item.id, item.blob
            );
            Error::new(ErrorKind::Corrupt, message).at(item.id.to_string())
        };
        let bytes = match self.backups.read(&item.blob).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged("it is not there".into())),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return Err(damaged("the disk cannot read it".into()).because(error));
            }
            other => other?,
        };
        if bytes.len() as u64 != item.size {
            return Err(damaged(format!("it has {} instead of {}", counted(bytes.len() as u64, "byte"), item.size)));
        }
        let sealed = Sealed::new(bytes);
        if sealed.sha256() != *item.sha256 {
            return Err(damaged("its content does not have the recorded SHA-256".into()));
        }
        Ok(sealed)
    }

    /// Takes the right to be the only one that backs this vault up, for `operation`, or that prunes it: then the nil id,
    /// so that a backup that comes second does not take the holder for another backup and itself for not needed.
    pub async fn lock(&self, vault: &VaultName, operation: Uuid) -> Result<Lock> {
        match self.state.lease(&names::lease(vault)).await {
            Ok(lease) => {
                // Tells whoever comes second who was first. Not needed for the exclusion itself.
                self.state.replace(&names::lock_holder(vault), operation.to_string().into()).await?;
                Ok(Lock::Taken(lease))
            }
            Err(error) if error.kind() == ErrorKind::Busy => {
                let holder = match self.state.read(&names::lock_holder(vault)).await {
                    Ok(text) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
                Ok(Lock::HeldBy(holder.filter(|holder: &Uuid| !holder.is_nil())))
            }
            Err(error) => Err(error),
        }
    }

    /// Begins a backup, or goes on with one that was interrupted: what the interrupted run has written is found again.
    /// Nothing is visible before [`Draft::commit`].
    pub async fn begin(&self, vault: &VaultName, id: &BackupId, label: Option<&Label>) -> Result<Draft> {
        let mut leftovers = Leftovers::default();
        // Safety copies are written without the vault's lease, so that a prune beside a restore that goes on after days
        // could remove what its first attempt left: they are taken anew.
        if !label.is_some_and(Label::is_of_safety_copy) {
            let prefix = names::items(vault, id);
            let mut entries = self.backups.list(&prefix, None);
            while let Some(entry) = entries.try_next().await? {
                leftovers.add(&entry);
            }
        }
        let reference = BackupRef { vault: vault.clone(), id: id.clone(), label: label.cloned() };
        Ok(Draft { backups: self.backups.clone(), reference, leftovers })
    }
}

impl BackupRef {
    /// Whether it holds only what a restore was about to replace. Such a backup is restored by id or label; it is never
    /// the newest backup of its vault.
    pub fn is_safety_copy(&self) -> bool {
        self.label.as_ref().is_some_and(Label::is_of_safety_copy)
    }

    /// The name of its manifest in the backup container.
    pub fn manifest(&self) -> String {
        names::manifest(&self.vault, &self.id, self.label.as_ref())
    }
}

impl fmt::Display for BackupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "{} ({label})", self.id),
            None => self.id.fmt(f),
        }
    }
}

/// What [`Repository::lock`] found.
#[derive(Debug)]
pub enum Lock {
    /// The vault is ours until the lease is released.
    Taken(Box<dyn Lease>),
    /// Another operation is at work on it, or the same one in another worker; or one that is no backup, without an id.
    HeldBy(Option<Uuid>),
}
