//! What is done under a fault, and what must be true afterwards.

use std::time::Duration;

use keyvault_backup::{
    backup::{self, Backup},
    coverage::{self, Cause, Terms},
    diff::{Change, Diff, Side},
    drill,
    error::Result,
    model::{self, BackupId, filter::ItemFilter},
    prune,
    report::{ItemReport, Progress, Status},
    repository::{
        Selector,
        manifest::{Header, Manifest},
    },
    restore::{self, OnConflict, OnDeleted, Plan},
    store::Store as _,
    verify,
};
use simulator::key_vault::{ItemState, Kind, Snapshot};
use uuid::Uuid;

use super::{Ended, ITEMS, SOURCE, Stage, TARGET};
use crate::{
    backup::{DAY, SETTLED},
    world::World,
};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UseCase {
    Incremental,
    Full,
    Restore,
    Replace,
    /// Of five backups down to two.
    Prune,
    /// Of a vault in which one blob is damaged.
    Verify,
    Drill,
    /// Between the newest backup and the vault.
    Diff,
    /// Of a vault that is well protected, and of one without a backup.
    Status,
}

/// One use case in its world.
pub(super) enum Scene {
    Backup { options: backup::Options, operation: Uuid, before: usize },
    Restore { options: restore::Options, manifest: Box<Manifest>, plan: Option<Box<Plan>>, before: Snapshot },
    Prune,
    Verify { damaged: String },
    Drill { operation: Uuid },
    Diff { truth: Diff },
    Status,
}

impl UseCase {
    pub(super) async fn prepare(self) -> (World, Scene) {
        let world = World::with(&[SOURCE, TARGET]);
        world.vaults.seed(SOURCE, ITEMS);
        world.pass(SETTLED);
        world.back_up(SOURCE).await.unwrap();
        if self == Self::Replace {
            world.restore(SOURCE, TARGET).await;
        }
        // Something is changed, new, gone and deleted.
        world.vaults.set_secret(SOURCE, "secret-00000", "value 0 of today");
        world.vaults.create_key(SOURCE, "key-00004", "EC");
        world.vaults.create_certificate(SOURCE, "certificate-00007");
        world.vaults.set_secret(SOURCE, "new", "value 0 of new");
        world.vaults.delete_now(SOURCE, Kind::Secret, "secret-00001");
        world.pass(DAY);
        let scene = match self {
            Self::Incremental | Self::Full => {
                let options = backup::Options { full: self == Self::Full, ..world.backup_options() };
                Scene::Backup { options, operation: Uuid::new_v4(), before: manifests(&world).await.len() }
            }
            Self::Prune => {
                for day in 0..4 {
                    world.vaults.set_secret(SOURCE, "new", &format!("value 0 of day {day}"));
                    world.pass(SETTLED);
                    world.back_up(SOURCE).await.unwrap();
                    world.pass(DAY);
                }
                world.pass(DAY * 3);
                Scene::Prune
            }
            Self::Verify => {
                let manifest = world.newest(SOURCE).await;
                let damaged = manifest.items.to_vec().unwrap()[0].blob.to_string();
                world.backups.replace(&damaged, "something else".into()).await.unwrap();
                Scene::Verify { damaged }
            }
            Self::Drill => {
                world.back_up(SOURCE).await.unwrap();
                Scene::Drill { operation: Uuid::new_v4() }
            }
            Self::Diff => {
                let stage = Stage { world: &world, rule: None, seed: 0 };
                let truth = compare(&stage).await.unwrap();
                assert!(truth.count(Change::Rotated) > 0 && truth.failures.is_empty());
                Scene::Diff { truth }
            }
            Self::Status => Scene::Status,
            Self::Restore | Self::Replace => {
                world.back_up(SOURCE).await.unwrap();
                let replace = self == Self::Replace;
                if replace {
                    // Deleted in the target: it is recovered for a safety copy and purged.
                    world.vaults.delete_now(TARGET, Kind::Secret, "secret-00002");
                }
                let options = restore::Options {
                    on_conflict: if replace { OnConflict::Replace } else { OnConflict::Skip },
                    on_deleted: if replace { OnDeleted::Purge } else { OnDeleted::Recover },
                    ..world.restore_options()
                };
                let (manifest, before) = (Box::new(world.newest(SOURCE).await), world.vaults.snapshot(TARGET));
                Scene::Restore { options, manifest, plan: None, before }
            }
        };
        world.pass(SETTLED);
        (world, scene)
    }
}

impl Scene {
    pub(super) async fn run(&mut self, stage: &Stage<'_>) -> Ended {
        match self {
            Self::Backup { options, operation, .. } => back_up(stage, options, *operation).await,
            Self::Restore { options, manifest, plan, .. } => {
                let target = stage.vault(TARGET);
                let resumed = plan.is_some();
                let plan = match plan {
                    Some(plan) => plan,
                    None => match restore::plan(manifest, &target, options).await {
                        Ok(mut new) => {
                            new.safety_backup = Some(BackupId::new(stage.world.now(), 7));
                            plan.insert(Box::new(new))
                        }
                        Err(error) => return Ended::failed(&error),
                    },
                };
                let (repository, progress) = (stage.repository(), Progress::default());
                let reports = restore::execute(plan, manifest, &repository, &target, options, resumed, &progress).await;
                let reports = reports.unwrap().to_vec().unwrap();
                assert_reports_are_true(&reports, &stage.world.vaults.snapshot(TARGET));
                match crate::restore::status_of(&reports) {
                    Status::Succeeded => Ended::Complete,
                    _ => Ended::Partly(reports.into_iter().filter_map(|it| Some(it.problem?.message)).collect()),
                }
            }
            Self::Prune => {
                let choice = prune::Choice::ByPolicy("last=2".parse().unwrap());
                let options = prune::Options { choice, immutable_for: None };
                let now = stage.world.now();
                match prune::run(&stage.repository(), &SOURCE.parse().unwrap(), &options, now).await {
                    Ok(prune::Prune::Done(plan, report)) => {
                        assert_eq!(plan.removed().count() as u64, report.backups, "{plan:#?} {report:?}");
                        let kept = manifests(stage.world).await.len();
                        if kept == 2 {
                            return Ended::Complete;
                        }
                        // What it could not read, it kept.
                        let word = "The plan kept more than the policy, because some of it could not be read.";
                        Ended::Partly(vec![word.to_owned()])
                    }
                    Ok(prune::Prune::Busy) => panic!("nobody else is at work"),
                    Err(error) => Ended::failed(&error),
                }
            }
            Self::Verify { damaged } => {
                let (vault, progress) = (SOURCE.parse().unwrap(), Progress::default());
                let options = verify::Options { operation: Uuid::from_u128(7), concurrency: 8 };
                match verify::run(&stage.repository(), &vault, &options, &progress, stage.world.now()).await {
                    Ok(found) => {
                        assert!(found.findings.iter().any(|finding| finding.blob == *damaged), "overlooked: {found:?}");
                        let others = found.findings.into_iter().filter(|finding| finding.blob != *damaged);
                        let others: Vec<String> = others.map(|finding| finding.message).collect();
                        if others.is_empty() { Ended::Complete } else { Ended::Partly(others) }
                    }
                    Err(error) => Ended::failed(&error),
                }
            }
            Self::Drill { operation } => {
                let (source, target, progress) = (SOURCE.parse().unwrap(), stage.vault(TARGET), Progress::default());
                let options = drill::Options { backup: Selector::Latest, sample: None, concurrency: 8 };
                let (repository, now) = (stage.repository(), stage.world.now());
                match drill::run(&source, &target, &repository, *operation, &options, &progress, now).await {
                    Ok(evidence) if evidence.status == Status::Succeeded => Ended::Complete,
                    Ok(evidence) => {
                        let items = evidence
                            .items
                            .iter()
                            .filter_map(|item| item.unwrap().problem)
                            .collect::<Vec<_>>()
                            .into_iter();
                        Ended::Partly(items.chain(evidence.problems).map(|problem| problem.message).collect())
                    }
                    Err(error) => Ended::failed(&error),
                }
            }
            Self::Diff { truth } => match compare(stage).await {
                Ok(diff) if diff.failures.is_empty() => {
                    assert_eq!(diff, *truth);
                    Ended::Complete
                }
                Ok(diff) => {
                    let truth = truth.differences.to_vec().unwrap();
                    let known = diff.differences.iter().all(|item| truth.contains(&item.unwrap()));
                    assert!(known, "{diff:#?}");
                    Ended::Partly(diff.failures.into_iter().map(|failure| failure.reason).collect())
                }
                Err(error) => Ended::failed(&error),
            },
            Self::Status => {
                let vaults: Vec<model::VaultName> = [SOURCE, TARGET].iter().map(|name| name.parse().unwrap()).collect();
                let now = stage.world.now();
                let terms = Terms { scope: vaults.clone(), expect_all: true, max_age: DAY * 3, now };
                let found = coverage::look(&stage.repository(), vaults, &terms).await;
                let [source, target] = &found[..] else { panic!("{found:?}") };
                assert!(!target.attention.is_empty(), "it has no backup: {target:?}");
                if source.attention.is_empty() && target.attention.iter().all(|it| it.cause == Cause::NeverBackedUp) {
                    return Ended::Complete;
                }
                let all =
                    source.attention.iter().chain(&target.attention).filter(|it| it.cause != Cause::NeverBackedUp);
                Ended::Partly(all.map(|attention| attention.message.clone()).collect())
            }
        }
    }

    /// The next attempt, and the next run where the attempt has nothing to add to what it committed.
    pub(super) async fn run_again(&mut self, stage: &Stage<'_>, ended: &Ended) -> Ended {
        match self {
            Self::Backup { options, operation, .. } => {
                let same = back_up(stage, options, *operation).await;
                if !matches!(ended, Ended::Partly(_)) && matches!(same, Ended::Complete) {
                    return same;
                }
                stage.world.pass(DAY);
                let options = stage.world.backup_options();
                back_up(stage, &options, Uuid::new_v4()).await
            }
            Self::Restore { plan, .. } => {
                // A restore that came to its end is over: who wants more asks for another one.
                if matches!(ended, Ended::Partly(_)) {
                    *plan = None;
                }
                self.run(stage).await
            }
            Self::Drill { .. } => {
                // One that goes on tells what its first attempt has seen, and then it is over.
                if matches!(ended, Ended::Failed(_))
                    && let ended @ (Ended::Complete | Ended::Failed(_)) = self.run(stage).await
                {
                    return ended;
                }
                *self = Self::Drill { operation: Uuid::new_v4() };
                self.run(stage).await
            }
            Self::Prune | Self::Verify { .. } | Self::Diff { .. } | Self::Status => self.run(stage).await,
        }
    }

    /// What it says and what is so are the same, and nothing is half done.
    pub(super) async fn assert_true(&self, world: &World, ended: &Ended, case: &str) {
        if matches!(self, Self::Verify { .. }) {
            return;
        }
        let committed = manifests(world).await;
        for manifest in &committed {
            for item in manifest.items.to_vec().unwrap() {
                world.repository().read_item(&item).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            }
        }
        match self {
            Self::Backup { before, .. } => {
                let newest = committed.last().unwrap();
                let made = committed.len() - before;
                match ended {
                    Ended::Complete => {
                        assert!(made > 0, "{case}: no backup was committed");
                        assert_is_complete(newest, &world.vaults.snapshot(SOURCE), case);
                    }
                    Ended::Partly(_) => {
                        assert!(made > 0, "{case}: no backup was committed");
                        assert_keeps(newest, &committed[committed.len() - 2], &world.vaults.snapshot(SOURCE), case);
                    }
                    // When the answer to the commit was lost, the backup exists; then it is a good one.
                    Ended::Failed(_) if made > 0 => {
                        assert_keeps(newest, &committed[committed.len() - 2], &world.vaults.snapshot(SOURCE), case);
                    }
                    Ended::Failed(_) => (),
                }
            }
            Self::Drill { .. } if matches!(ended, Ended::Complete) => {
                assert!(world.vaults.snapshot(TARGET).items.is_empty(), "{case}: the drill vault is not as it was");
            }
            Self::Prune => {
                assert!(committed.len() >= 2, "{case}");
                assert_is_complete(committed.last().unwrap(), &world.vaults.snapshot(SOURCE), case);
            }
            Self::Verify { .. } | Self::Drill { .. } | Self::Diff { .. } | Self::Status => (),
            Self::Restore { before, plan, .. } => {
                let now = world.vaults.snapshot(TARGET);
                if plan.is_none() {
                    assert_eq!(before.differences(&now), Vec::<String>::new(), "{case}: nothing was planned");
                }
                for ((kind, name), old) in &before.items {
                    let there = now.items.get(&(*kind, name.clone()));
                    let kept = there.is_some_and(|there| there.active || !old.active)
                        || committed.iter().any(|manifest| holds(manifest, *kind, name, old));
                    assert!(kept || old.managed, "{case}: {} {name} is lost", kind.word());
                }
            }
        }
    }

    /// After all is over the vault can be had back whole.
    pub(super) async fn assert_nothing_is_lost(&self, world: &World, case: &str) {
        if !matches!(self, Self::Backup { .. } | Self::Restore { .. } | Self::Prune) {
            return;
        }
        let source = world.vaults.snapshot(SOURCE);
        if matches!(self, Self::Backup { .. } | Self::Prune) {
            world.vaults.set_latency(Duration::ZERO);
            world.restore(SOURCE, TARGET).await;
        }
        let mut target = world.vaults.snapshot(TARGET);
        // What was deleted in the source is in no newer backup, and stays where it was in the target.
        let mut source = source;
        source.items.retain(|_, item| item.active);
        target.items.retain(|key, _| source.items.contains_key(key));
        assert_eq!(source.differences(&target), Vec::<String>::new(), "{case}");
    }
}

/// The newest backup, and what its vault lists.
async fn compare(stage: &Stage<'_>) -> Result<Diff> {
    let (repository, vault) = (stage.repository(), stage.vault(SOURCE));
    let newest = repository.find(vault.name(), &Selector::Latest).await?;
    let manifest = repository.open(&newest).await?;
    Diff::between(&Side::of_backup(manifest)?, &Side::of_vault(&vault, ItemFilter::all()).await?)
}

async fn back_up(stage: &Stage<'_>, options: &backup::Options, operation: Uuid) -> Ended {
    let (vault, repository, progress) = (stage.vault(SOURCE), stage.repository(), Progress::default());
    match backup::run(&vault, &repository, operation, options, &progress, stage.world.now()).await {
        Ok(Backup::Committed(header)) => ended(&header),
        Ok(Backup::NotNeeded) => panic!("nobody else is backing this vault up"),
        Err(error) => Ended::failed(&error),
    }
}

fn ended(header: &Header) -> Ended {
    match header.status {
        Status::Succeeded => {
            assert_eq!((header.failures.len(), header.counts.stale, header.counts.missing), (0, 0, 0));
            Ended::Complete
        }
        _ => {
            assert!(!header.failures.is_empty(), "{header:?}");
            Ended::Partly(header.failures.iter().map(|failure| failure.reason.clone()).collect())
        }
    }
}

/// All backups of the source and the safety copies of the target, oldest first; each can be read.
async fn manifests(world: &World) -> Vec<Manifest> {
    let repository = world.repository();
    let mut found = Vec::new();
    for vault in [TARGET, SOURCE] {
        for backup in repository.backups(&vault.parse().unwrap()).await.unwrap() {
            found.push(repository.open(&backup).await.unwrap());
        }
    }
    found
}

/// Every item that the vault has, in its present state.
fn assert_is_complete(manifest: &Manifest, vault: &Snapshot, case: &str) {
    let wanted = vault.items.iter().filter(|(_, item)| item.active && !item.managed);
    let mut count = 0;
    for ((kind, name), state) in wanted {
        count += 1;
        assert!(holds(manifest, *kind, name, state), "{case}: {} {name} is not in the backup", kind.word());
    }
    assert_eq!(manifest.items.len(), count, "{case}");
    assert!(manifest.items.iter().map(Result::unwrap).all(|item| item.stale.is_none()), "{case}");
}

/// Nothing that the vault still has is in the older backup and not in this one, and what is not called stale is current.
fn assert_keeps(manifest: &Manifest, older: &Manifest, vault: &Snapshot, case: &str) {
    let find = |id: &model::ItemId| vault.items.get(&(kind_of(id.kind), id.name.as_str().to_owned()));
    for item in older.items.to_vec().unwrap() {
        if find(&item.id).is_some_and(|state| state.active) {
            assert!(manifest.items.get(&item.id).unwrap().is_some(), "{case}: {} is not kept", item.id);
        }
    }
    for item in manifest.items.iter().map(Result::unwrap).filter(|item| item.stale.is_none()) {
        let current = find(&item.id).is_some_and(|state| state.active && item.may_be(&state.current));
        assert!(current, "{case}: {} is not as the vault has it", item.id);
    }
}

/// Whether the backup has that item in that state.
fn holds(manifest: &Manifest, kind: Kind, name: &str, state: &ItemState) -> bool {
    manifest
        .items
        .iter()
        .map(Result::unwrap)
        .any(|item| kind_of(item.id.kind) == kind && item.id.name.as_str() == name && item.may_be(&state.current))
}

fn assert_reports_are_true(reports: &[ItemReport], target: &Snapshot) {
    for report in reports.iter().filter(|report| report.outcome.is_good()) {
        let state = target.items.get(&(kind_of(report.item.kind), report.item.name.as_str().to_owned()));
        let there = state.is_some_and(|state| state.active && report.version.as_deref() == Some(&state.current));
        assert!(there, "{report:?}: {state:?}");
    }
    for report in reports.iter().filter(|report| !report.outcome.is_good()) {
        assert!(report.problem.is_some(), "{report:?}");
    }
}

fn kind_of(kind: model::Kind) -> Kind {
    match kind {
        model::Kind::Keys => Kind::Key,
        model::Kind::Secrets => Kind::Secret,
        model::Kind::Certificates => Kind::Certificate,
    }
}
