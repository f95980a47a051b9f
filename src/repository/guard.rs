//! The guard as it is stored: a mark in the manifests, and the words of the people who acknowledged it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Repository, manifest::Guard, names, records::decode};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{BackupId, Timestamp, VaultName, are, counted, were},
    store::Create,
};

/// What the format version of an acknowledgement is.
pub const ACKNOWLEDGEMENT_VERSION: u32 = 1;

/// A person's word that what tripped the guard was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// [`ACKNOWLEDGEMENT_VERSION`].
    pub format_version: u32,
    /// The vault.
    pub vault: VaultName,
    /// What was acknowledged.
    pub guard: Guard,
    /// When.
    pub acknowledged_at: Timestamp,
    /// By whom, as far as that is known.
    pub acknowledged_by: String,
    /// Why, if they said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Repository {
    /// Why the guard of a vault is up, if it is: the newest backup says so, and nobody has acknowledged it.
    ///
    /// `Corrupt` or `NewerFormat`: the newest backups cannot be read, so one of them may have tripped it. Whoever is
    /// about to remove something takes that for a guard that is up.
    pub async fn guard(&self, vault: &VaultName) -> Result<Option<Guard>> {
        let mut unreadable = None;
        for backup in self.backups(vault).await?.iter().rev().filter(|backup| !backup.is_safety_copy()) {
            let mark = match self.header(backup).await {
                Err(error) if error.kind().is_of_stored_data() => {
                    unreadable.get_or_insert((backup.clone(), error));
                    continue;
                }
                header => header?.guard,
            };
            if let Some(mark) = mark
                && !self.is_acknowledged(vault, &mark).await?
            {
                return Ok(Some(mark));
            }
            break;
        }
        let Some((backup, error)) = unreadable else { return Ok(None) };
        let message = format!(
            "Whether the guard of vault {vault} is up cannot be told, because its backup {backup} cannot be read. Back \
             the vault up again: that compares anew."
        );
        Err(Error::new(error.kind(), message).because(error))
    }

    /// Whether somebody acknowledged what tripped the guard.
    pub async fn is_acknowledged(&self, vault: &VaultName, guard: &Guard) -> Result<bool> {
        match self.state.read(&names::acknowledgement(vault, &guard.tripped_by)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a person said of the guard that this backup tripped.
    pub async fn acknowledgement(&self, vault: &VaultName, tripped_by: &BackupId) -> Result<Option<Acknowledgement>> {
        let name = names::acknowledgement(vault, tripped_by);
        match self.state.read(&name).await {
            Ok(text) => read(&name, &text).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a person's word; what was kept first when there is something.
    pub async fn acknowledge(&self, acknowledgement: Acknowledgement) -> Result<Acknowledgement> {
        let Acknowledgement { vault, guard, .. } = &acknowledgement;
        let name = names::acknowledgement(vault, &guard.tripped_by);
        let text = serde_json::to_vec_pretty(&acknowledgement).map_err(|cause| {
            Error::new(ErrorKind::Internal, format!("Could not write the acknowledgement {name}.")).because(cause)
        })?;
        match self.state.create(&name, text.into()).await? {
            Create::Created => Ok(acknowledgement),
            Create::Exists => read(&name, &self.state.read(&name).await?),
        }
    }
}

fn read(name: &str, text: &[u8]) -> Result<Acknowledgement> {
    let acknowledgement: Acknowledgement = decode(name, text)?;
    if acknowledgement.format_version > ACKNOWLEDGEMENT_VERSION {
        let message = format!(
            "The acknowledgement {name} has format version {}; this release reads up to {ACKNOWLEDGEMENT_VERSION}. Use a \
             newer release of keyvault-backup.",
            acknowledgement.format_version
        );
        return Err(Error::new(ErrorKind::NewerFormat, message));
    }
    Ok(acknowledgement)
}

/// What was found, such as "of 100 items compared with backup …, 30 are gone and 0 were disabled".
impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compared_with, items, deleted, disabled, .. } = self;
        write!(
            f,
            "of {} compared with backup {compared_with}, {deleted} {} gone and {disabled} {} disabled",
            counted(*items, "item"),
            are(*deleted),
            were(*disabled)
        )
    }
}
