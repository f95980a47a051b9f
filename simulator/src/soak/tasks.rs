//! What the program is given to do, and what may be said of how it ended.

use std::{collections::HashMap, io};

use rand::{Rng as _, rngs::StdRng};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Finding,
    copies::Copies,
    oracle::{self, Known, Oracle, Pruning},
    place::Place,
    world::{DRILL, Kill, PROOF, Ran, SOURCES, TARGET, World},
};
use crate::key_vault::{ItemState, Kind, Snapshot, VersionState};

/// What the program can be told to do in a storm. A new command of the program is one entry in [`TASKS`] and one arm of
/// [`Task::arguments`]; what it may claim is said in [`Bench::judge_backup`] and beside it,
/// of copies in [`Bench::judge_copy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Backup,
    BackupFull,
    BackupWithLabel,
    BackupOfOne,
    RestoreIntoEmpty,
    RestoreOver,
    RestoreReplacing,
    List,
    ListOne,
    Show,
    Prune,
    Drill,
    Verify,
    Copy,
    CopyNewest,
    Diff,
    Status,
}

/// Each with its weight.
const TASKS: [(Task, u32); 17] = [
    (Task::Backup, 30),
    (Task::BackupFull, 6),
    (Task::BackupWithLabel, 6),
    (Task::BackupOfOne, 12),
    (Task::RestoreIntoEmpty, 10),
    (Task::RestoreOver, 8),
    (Task::RestoreReplacing, 10),
    (Task::List, 2),
    (Task::ListOne, 2),
    (Task::Show, 2),
    (Task::Prune, 20),
    (Task::Drill, 8),
    (Task::Verify, 4),
    (Task::Copy, 10),
    (Task::CopyNewest, 4),
    (Task::Diff, 2),
    (Task::Status, 2),
];

/// How many backups of a vault [`Task::Prune`] keeps; all that have a label besides.
pub(super) const KEPT: usize = 4;

/// Outcomes of an item that claim that it is in place.
const IN_PLACE: [&str; 3] = ["restored", "replaced", "recovered"];

/// The outcome of an item that was left as it is, because its current version was the right one already. That is all it
/// claims: somebody may have disabled it since.
const PRESENT: &str = "alreadyPresent";

impl Task {
    pub(super) fn choose(rng: &mut StdRng) -> Self {
        let all: u32 = TASKS.iter().map(|(_, weight)| weight).sum();
        let mut number = rng.random_range(0..all);
        for (task, weight) in TASKS {
            match number.checked_sub(weight) {
                Some(rest) => number = rest,
                None => return task,
            }
        }
        Self::Backup
    }

    /// Whether it needs a backup that is there already.
    fn needs_a_backup(self) -> bool {
        matches!(self, Self::RestoreIntoEmpty | Self::RestoreOver | Self::RestoreReplacing | Self::Show)
    }

    fn is_restore(self) -> bool {
        matches!(self, Self::RestoreIntoEmpty | Self::RestoreOver | Self::RestoreReplacing)
    }

    /// `copies` is where is copied to.
    pub(super) fn arguments(self, chosen: Option<&Known>, copies: &str, rng: &mut StdRng) -> Vec<String> {
        let source = SOURCES[rng.random_range(0..SOURCES.len())];
        let (vault, id) = chosen.map_or((source, "latest"), |known| (&*known.vault, &*known.id));
        let label = format!("kept-{:08x}", rng.random::<u32>());
        let operation = Uuid::from_u128(rng.random()).to_string();
        let words: &[&str] = match self {
            Self::Backup => &["backup"],
            Self::BackupFull => &["backup", "--full"],
            Self::BackupWithLabel => &["backup", source, "--label", &label],
            Self::BackupOfOne => &["backup", source],
            Self::RestoreIntoEmpty | Self::RestoreOver => {
                &["restore", vault, "--to", TARGET, "--backup", id, "--resume", &operation]
            }
            Self::RestoreReplacing => &[
                "restore",
                vault,
                "--to",
                TARGET,
                "--backup",
                id,
                "--on-conflict",
                "replace",
                "--yes",
                "--on-deleted",
                "purge",
                "--resume",
                &operation,
            ],
            Self::List => &["list"],
            Self::ListOne => &["list", source],
            Self::Show => &["show", vault, id],
            Self::Prune => &["prune", "--yes"],
            Self::Drill => &["drill", source, "--yes"],
            Self::Verify => &["verify", source],
            Self::Copy => &["copy", "--to", copies],
            Self::CopyNewest => &["copy", source, "--backup", "latest", "--to", copies],
            Self::Diff => &["diff", source],
            Self::Status => &["status"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// The world, and what is known about it.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) oracle: Oracle,
    pub(super) copies: Copies,
    pub(super) findings: Vec<Finding>,
    pub(super) proofs: u64,
    pub(super) commands: u64,
    /// A restore that was killed or failed, and what was in its target before.
    unfinished: Option<(Vec<String>, Known, Snapshot)>,
    /// How many requests the last commands made, to choose where to kill the next.
    usual: u64,
}

impl Bench {
    pub(super) fn new(world: World) -> Self {
        let (oracle, findings) = (Oracle::default(), Vec::new());
        let copies = Copies::new(Place::Local(world.folder.join("copy")));
        Self { world, oracle, copies, findings, proofs: 0, commands: 0, unfinished: None, usual: 60 }
    }

    /// Lets the program do something, perhaps kills it, and looks at what came of it.
    pub(super) async fn perform(&mut self, task: Task, kill: bool, rng: &mut StdRng) -> io::Result<()> {
        let backups: Vec<Known> = SOURCES.iter().flat_map(|vault| self.oracle.backups(vault)).cloned().collect();
        let chosen = (!backups.is_empty()).then(|| backups[rng.random_range(0..backups.len())].clone());
        let arguments = task.arguments(chosen.as_ref(), &self.copies.place.url(), rng);
        // From folder to folder nothing is asked of anybody.
        let is_silent = matches!(task, Task::Copy | Task::CopyNewest) && self.world.place.storage().is_none();
        let kill = match (kill, rng.random_range(0..4)) {
            (false, _) => Kill::Never,
            (true, _) if is_silent => Kill::After(std::time::Duration::from_millis(rng.random_range(1..150))),
            (true, 0) => Kill::After(std::time::Duration::from_millis(rng.random_range(1..400))),
            (true, _) => Kill::AfterRequest(rng.random_range(1..=self.usual)),
        };
        if task.needs_a_backup() && chosen.is_none() {
            return Ok(());
        }
        if task.is_restore() {
            // One at a time: what is in the target must be known.
            self.finish().await?;
        }
        if task == Task::RestoreIntoEmpty {
            self.world.vaults.lose_everything(TARGET);
        }
        let before = self.world.vaults.snapshot(TARGET);
        if task == Task::Prune {
            self.world.place.grow_old()?;
        }
        let ran = self.command(&arguments, kill).await?;
        let pruning = if task == Task::Prune { Pruning::AllBut(KEPT) } else { Pruning::Nothing };
        self.look(&before, pruning, false).await?;
        if task == Task::Drill && ran.code == Some(0) {
            self.drill_left_nothing(&ran);
        }
        match chosen.filter(|_| task.is_restore()) {
            Some(backup) => self.judge_restore(&ran, arguments, backup, before),
            None if ran.command.starts_with("copy") => self.judge_copy(&ran),
            None => self.judge_backup(&ran),
        }
        Ok(())
    }

    /// Ends the restore that was interrupted.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        let Some((arguments, backup, before)) = self.unfinished.take() else { return Ok(()) };
        let ran = self.command(&arguments, Kill::Never).await?;
        self.look(&before, Pruning::Nothing, false).await?;
        self.judge_restore(&ran, arguments, backup, before);
        self.unfinished = None; // it failed twice; what it had touched was looked at
        Ok(())
    }

    /// With all faults ended, a backup of every vault must succeed.
    pub(super) async fn must_back_up(&mut self) -> io::Result<()> {
        self.world.place.end_leases(&SOURCES).await?;
        let ran = self.command(&["backup".to_owned()], Kill::Never).await?;
        let before = self.world.vaults.snapshot(TARGET);
        self.look(&before, Pruning::Nothing, false).await?;
        self.judge_backup(&ran);
        let made = operations(&ran.json).iter().filter(|one| one["status"] == "Succeeded").count();
        if ran.code != Some(0) || made != SOURCES.len() {
            self.lost(format!("the faults have ended and the backup did not succeed: {}", told(&ran)));
        }
        Ok(())
    }

    /// Restores a backup into an empty vault; what is there then must be what the vault held.
    pub(super) async fn prove(&mut self, backup: &Known) -> io::Result<()> {
        self.prove_from(&[], backup).await
    }

    /// The same with these changes of the settings.
    pub(super) async fn prove_from(&mut self, changes: &[(&str, String)], backup: &Known) -> io::Result<()> {
        self.world.vaults.lose_everything(PROOF);
        let words = ["restore", &backup.vault, "--to", PROOF, "--backup", &backup.id].map(str::to_owned);
        let ran = self.command_with(changes, &words, Kill::Never).await?;
        let expected = self.oracle.expected(backup);
        let there = self.world.vaults.snapshot(PROOF);
        self.proofs += 1;
        let name =
            format!("backup {} of {}{}", backup.id, backup.vault, if changes.is_empty() { "" } else { ", copied" });
        let differences = expected.differences(&there);
        for difference in &differences {
            self.lost(format!("{name}, restored: {difference}"));
        }
        if ran.code == Some(0) && !differences.is_empty() {
            self.false_success(format!("that restore ended with 0: {}", ran.command));
        }
        if ran.code != Some(0) && backup.count() > 0 {
            self.lost(format!("{name} cannot be restored: {}", told(&ran)));
        }
        Ok(())
    }

    /// Compares the store with the model. `target` is what the target held before the command.
    pub(super) async fn look(&mut self, target: &Snapshot, pruning: Pruning, thoroughly: bool) -> io::Result<()> {
        let mut vaults: HashMap<&str, Snapshot> =
            SOURCES.iter().map(|vault| (*vault, self.world.vaults.snapshot(vault))).collect();
        vaults.insert(TARGET, target.clone());
        let findings = self.oracle.look(&self.world.place, &vaults, pruning, thoroughly).await?;
        self.findings.extend(findings);
        self.findings.extend(self.copies.look(&self.oracle, thoroughly).await?);
        Ok(())
    }

    pub(super) async fn command(&mut self, arguments: &[String], kill: Kill) -> io::Result<Ran> {
        // Only the command itself prunes: what goes after a backup is the same.
        let keep = [("BACKUP_KEEP", format!("last={KEPT}"))];
        let changes = if arguments.first().is_some_and(|word| word == "prune") { &keep[..] } else { &[] };
        self.command_with(changes, arguments, kill).await
    }

    async fn command_with(&mut self, changes: &[(&str, String)], arguments: &[String], kill: Kill) -> io::Result<Ran> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = self.world.run(&words, changes, kill).await?;
        self.commands += 1;
        if ran.code.is_some() && ran.requests > 0 {
            self.usual = self.usual.midpoint(ran.requests).max(8);
        }
        if ran.code.is_none() {
            // Only the lease of the dead process stands in the way of the next.
            self.world.place.end_leases(&[&SOURCES[..], &[TARGET, DRILL]].concat()).await?;
        }
        Ok(ran)
    }

    /// Every backup that is said to be there is there; what is in it was looked at when it appeared.
    pub(super) fn judge_backup(&mut self, ran: &Ran) {
        for operation in operations(&ran.json) {
            let not_needed = operation["counts"]["notNeeded"].as_u64().unwrap_or_default() > 0;
            if operation["kind"] != "backup" || operation["status"] != "Succeeded" || not_needed {
                continue;
            }
            let (vault, id) = (operation["vault"].as_str(), operation["backup"].as_str());
            let succeeded = |vault: &str, id: &str| {
                self.oracle.backups(vault).iter().any(|known| known.id == id && known.succeeded)
            };
            if !vault.zip(id).is_some_and(|(vault, id)| succeeded(vault, id)) {
                self.false_success(format!("there is no such backup, or not a whole one: {}", told(ran)));
            }
        }
        if ran.code == Some(0) && ran.command.starts_with("backup") && operations(&ran.json).is_empty() {
            self.false_success(format!("it ended with 0 and says of nothing that it is done: {}", told(ran)));
        }
    }

    fn judge_restore(&mut self, ran: &Ran, arguments: Vec<String>, backup: Known, before: Snapshot) {
        let expected = self.oracle.expected(&backup);
        let there = self.world.vaults.snapshot(TARGET);
        let held = |item: &(Kind, String)| there.items.get(item).filter(|state| state.active);
        let mut wrong = Vec::new();
        for report in ran.json["items"].as_array().into_iter().flatten() {
            let kind = Kind::ALL.into_iter().find(|kind| report["kind"] == kind.plural());
            let item = kind.zip(report["name"].as_str()).map(|(kind, name)| (kind, name.to_owned()));
            let outcome = report["outcome"].as_str().unwrap_or_default();
            let claimed = if outcome == PRESENT { same_version } else { same };
            if let Some(item) = item.filter(|_| outcome == PRESENT || IN_PLACE.contains(&outcome))
                && !held(&item).is_some_and(|state| expected.items.get(&item).is_some_and(|it| claimed(it, state)))
            {
                wrong.push(format!("{}/{} is said to be in place: {}", item.0.plural(), item.1, ran.command));
            }
        }
        if ran.code == Some(0) {
            let in_place = |item, state| held(item).is_some_and(|there| same_version(state, there));
            let missing = expected.items.iter().filter(|(item, state)| !in_place(item, state));
            wrong.extend(
                missing.map(|((kind, name), _)| {
                    format!("{}/{name} is not in place after: {}", kind.plural(), ran.command)
                }),
            );
        }
        for text in wrong {
            self.false_success(text);
        }
        self.nothing_of_the_target_is_gone(&before, &ran.command);
        if ran.code.is_none() {
            self.unfinished = Some((arguments, backup, before));
        }
    }

    /// Nothing that was in the target is gone for good: it is there, deleted, or a copy of it is kept.
    pub(super) fn nothing_of_the_target_is_gone(&mut self, before: &Snapshot, command: &str) {
        let there = self.world.vaults.snapshot(TARGET);
        let gone = before.items.iter().filter(|(item, state)| {
            let still = there.items.get(*item).is_some_and(|now| now.current == state.current);
            !still && !self.oracle.holds(TARGET, item, state)
        });
        let gone: Vec<String> = gone.map(|((kind, name), _)| format!("{}/{name}", kind.plural())).collect();
        for item in gone {
            self.lost(format!("{item} of the target is neither there nor kept after: {command}"));
        }
    }

    /// A drill that ended well has left its vault as it was.
    pub(super) fn drill_left_nothing(&mut self, ran: &Ran) {
        let left = self.world.vaults.snapshot(DRILL).items.len();
        if left > 0 {
            self.false_success(format!("{left} items are left in {DRILL} after: {}", told(ran)));
        }
    }

    /// Nothing disturbed this command, so it must have done everything.
    pub(super) fn must_have_completed(&mut self, ran: &Ran, before: &Snapshot) {
        let done = operations(&ran.json).iter().any(|one| one["status"] == "Succeeded");
        let is_operation = !ran.command.starts_with("prune");
        if ran.code != Some(0) || is_operation && !done {
            self.lost(format!("nothing disturbed it, and it did not complete: {}", told(ran)));
        }
        self.judge_backup(ran);
        if ran.command.starts_with("copy") {
            self.judge_copy(ran);
        }
        if ran.command.starts_with("drill") {
            self.drill_left_nothing(ran);
        }
        if ran.command.starts_with("restore") {
            let newest = SOURCES.iter().find(|vault| ran.command.contains(**vault));
            let newest = newest.and_then(|vault| self.oracle.backups(vault).last().map(|known| (*known).clone()));
            if let Some(backup) = newest {
                self.judge_restore(ran, Vec::new(), backup, before.clone());
            }
        }
    }

    pub(super) fn lost(&mut self, what: String) {
        self.findings.push(Finding::Lost(what));
    }

    pub(super) fn false_success(&mut self, what: String) {
        self.findings.push(Finding::FalseSuccess(what));
    }

    /// What is active in a vault.
    pub(super) fn active(&self, vault: &str) -> Snapshot {
        oracle::active(&self.world.vaults.snapshot(vault))
    }
}

/// Whether an item is as it was backed up. What was recovered may have other older versions and another policy.
fn same(wanted: &ItemState, there: &ItemState) -> bool {
    current(wanted) == current(there)
}

/// Whether its current version is the one that was backed up.
fn same_version(wanted: &ItemState, there: &ItemState) -> bool {
    let id = |state| current(state).map(|version| (&version.id, &version.value_hash));
    id(wanted) == id(there)
}

fn current(state: &ItemState) -> Option<&VersionState> {
    state.versions.iter().find(|version| version.id == state.current)
}

/// The operations that a command printed.
pub(super) fn operations(json: &Value) -> Vec<Value> {
    match json["value"].as_array() {
        Some(value) => value.clone(),
        None if json["kind"].is_string() => vec![json.clone()],
        None => Vec::new(),
    }
}

pub(super) fn told(ran: &Ran) -> String {
    let code = ran.code.map_or("killed".to_owned(), |code| format!("exit code {code}"));
    let said: String = ran.stderr.chars().take(600).collect();
    let operations = operations(&ran.json);
    let messages: Vec<&str> = operations.iter().filter_map(|one| one["message"].as_str()).collect();
    format!("`{}` ({code}) {} {}", ran.command, messages.join(" "), said.trim())
}
