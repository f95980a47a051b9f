//! The second place, a folder: what was copied there must be what was copied, with all that it needs, and stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use rand::{rngs::StdRng, seq::IndexedRandom as _};
use serde_json::Value;

use super::{
    Finding,
    format::sha256,
    oracle::{Known, Oracle, Pruning},
    place::Place,
    tasks::{Bench, Task, operations, told},
    world::{Kill, Ran, TARGET},
};

/// Everything that was ever seen in the second place.
pub(super) struct Copies {
    pub(super) place: Place,
    /// Size and hash of each blob.
    blobs: BTreeMap<String, (u64, String)>,
    backups: BTreeMap<String, Known>,
}

impl Copies {
    pub(super) fn new(place: Place) -> Self {
        Self { place, blobs: BTreeMap::new(), backups: BTreeMap::new() }
    }

    /// Looks at the whole folder, when `first` was looked at since the last command. `thoroughly` reads every blob again.
    pub(super) async fn look(&mut self, first: &Oracle, thoroughly: bool) -> io::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let listed = self.place.list().await?;
        // A copy is never pruned here, and nothing else removes anything.
        for name in self.blobs.keys().filter(|name| !listed.contains_key(*name)) {
            findings.push(Finding::Lost(format!("{name} is gone from the copy")));
        }
        for (name, &size) in &listed {
            let known = self.blobs.get(name).cloned();
            if known.as_ref().is_some_and(|(was, _)| *was == size) && !thoroughly {
                continue;
            }
            let is = (size, sha256(&self.place.read(name).await?));
            if known.as_ref().or(first.blob(name)) == Some(&is) {
                self.blobs.insert(name.clone(), is);
                self.backups.extend(first.backup(name).map(|backup| (name.clone(), backup.clone())));
            } else {
                findings.push(Finding::Lost(format!("the copy of {name} is not what was copied")));
            }
        }
        for (name, backup) in &self.backups {
            let missing = backup.items.iter().filter(|entry| listed.get(&entry.blob) != Some(&entry.size));
            findings.extend(missing.map(|entry| {
                Finding::Lost(format!("{name} in the copy names {}, which is not there as it says", entry.blob))
            }));
        }
        Ok(findings)
    }

    /// All that are there, of all vaults.
    fn backups(&self) -> impl Iterator<Item = &Known> {
        self.backups.values()
    }

    /// Those of these that are not there.
    fn lacks<'a>(&self, backups: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeSet<String> {
        let is_there = |vault: &str, id: &str| self.backups().any(|known| known.vault == vault && known.id == id);
        backups.filter(|(vault, id)| !is_there(vault, id)).map(|(vault, id)| format!("{id} of {vault}")).collect()
    }
}

impl Bench {
    /// With all faults ended, a copy must hold every backup, each as it was made.
    pub(super) async fn must_copy(&mut self, rng: &mut StdRng) -> io::Result<()> {
        let arguments = Task::Copy.arguments(None, &self.copies.place.url(), rng);
        let ran = self.command(&arguments, Kill::Never).await?;
        let before = self.world.vaults.snapshot(TARGET);
        self.look(&before, Pruning::Nothing, false).await?;
        self.judge_copy(&ran);
        if ran.code != Some(0) {
            self.lost(format!("the faults have ended and the copy did not succeed: {}", told(&ran)));
        }
        let copied: Vec<Known> = self.copies.backups().filter(|known| !known.is_safety_copy()).cloned().collect();
        let Some(one) = copied.choose(rng) else { return Ok(()) };
        let url = self.copies.place.url();
        self.prove_from(&[("BACKUP_STORE_URL", url)], one).await
    }

    /// What is said to be in the copy is there; of a copy of everything that ended well, everything is.
    pub(super) fn judge_copy(&mut self, ran: &Ran) {
        let vaults = operations(&ran.json);
        let there = |row: &&Value| ["present", "copied", "completed"].iter().any(|there| row["result"] == *there);
        let claimed = vaults.iter().flat_map(|of| {
            let rows = of["backups"].as_array().into_iter().flatten().filter(there);
            rows.filter_map(|row| of["vault"].as_str().zip(row["id"].as_str()))
        });
        let mut lacking = self.copies.lacks(claimed);
        if ran.code == Some(0) && !ran.command.contains("--backup") {
            let vault = ran.command.split(' ').nth(1).filter(|word| *word != "--to");
            let asked = self.oracle.all().filter(|known| vault.is_none_or(|vault| known.vault == vault));
            lacking.extend(self.copies.lacks(asked.map(|known| (&*known.vault, &*known.id))));
        }
        for backup in lacking {
            self.false_success(format!("backup {backup} is not in the copy after: {}", told(ran)));
        }
    }
}
