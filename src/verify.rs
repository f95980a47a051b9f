//! Checks that every backup of a vault can be restored from what is stored: each item blob is read once and compared
//! with the hash in its name, each manifest is read and held against what the blobs turned out to be.
//!
//! It takes no lease and writes nothing into the backup container, so it can run beside backups, restores and pruning:
//! what is written meanwhile is looked at too, and what is removed meanwhile is no damage. Memory: 25 to 50 bytes for
//! each blob, whatever the manifests hold.

mod finding;
mod index;

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};
use uuid::Uuid;

use self::{
    finding::{Damage, Group, MOST_LISTED, Trouble},
    index::{Entry, Index, Key},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Timestamp, VaultName, counted},
    report::Progress,
    repository::{
        BackupRef, Repository,
        findings::{FINDINGS_VERSION, Findings, Verification},
        inspection::{Found, Inspection, Place},
    },
};

/// After so many blobs it is recorded how far the verification is.
const SAVE_EVERY: usize = 256;

/// Items of one manifest whose blobs are not in the listing are looked for so many at a time.
const LOOK_FOR: usize = 256;

/// Blobs that no backup names are of a run that is under way, or was killed and will be repeated, while they are younger
/// than this, in seconds. A verification that was interrupted longer ago begins anew.
const DAY: i64 = 24 * 60 * 60;

/// How to verify.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The operation that does it.
    pub operation: Uuid,
    /// How many blobs are read at once.
    pub concurrency: usize,
}

/// Checks all backups of a vault.
///
/// Damage is data, not an error. `NotFound` when there is no backup: that nothing is damaged must not look like safety.
/// Any other error: it could not be done; the next call goes on behind the last blob that was recorded.
pub async fn run(
    repository: &Repository,
    vault: &VaultName,
    options: &Options,
    progress: &Progress,
    now: Timestamp,
) -> Result<Findings> {
    let start = Instant::now();
    let at_first = repository.backups(vault).await?;
    let mut run = Run::new(repository, vault, options, now).await?;
    run.check_blobs(progress).instrument(debug_span!("blobs")).await?;
    let backups = run.check_manifests().instrument(debug_span!("manifests")).await?;
    if at_first.is_empty() && backups.is_empty() {
        return Err(nothing_to_verify(vault, &repository.describe(), run.index.total().0));
    }
    // Blobs of a backup that is just being removed are about to go too.
    let is_pruned = at_first.iter().any(|backup| !backups.contains(backup));
    run.look_at_unnamed(is_pruned).await?;
    let ended = Verification { after: None, damaged: Vec::new(), ..run.state.clone() };
    let findings = run.findings(backups.len() as u64, now.plus(start.elapsed()));
    repository.save_findings(&findings).await?;
    repository.save_verification(vault, &ended).await?;
    Ok(findings)
}

struct Run<'a> {
    repository: &'a Repository,
    vault: &'a VaultName,
    options: &'a Options,
    now: Timestamp,
    /// How far it is with the blobs.
    state: Verification,
    index: Index,
    sound_backups: u64,
    /// A manifest that cannot be read may name any blob.
    has_unreadable_backup: bool,
    damage: Damage,
    unnamed: Group,
    unknown: Group,
}

impl<'a> Run<'a> {
    async fn new(
        repository: &'a Repository,
        vault: &'a VaultName,
        options: &'a Options,
        now: Timestamp,
    ) -> Result<Self> {
        let state = match repository.verification(vault).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => None,
            state => state?,
        };
        let fresh =
            || Verification { format_version: FINDINGS_VERSION, started_at: now, after: None, damaged: Vec::new() };
        Ok(Self {
            repository,
            vault,
            options,
            now,
            state: state
                .filter(|state| state.after.is_some() && now.seconds_since(state.started_at) < DAY)
                .unwrap_or_else(fresh),
            index: Index::default(),
            sound_backups: 0,
            has_unreadable_backup: false,
            damage: Damage::default(),
            unnamed: Group::default(),
            unknown: Group::default(),
        })
    }

    /// Reads every item blob, in the order of names, but those that an earlier attempt has read.
    async fn check_blobs(&mut self, progress: &Progress) -> Result<()> {
        let (repository, vault, concurrency) = (self.repository, self.vault, self.options.concurrency);
        let (after, started_at) = (self.state.after.clone(), self.state.started_at);
        let is_behind = |found: &Found| after.as_ref().is_some_and(|after| found.name <= *after);
        let checked = repository.inventory(vault).map_ok(|found| {
            // What was written since may stand before that place.
            let was_read = is_behind(&found) && found.created < started_at;
            async move {
                if found.place != Place::Item {
                    return Ok((found, None));
                }
                progress.expect(1);
                if was_read {
                    progress.advance(0);
                    return Ok((found, None));
                }
                let inspection = repository.inspect(&found.name).await?;
                progress.advance(found.size);
                Ok((found, Some(inspection)))
            }
        });
        let checked = checked.try_buffered(concurrency);
        futures::pin_mut!(checked);
        let (mut unsaved, mut is_full) = (0, false);
        while let Some((found, inspection)) = checked.try_next().await? {
            match (found.place, inspection) {
                (Place::Manifest, _) => continue,
                (Place::Unknown, _) => {
                    self.unknown.add(&found);
                    continue;
                }
                (Place::Item, None) => {
                    let is_damaged = self.state.damaged.contains(&found.name);
                    self.sort_in(&found, damaged_or_sound(is_damaged, found.size));
                    continue;
                }
                (Place::Item, Some(inspection)) => self.sort_in(&found, inspection),
            }
            let was_passed = is_behind(&found);
            if was_passed {
                self.state.damaged.retain(|blob| *blob != found.name);
            }
            let is_damaged = matches!(inspection, Some(Inspection::Damaged { .. } | Inspection::Unreadable));
            // Damage that cannot be listed must be found again by the attempt that goes on from here.
            is_full |= is_damaged && self.state.damaged.len() == MOST_LISTED;
            if is_full {
                continue;
            }
            if is_damaged {
                self.state.damaged.push(found.name.clone());
            }
            if was_passed {
                continue;
            }
            self.state.after = Some(found.name);
            unsaved += 1;
            if unsaved == SAVE_EVERY {
                unsaved = 0;
                if let Err(error) = repository.save_verification(vault, &self.state).await {
                    tracing::warn!(%vault, error = %error.chain(), "could not record how far the verification is");
                }
            }
        }
        Ok(())
    }

    fn sort_in(&mut self, found: &Found, inspection: Inspection) {
        let is_young = self.now.seconds_since(found.created) < DAY;
        self.index.insert(Key::of(&found.name), Entry::of(inspection, is_young));
    }

    /// Holds every backup against what its blobs are.
    async fn check_manifests(&mut self) -> Result<Vec<BackupRef>> {
        let mut backups = self.repository.backups(self.vault).await?;
        let mut removed: Vec<BackupRef> = Vec::new();
        for backup in &backups {
            match self.check_manifest(backup).await {
                Ok(None) => self.sound_backups += 1,
                Ok(Some(trouble)) => {
                    if trouble.is_of_missing(&self.index) && !self.repository.exists(backup).await? {
                        removed.push(backup.clone());
                        continue;
                    }
                    self.damage.of_items(backup, trouble, &mut self.index);
                }
                // It was removed since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => removed.push(backup.clone()),
                Err(error) if error.kind().is_of_stored_data() => {
                    self.has_unreadable_backup = true;
                    self.damage.of_manifest(backup, &error);
                }
                Err(error) => return Err(error),
            }
        }
        backups.retain(|backup| !removed.contains(backup));
        Ok(backups)
    }

    /// What is wrong with a backup whose manifest is sound; nothing when it is sound as a whole.
    async fn check_manifest(&mut self, backup: &BackupRef) -> Result<Option<Trouble>> {
        let mut reader = self.repository.read_manifest(backup).await?;
        let mut trouble = Trouble::default();
        while let Some(item) = reader.next().await? {
            if self.index.contains(Key::of(&item.blob)) {
                trouble.hold_against(item, &mut self.index);
                continue;
            }
            trouble.unlisted.push(item);
            if trouble.unlisted.len() == LOOK_FOR {
                self.look_for_unlisted(&mut trouble).await?;
            }
        }
        self.look_for_unlisted(&mut trouble).await?;
        Ok(Some(trouble).filter(|trouble| !trouble.is_empty()))
    }

    /// What is not in the listing was written after it, or is gone.
    async fn look_for_unlisted(&mut self, trouble: &mut Trouble) -> Result<()> {
        let repository = self.repository;
        let looked_at = stream::iter(trouble.unlisted.drain(..))
            .map(|item| async move { repository.inspect(&item.blob).await.map(|inspection| (item, inspection)) })
            .buffered(self.options.concurrency)
            .try_collect::<Vec<_>>()
            .await?;
        for (item, inspection) in looked_at {
            self.index.insert(Key::of(&item.blob), Entry::of(inspection, true));
            trouble.hold_against(item, &mut self.index);
        }
        Ok(())
    }

    /// Looks once more at blobs that no backup names, because some may have been removed meanwhile.
    async fn look_at_unnamed(&mut self, is_pruned: bool) -> Result<()> {
        // What cannot be read may name them.
        if is_pruned || self.has_unreadable_backup || !self.index.has_old_unnamed() {
            return Ok(());
        }
        let (index, unnamed) = (&self.index, &mut self.unnamed);
        let inventory = self.repository.inventory(self.vault);
        inventory
            .try_for_each(|found| {
                if found.place == Place::Item && index.is_old_and_unnamed(Key::of(&found.name)) {
                    unnamed.add(&found);
                }
                future::ready(Ok(()))
            })
            .await
    }

    fn findings(self, backups: u64, finished_at: Timestamp) -> Findings {
        let (mut findings, more_damage) = self.damage.into_findings();
        let unneeded = self.state.damaged.iter().filter(|blob| self.index.is_unnamed(Key::of(blob)));
        findings.extend(unneeded.map(|blob| finding::damaged_and_unneeded(blob)));
        findings.extend(self.unnamed.into_note(finding::unnamed));
        findings.extend(self.unknown.into_note(finding::unknown));
        let (blobs, bytes) = self.index.total();
        Findings {
            format_version: FINDINGS_VERSION,
            vault: self.vault.clone(),
            operation: self.options.operation,
            started_at: self.state.started_at,
            finished_at,
            backups,
            sound_backups: self.sound_backups,
            blobs,
            bytes,
            unnamed_blobs: self.index.unnamed(),
            findings,
            more_damage,
        }
    }
}

fn nothing_to_verify(vault: &VaultName, place: &str, blobs: u64) -> Error {
    let message = if blobs == 0 {
        format!(
            "Nothing is stored of vault {vault} in {place}, so there is nothing to verify. Check the name; \
             `keyvault-backup list` shows the vaults that have backups."
        )
    } else {
        format!(
            "There is no backup of vault {vault} in {place}, only {}: of a first backup that has not ended, or \
             of backups whose manifests were removed. Back the vault up.",
            counted(blobs, "item blob")
        )
    };
    Error::new(ErrorKind::NotFound, message).at("vault")
}

fn damaged_or_sound(is_damaged: bool, size: u64) -> Inspection {
    if is_damaged { Inspection::Damaged { size } } else { Inspection::Sound { size } }
}
