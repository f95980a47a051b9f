//! Comparing backups with each other and with vaults.

use crate::{
    config::connect::{Connections, Role},
    diff::{Diff, Side},
    error::{Error, ErrorKind, Result},
    model::{BackupId, VaultName, filter::ItemFilter},
    repository::{BackupRef, Repository, Selector, manifest::Header},
};

/// What a backup is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// Another backup, of the same vault or of another one.
    Backup(BackupRef),
    /// A vault as it is now.
    Vault(VaultName),
}

/// What two sides were and how they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The first side.
    pub from: Box<Header>,
    /// The second side, if it is a backup.
    pub to: Option<Box<Header>>,
    /// The vault of the second side.
    pub to_vault: VaultName,
    /// How they differ.
    pub diff: Diff,
}

/// Compares a backup with what became of it. Of a vault only the listings are read, with the patterns of the backup; a
/// kind that cannot be listed is told in the failures, and an error only when no kind can be.
pub async fn compare(connections: &Connections, from: &BackupRef, against: &Against) -> Result<Comparison> {
    let repository = connections.repository(Role::Backup)?;
    let manifest = repository.open(from).await?;
    let header = Box::new(manifest.header.clone());
    let from = Side::of_backup(manifest)?;
    let (to, to_vault, side) = match against {
        Against::Backup(backup) => {
            let manifest = repository.open(backup).await?;
            (Some(Box::new(manifest.header.clone())), backup.vault.clone(), Side::of_backup(manifest)?)
        }
        Against::Vault(name) => {
            let vault = connections.vault(name, Role::Backup)?;
            (None, name.clone(), Side::of_vault(&vault, ItemFilter::new(&header.filter)?).await?)
        }
    };
    Ok(Comparison { from: header, to, to_vault, diff: Diff::between(&from, &side)? })
}

/// The newest backup of a vault whose manifest can be read, or the newest before another one; safety copies do not count.
pub async fn newest_backup(repository: &Repository, vault: &VaultName, before: Option<&BackupId>) -> Result<BackupRef> {
    for backup in repository.backups(vault).await?.iter().rev().filter(|backup| may_be_meant(backup, before)) {
        match repository.header(backup).await {
            Ok(_) => return Ok(backup.clone()),
            Err(error) if error.kind().is_of_stored_data() => continue,
            Err(error) => return Err(error),
        }
    }
    match before {
        Some(before) => Err(nothing_before(vault, before)),
        // Says what there is, or why the newest cannot be read.
        None => repository.find(vault, &Selector::Latest).await,
    }
}

/// Whether a backup is one that [`newest_backup`] may choose.
pub fn may_be_meant(backup: &BackupRef, before: Option<&BackupId>) -> bool {
    !backup.is_safety_copy() && before.is_none_or(|before| backup.id < *before)
}

/// There is nothing to compare this backup with.
pub fn nothing_before(vault: &VaultName, before: &BackupId) -> Error {
    let message = format!(
        "Vault {vault} has no backup before {before} to compare it with. `--live` compares it with the vault itself."
    );
    Error::new(ErrorKind::NotFound, message).at("backup")
}
