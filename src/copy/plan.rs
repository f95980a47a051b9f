//! What the target lacks: found by reading manifests and listings, no item blob, and changing nothing.

use super::{
    Fate, Report, Row,
    damage::{self, Damages, MOST_LISTED},
    index::{Entry, Index},
};
use crate::{
    error::{ErrorKind, Result},
    model::VaultName,
    repository::{
        BackupRef, Repository, Selector,
        findings::Damage,
        inspection::{BlobKey, Inspection},
        manifest::Item,
    },
};

/// What a copy will do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) report: Report,
    pub(super) index: Index,
    pub(super) damages: Damages,
}

/// Finds out what the target lacks of a vault's backups: of those chosen, or of all when none is.
///
/// `NotFound`: the source does not have a chosen one. `Conflict`: the target holds another backup under the name of one.
pub async fn plan(source: &Repository, target: &Repository, vault: &VaultName, chosen: &[Selector]) -> Result<Report> {
    let chosen = choose(source, vault, chosen).await?;
    let Plan { report, damages, .. } = of_backups(source, target, vault, chosen).await?;
    let (damage, more_damage) = damages.into_parts();
    Ok(Report { damage, more_damage, ..report })
}

/// The backups that are meant, newest first.
pub(super) struct Chosen {
    backups: Vec<BackupRef>,
    /// Whether somebody has named them.
    by_name: bool,
}

pub(super) async fn choose(source: &Repository, vault: &VaultName, chosen: &[Selector]) -> Result<Chosen> {
    let mut backups = Vec::new();
    for selector in chosen {
        backups.push(source.find(vault, selector).await?);
    }
    if chosen.is_empty() {
        backups = source.backups(vault).await?;
        if backups.is_empty() {
            // Says what there is.
            source.find(vault, &Selector::Latest).await?;
        }
    }
    backups.sort_by(|a, b| b.id.cmp(&a.id));
    backups.dedup();
    Ok(Chosen { backups, by_name: !chosen.is_empty() })
}

pub(super) async fn of_backups(
    source: &Repository,
    target: &Repository,
    vault: &VaultName,
    Chosen { backups, by_name }: Chosen,
) -> Result<Plan> {
    let there = target.backups(vault).await?;
    let mut planner = Planner {
        source,
        target,
        known_damage: target.damage(vault).await,
        index: Index::list(target, vault).await?,
        damages: Damages::default(),
    };
    let mut rows = Vec::new();
    for backup in backups {
        // The name of a manifest holds the label, so the same id can stand under another name.
        if let Some(other) = there.iter().find(|other| other.id == backup.id && other.label != backup.label) {
            return Err(target.is_another(other));
        }
        let mut row = Row { backup, fate: Fate::Removed, blobs: 0, bytes: 0 };
        match planner.look_at(&mut row).await {
            Ok(fate) => row.fate = fate,
            Err(error) if error.kind() == ErrorKind::NotFound && !source.exists(&row.backup).await? => (),
            Err(error) => return Err(error),
        }
        rows.push(row);
    }
    let report = Report { vault: vault.clone(), backups: rows, by_name, damage: Vec::new(), more_damage: 0 };
    Ok(Plan { report, index: planner.index, damages: planner.damages })
}

struct Planner<'a> {
    source: &'a Repository,
    target: &'a Repository,
    /// What the last verification of the target found.
    known_damage: Damage,
    index: Index,
    damages: Damages,
}

/// What the target has of the items of one backup.
#[derive(Default)]
struct Holdings {
    missing: Vec<(BlobKey, u64)>,
    /// Others are missing that a newer backup needs too.
    lacks_shared: bool,
    faulty: Vec<(Item, Inspection)>,
    more_faulty: u64,
}

impl Planner<'_> {
    async fn look_at(&mut self, row: &mut Row) -> Result<Fate> {
        let backup = &row.backup;
        let stored = self.index.get(BlobKey::of(&backup.manifest()));
        let is_there = match stored {
            Some(Entry::Listed(size)) if self.target.agrees_with(self.source, backup, size).await? => true,
            Some(_) => return self.tell_apart(backup).await,
            None => false,
        };
        // They are alike, and one of them is likely to be near.
        let place = if is_there { self.target } else { self.source };
        let holdings = match self.hold_against(place, backup).await {
            Err(error) if error.kind().is_of_stored_data() => {
                self.damages.of_manifest(backup, &damage::in_place(place, is_there, &error));
                return Ok(Fate::Damaged);
            }
            holdings => holdings?,
        };
        if !holdings.faulty.is_empty() {
            for (item, inspection) in &holdings.faulty {
                self.damages.of_item(backup, item, &damage::in_target(self.target, item, *inspection));
            }
            self.damages.count(holdings.more_faulty);
            return Ok(Fate::Damaged);
        }
        let is_whole = holdings.missing.is_empty() && !holdings.lacks_shared;
        for (key, size) in holdings.missing {
            self.index.set(key, Entry::Planned(size));
            (row.blobs, row.bytes) = (row.blobs + 1, row.bytes + size);
        }
        Ok(match (is_there, is_whole) {
            (false, _) => Fate::Missing,
            (true, false) => Fate::Incomplete,
            (true, true) => Fate::Present,
        })
    }

    /// What the target has of what a manifest names. Counts only when the manifest is sound, which its end says.
    async fn hold_against(&mut self, place: &Repository, backup: &BackupRef) -> Result<Holdings> {
        let mut reader = place.read_manifest(backup).await?;
        let mut holdings = Holdings::default();
        while let Some(item) = reader.next().await? {
            let key = BlobKey::of(&item.blob);
            let entry = match self.index.get(key) {
                Some(Entry::Listed(_)) if self.known_damage.may_be_at(&item.blob) => self.inspect(&item.blob).await?,
                entry => entry,
            };
            let inspection = match entry {
                None | Some(Entry::Lost) => {
                    holdings.missing.push((key, item.size));
                    continue;
                }
                Some(Entry::Planned(_)) => {
                    holdings.lacks_shared = true;
                    continue;
                }
                Some(Entry::Listed(size) | Entry::Sound(size)) if size == item.size => continue,
                Some(Entry::Listed(size) | Entry::Sound(size)) => Inspection::Sound { size },
                Some(Entry::Damaged(size)) => Inspection::Damaged { size },
                Some(Entry::Unreadable) => Inspection::Unreadable,
            };
            if holdings.faulty.len() < MOST_LISTED {
                holdings.faulty.push((item, inspection));
            } else {
                holdings.more_faulty += 1;
            }
        }
        Ok(holdings)
    }

    /// Reads a blob of the target that was found damaged: it may have been removed and copied anew since.
    async fn inspect(&mut self, blob: &str) -> Result<Option<Entry>> {
        let entry = match self.target.inspect(blob).await? {
            Inspection::Sound { size } => Entry::Sound(size),
            Inspection::Damaged { size } => Entry::Damaged(size),
            Inspection::Unreadable => Entry::Unreadable,
            Inspection::Missing => return Ok(None),
        };
        self.index.set(BlobKey::of(blob), entry);
        Ok(Some(entry))
    }

    /// Two texts bear one name: one of them is damaged, or they are backups of two repositories.
    async fn tell_apart(&mut self, backup: &BackupRef) -> Result<Fate> {
        for (place, is_target) in [(self.source, false), (self.target, true)] {
            match read_through(place, backup).await {
                Err(error) if error.kind().is_of_stored_data() => {
                    self.damages.of_manifest(backup, &damage::in_place(place, is_target, &error));
                    return Ok(Fate::Damaged);
                }
                read => read?,
            }
        }
        Err(self.target.is_another(backup))
    }
}

async fn read_through(place: &Repository, backup: &BackupRef) -> Result<()> {
    let mut reader = place.read_manifest(backup).await?;
    while reader.next().await?.is_some() {}
    Ok(())
}
