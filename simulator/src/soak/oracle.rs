//! What must be restorable: what the vault held, item by item with all versions, whenever a backup came to be.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Finding,
    format::{self, Blob, Entry, Manifest},
    place::Place,
};
use crate::key_vault::{ItemState, Kind, Snapshot, VersionState};

type Item = (Kind, String);

/// An item with what belongs to it: a certificate has its key and its secret.
type Content = Vec<(Item, ItemState)>;

/// Which manifests may go from one look to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pruning {
    /// None.
    Nothing,
    /// Of each vault those beyond the newest so many; never one with a label, never the last copy of what
    /// the newest one saw in the vault.
    AllBut(usize),
}

/// Everything that was ever seen in the backup container.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// What restoring the blob of this hash brings back.
    contents: HashMap<String, Content>,
    /// Size and hash of each blob.
    blobs: BTreeMap<String, (u64, String)>,
    backups: BTreeMap<String, Known>,
}

/// A backup that exists.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) vault: String,
    pub(super) id: String,
    pub(super) label: Option<String>,
    pub(super) succeeded: bool,
    pub(super) items: Vec<Entry>,
    /// What the vault held then, in the backup or not.
    held: BTreeSet<Item>,
}

impl Oracle {
    /// Looks at the whole container. `vaults` is what the vaults held while the last command ran, which must not have
    /// changed meanwhile. `thoroughly` reads every blob again.
    pub(super) async fn look(
        &mut self,
        place: &Place,
        vaults: &HashMap<&str, Snapshot>,
        pruning: Pruning,
        thoroughly: bool,
    ) -> io::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let listed = place.list().await?;
        for (name, &size) in &listed {
            let known = self.blobs.get(name).cloned();
            if let Some((was, _)) = known.as_ref().filter(|known| known.0 != size) {
                findings.push(Finding::Lost(format!("{name} was overwritten: it had {was} bytes and has {size}")));
            }
            if known.is_some() && !thoroughly {
                continue;
            }
            let bytes = place.read(name).await?;
            let hash = format::sha256(&bytes);
            match known {
                Some((_, was)) if was != hash => {
                    findings.push(Finding::Lost(format!("the bytes of {name} are not those that were written")));
                }
                Some(_) => {}
                None => {
                    self.blobs.insert(name.clone(), (bytes.len() as u64, hash.clone()));
                    findings.extend(self.admit(name, &hash, &bytes, vaults));
                }
            }
        }
        self.miss(&listed, vaults, pruning, &mut findings);
        Ok(findings)
    }

    /// The backups of a vault, oldest first, without the safety copies of restores.
    pub(super) fn backups(&self, vault: &str) -> Vec<&Known> {
        self.backups.values().filter(|known| known.vault == vault && !known.is_safety_copy()).collect()
    }

    /// All backups there are, with the safety copies.
    pub(super) fn all(&self) -> impl Iterator<Item = &Known> {
        self.backups.values()
    }

    /// The backup whose manifest has this name.
    pub(super) fn backup(&self, name: &str) -> Option<&Known> {
        self.backups.get(name)
    }

    /// Size and hash of the blob of this name.
    pub(super) fn blob(&self, name: &str) -> Option<&(u64, String)> {
        self.blobs.get(name)
    }

    /// What restoring this backup into an empty vault must give.
    pub(super) fn expected(&self, backup: &Known) -> Snapshot {
        let contents = backup.items.iter().filter_map(|entry| self.contents.get(&entry.sha256));
        Snapshot { items: contents.flatten().cloned().collect() }
    }

    /// Whether some backup of the vault holds this version of an item.
    pub(super) fn holds(&self, vault: &str, item: &Item, state: &ItemState) -> bool {
        let of_vault = self.backups.values().filter(|known| known.vault == vault);
        let mut contents = of_vault.flat_map(|known| &known.items).filter_map(|entry| self.contents.get(&entry.sha256));
        contents.any(|content| content.iter().any(|(it, held)| it == item && held == state))
    }

    /// Judges a blob that was not there before.
    fn admit(&mut self, name: &str, hash: &str, bytes: &[u8], vaults: &HashMap<&str, Snapshot>) -> Vec<Finding> {
        let lost = |text: String| vec![Finding::Lost(text)];
        match format::parse(name) {
            None => lost(format!("{name} is no name of the format")),
            Some(Blob::Item { sha256, .. }) if sha256 != hash => lost(format!("{name} has the hash {hash}")),
            Some(Blob::Item { .. }) => Vec::new(),
            Some(Blob::Manifest { vault, id, label }) => match format::read(bytes) {
                Err(why) => lost(format!("{name} is damaged: {why}")),
                Ok(manifest) => {
                    let succeeded = manifest.header["status"] == "Succeeded";
                    let Some(held) = vaults.get(vault.as_str()) else {
                        return lost(format!("{name} is a backup of a vault that nobody backs up"));
                    };
                    let there = active(held).items.into_keys().collect();
                    let mut known = Known { vault, id, label, succeeded, items: Vec::new(), held: there };
                    let findings = self.judge(name, &known, &manifest, held);
                    known.items = manifest.items;
                    self.backups.insert(name.to_owned(), known);
                    findings
                }
            },
        }
    }

    /// Compares a new manifest with what its vault held.
    fn judge(&mut self, name: &str, known: &Known, manifest: &Manifest, held: &Snapshot) -> Vec<Finding> {
        let mut faults = Vec::new();
        let header = &manifest.header;
        if header["formatVersion"] != 1 || header["backupId"] != *known.id || header["vault"] != *known.vault {
            faults.push("it does not say what its name says".to_owned());
        }
        if known.succeeded && header["failures"].as_array().is_some_and(|failures| !failures.is_empty()) {
            faults.push("it is called Succeeded and has failures".to_owned());
        }
        for entry in &manifest.items {
            let item = (entry.kind, entry.name.clone());
            let what = format!("{}/{}", entry.kind.plural(), entry.name);
            // A restore recovers what is deleted before it takes a copy of it.
            let there = held.items.get(&item).filter(|state| state.active || known.is_safety_copy());
            match (self.contents.get(&entry.sha256), there) {
                (None, _) if entry.stale => faults.push(format!("{what} is stale, and nobody ever saw its copy")),
                (_, _) if entry.stale && known.succeeded => faults.push(format!("{what} is stale in a success")),
                (_, _) if entry.stale => {}
                (_, None) => faults.push(format!("{what} is in it and was not in the vault")),
                (Some(content), Some(_)) if *content != content_of(held, &item) => {
                    faults.push(format!("{what} was carried over although it had changed"));
                }
                (_, Some(state)) => {
                    faults.extend(differs(entry, state).map(|field| format!("{what}: {field} is not the vault's")));
                    self.contents.entry(entry.sha256.clone()).or_insert_with(|| content_of(held, &item));
                }
            }
        }
        if !known.is_safety_copy() {
            faults.extend(unmentioned(manifest, held));
        }
        faults.into_iter().map(|fault| Finding::FalseSuccess(format!("{name}: {fault}"))).collect()
    }

    /// What should be there and is not.
    fn miss(
        &mut self,
        listed: &BTreeMap<String, u64>,
        vaults: &HashMap<&str, Snapshot>,
        pruning: Pruning,
        findings: &mut Vec<Finding>,
    ) {
        let gone: BTreeSet<String> = self.backups.keys().filter(|name| !listed.contains_key(*name)).cloned().collect();
        for name in &gone {
            let Some(known) = self.backups.get(name) else { continue };
            let newer = self.backups(&known.vault).iter().filter(|other| other.id > known.id).count();
            let may_go = match pruning {
                Pruning::Nothing => false,
                Pruning::AllBut(kept) => newer >= kept && known.label.is_none(),
            };
            if !may_go {
                findings.push(Finding::Lost(format!("the manifest {name} is gone")));
            }
            let stays = |entry: &Entry| {
                let left =
                    self.backups.iter().filter(|(other, backup)| backup.vault == known.vault && !gone.contains(*other));
                left.flat_map(|(_, backup)| &backup.items).any(|it| it.kind == entry.kind && it.name == entry.name)
            };
            // Who prunes sees no vault: what came back since the newest backup is for the next one to find.
            let newest = self.backups(&known.vault).pop().map(|newest| &newest.held);
            let in_vault = |entry: &Entry| {
                let item = (entry.kind, entry.name.clone());
                let now = vaults.get(&*known.vault).and_then(|vault| vault.items.get(&item));
                now.is_some_and(|state| state.active) && newest.is_some_and(|held| held.contains(&item))
            };
            let last_copies = known.items.iter().filter(|entry| in_vault(entry) && !stays(entry));
            findings.extend(last_copies.map(|entry| {
                Finding::Lost(format!(
                    "{name} is gone, and with it the last copy of {}/{}",
                    entry.kind.plural(),
                    entry.name
                ))
            }));
        }
        self.backups.retain(|name, _| !gone.contains(name));
        for (name, backup) in &self.backups {
            for entry in &backup.items {
                match listed.get(&entry.blob) {
                    None => findings.push(Finding::Lost(format!("{name} names {}, which is not there", entry.blob))),
                    Some(size) if *size != entry.size => {
                        findings.push(Finding::Lost(format!("{} has {size} bytes, not {}", entry.blob, entry.size)));
                    }
                    Some(_) => match self.blobs.get(&entry.blob) {
                        Some((_, hash)) if *hash == entry.sha256 => {}
                        _ => findings.push(Finding::Lost(format!("{} has not the hash that {name} says", entry.blob))),
                    },
                }
            }
        }
        // What nobody names may go, and may come again.
        self.blobs.retain(|name, _| listed.contains_key(name));
    }
}

impl Known {
    /// A copy of what a restore replaced: never the newest backup of its vault, and only of some items.
    pub(super) fn is_safety_copy(&self) -> bool {
        self.label.as_deref().is_some_and(|label| label.starts_with("safety-"))
    }

    pub(super) fn count(&self) -> usize {
        self.items.len()
    }
}

/// What is active in a vault.
pub(super) fn active(snapshot: &Snapshot) -> Snapshot {
    let items = snapshot.items.iter().filter(|(_, state)| state.active);
    Snapshot { items: items.map(|(item, state)| (item.clone(), state.clone())).collect() }
}

fn content_of(held: &Snapshot, item: &Item) -> Content {
    let companions = [Kind::Key, Kind::Secret].map(|kind| (kind, item.1.clone()));
    let companions = companions.into_iter().filter(|_| item.0 == Kind::Certificate);
    let all = std::iter::once(item.clone()).chain(companions);
    all.filter_map(|item| held.items.get(&item).map(|state| (item, state.clone()))).collect()
}

/// Items that the vault held and the manifest is silent about.
fn unmentioned(manifest: &Manifest, held: &Snapshot) -> Vec<String> {
    let listed: BTreeSet<Item> = manifest.items.iter().map(|entry| (entry.kind, entry.name.clone())).collect();
    let none = Vec::new();
    let failures = manifest.header["failures"].as_array().unwrap_or(&none);
    let owned = held.items.iter().filter(|(_, state)| state.active && !state.managed).map(|(item, _)| item);
    owned
        .filter(|item| !listed.contains(item))
        .filter(|(kind, name)| {
            !failures.iter().any(|failure| {
                failure["kind"] == kind.plural() && failure["name"].as_str().is_none_or(|failed| failed == name)
            })
        })
        .map(|(kind, name)| format!("nothing is said of {}/{name}, which the vault held", kind.plural()))
        .collect()
}

/// The first field of a manifest's line that is not as in the vault.
fn differs(entry: &Entry, state: &ItemState) -> Option<&'static str> {
    let json = &entry.json;
    let ties = json["ties"].as_array().is_some_and(|ties| ties.iter().any(|tie| *tie == *state.current));
    if json["version"] != *state.current && !ties {
        return Some("version");
    }
    if json["versions"].as_u64() != Some(state.versions.len() as u64) {
        return Some("the number of versions");
    }
    let current = state.versions.iter().find(|version| version.id == state.current)?;
    // Versions of one second: which of them the listing showed cannot be told.
    if ties || !json["ties"].is_null() { None } else { attributes_differ(&json["attributes"], current) }
}

fn attributes_differ(json: &Value, version: &VersionState) -> Option<&'static str> {
    let seconds = |field: &str| {
        let moment = OffsetDateTime::parse(json[field].as_str()?, &Rfc3339).ok()?;
        Some(moment.unix_timestamp())
    };
    let tags =
        |value: &Value| -> BTreeMap<String, String> { serde_json::from_value(value.clone()).unwrap_or_default() };
    let checks = [
        ("enabled", json["enabled"] == version.enabled),
        ("created", seconds("created") == Some(version.created)),
        ("updated", seconds("updated") == Some(version.updated)),
        ("notBefore", seconds("notBefore") == version.not_before),
        ("expires", seconds("expires") == version.expires),
        ("contentType", json["contentType"].as_str() == version.content_type.as_deref()),
        ("tags", tags(&json["tags"]) == version.tags.clone().unwrap_or_default()),
    ];
    checks.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}
