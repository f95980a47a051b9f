//! Soft-deleted items: looking at them, recovering, deleting and purging. All of these go on in Key Vault after its
//! answer, so each method here waits until the outcome can be seen.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Current, DEADLINE, List, Vault,
    refusal::{Action, Subject},
    wire,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{ItemId, Kind},
};

/// Between two looks at something that is under way; what the official SDKs wait.
const POLL: Duration = Duration::from_secs(2);

/// A soft-deleted item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was current, as far as Key Vault tells.
    pub version: Option<Box<str>>,
    recovery_level: Option<Box<str>>,
}

impl Vault {
    /// The soft-deleted item that holds the name, if there is one. A delete that is still under way is not seen yet.
    pub async fn deleted(&self, item: &ItemId) -> Result<Option<Deleted>> {
        let name = item.name.as_str();
        let found: Result<Bytes> = self
            .call(self.doing(Action::Get, Subject::Item(item)), || async {
                Ok(match item.kind {
                    Kind::Secrets => self.secrets.get_deleted_secret(name, None).await?.into_body().into(),
                    Kind::Keys => self.keys.get_deleted_key(name, None).await?.into_body().into(),
                    Kind::Certificates => {
                        self.certificates.get_deleted_certificate(name, None).await?.into_body().into()
                    }
                })
            })
            .await;
        match found {
            Ok(body) => {
                let bundle = wire::bundle(&body).map_err(|cause| self.unreadable(item.kind, &cause))?;
                Ok(Some(Deleted { version: bundle.version, recovery_level: bundle.recovery_level }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Recovers a soft-deleted item, with all its versions, and waits until it is there. An item that is there already,
    /// from an earlier attempt, is fine.
    pub async fn recover(&self, item: &ItemId) -> Result<Current> {
        let name = item.name.as_str();
        let doing = self.doing(Action::Recover, Subject::Item(item));
        let asked = self
            .call(doing, || async {
                match item.kind {
                    Kind::Secrets => self.secrets.recover_deleted_secret(name, None).await.map(drop),
                    Kind::Keys => self.keys.recover_deleted_key(name, None).await.map(drop),
                    Kind::Certificates => self.certificates.recover_deleted_certificate(name, None).await.map(drop),
                }
            })
            .await;
        match asked {
            // Not deleted any more: an earlier attempt may have recovered it.
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => return Err(error),
            _ => (),
        }
        let start = Instant::now();
        loop {
            if let Some(current) = self.current(item, None).await? {
                return Ok(current);
            }
            if start.elapsed() >= DEADLINE {
                return Err(overdue(format!("{doing}: it has not appeared"), item));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Deletes an item, which keeps its name until it is purged, and waits until the deleted item can be seen. An item
    /// that is deleted already is fine.
    pub async fn delete(&self, item: &ItemId) -> Result<()> {
        let doing = self.doing(Action::Delete, Subject::Item(item));
        match self.send_delete(item).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let start = Instant::now();
        while self.deleted(item).await?.is_none() {
            if start.elapsed() >= DEADLINE {
                return Err(overdue(format!("{doing}: it is not among the deleted items"), item));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Purges a soft-deleted item: it is gone for good. Its name is free only some seconds later. An item that is purged
    /// already is fine.
    pub async fn purge(&self, item: &ItemId) -> Result<()> {
        match self.send_purge(item).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether purge protection or the lack of a right keeps the item from being deleted and purged; the
    /// reason if so.
    pub async fn why_not_removable(&self, item: &ItemId) -> Result<Option<String>> {
        match self.why_not_purgeable(item).await? {
            Some(reason) => Ok(Some(reason)),
            None => self.why_no_right_to_remove(item.kind).await,
        }
    }

    /// Whether purge protection keeps the item, active or deleted, from being purged; the reason if so. Only an item
    /// tells: nothing is known of an empty vault.
    pub async fn why_not_purgeable(&self, item: &ItemId) -> Result<Option<String>> {
        let is_protected = self.recovery_level(item).await?.is_some_and(|level| !level.contains("Purgeable"));
        let reason =
            "the target vault has purge protection, so a deleted item keeps its name until its retention is over.";
        Ok(is_protected.then(|| reason.to_owned()))
    }

    /// Whether the lack of a right keeps items of a kind from being deleted and purged; the reason if so.
    ///
    /// Rights are found out by deleting and purging a name that nobody has: a missing right is answered before a missing
    /// item.
    pub async fn why_no_right_to_remove(&self, kind: Kind) -> Result<Option<String>> {
        let name = format!("keyvault-backup-probe-{}", Uuid::new_v4().simple()).parse()?;
        let nobody = ItemId { kind, name };
        for answer in [self.send_delete(&nobody).await, self.send_purge(&nobody).await] {
            match answer {
                Err(error) if error.kind() == ErrorKind::Forbidden => return Ok(Some(error.message().to_owned())),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => (),
            }
        }
        Ok(None)
    }

    /// Listings of secrets and keys tell the recovery level; of certificates only a GET does, and of a deleted item its
    /// own GET.
    async fn recovery_level(&self, item: &ItemId) -> Result<Option<Box<str>>> {
        if let Some(deleted) = self.deleted(item).await? {
            return Ok(deleted.recovery_level);
        }
        if item.kind == Kind::Certificates {
            return Ok(self.look(item).await?.and_then(|bundle| bundle.recovery_level));
        }
        let pages = self.pages(List::Versions(item), item.kind, Subject::Item(item), Action::ListVersions);
        futures::pin_mut!(pages);
        match pages.try_next().await? {
            Some(page) => wire::recovery_level(&page).map_err(|cause| self.unreadable(item.kind, &cause)),
            None => Ok(None),
        }
    }

    /// Asks for an item to be deleted, and does not wait for what follows. `NotFound` when there is none.
    pub async fn send_delete(&self, item: &ItemId) -> Result<()> {
        let name = item.name.as_str();
        self.call(self.doing(Action::Delete, Subject::Item(item)), || async {
            match item.kind {
                Kind::Secrets => self.secrets.delete_secret(name, None).await.map(drop),
                Kind::Keys => self.keys.delete_key(name, None).await.map(drop),
                Kind::Certificates => self.certificates.delete_certificate(name, None).await.map(drop),
            }
        })
        .await
    }

    async fn send_purge(&self, item: &ItemId) -> Result<()> {
        let name = item.name.as_str();
        self.call(self.doing(Action::Purge, Subject::Item(item)), || async {
            match item.kind {
                Kind::Secrets => self.secrets.purge_deleted_secret(name, None).await.map(drop),
                Kind::Keys => self.keys.purge_deleted_key(name, None).await.map(drop),
                Kind::Certificates => self.certificates.purge_deleted_certificate(name, None).await.map(drop),
            }
        })
        .await
    }
}

fn overdue(what: String, item: &ItemId) -> Error {
    let message = format!("{what} after {} seconds. Look at the vault, then try again.", DEADLINE.as_secs());
    Error::new(ErrorKind::Unavailable, message).at(item.to_string())
}
