//! Crash points: the program is killed after each of its requests, one after the other.

use std::{io, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use super::{
    Options, StoreKind, Verdict, changes, folder,
    oracle::Pruning,
    tasks::{Bench, KEPT},
    world::{Kill, SOURCES, TARGET, World},
};
use crate::key_vault::Kind;

/// The vault of these runs. One is enough: what is killed is one process.
const SOURCE: &str = SOURCES[0];

/// Items at the beginning: of each kind some, with several versions, disabled, with tags and dates.
const ITEMS: usize = 8;

/// Moments at which a command on a folder is killed besides: between its requests it works with files.
const MOMENTS: u64 = 24;

/// How often a backup is restored and compared: after every so many points, and at the end.
const PROOF_EVERY: u64 = 8;

/// What is killed. A new command of the program is one entry here and one arm of [`Scenario::arguments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Some items have changed, the others are carried over.
    Backup,
    /// Everything is read, and the backup has a label.
    FullBackup,
    /// Into an empty vault.
    Restore,
    /// Over other versions, of which copies are kept.
    Replacement,
    /// Removes backups and blobs of items.
    Prune,
    /// Restores into the drill vault and removes it again.
    Drill,
    /// Copies the newest backups into a second place.
    Copy,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Backup, Self::FullBackup, Self::Restore, Self::Replacement, Self::Prune, Self::Drill, Self::Copy];

    /// The command; `operation` is a GUID that makes it the same operation when it is repeated, and `copies` is where is
    /// copied to.
    fn arguments(self, operation: &str, label: &str, copies: &str) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Backup => &["backup", SOURCE],
            Self::FullBackup => &["backup", SOURCE, "--full", "--label", label],
            Self::Restore => &["restore", SOURCE, "--to", TARGET, "--resume", operation],
            Self::Replacement => {
                &["restore", SOURCE, "--to", TARGET, "--on-conflict", "replace", "--yes", "--resume", operation]
            }
            Self::Prune => &["prune", SOURCE, "--yes"],
            Self::Drill => &["drill", SOURCE, "--yes"],
            Self::Copy => &["copy", SOURCE, "--to", copies],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// So many points at most. After a drill that was killed the next one waits a minute for items that may still appear
    /// in the vault; tests with virtual time go through all of its steps.
    fn most(self) -> u64 {
        if self == Self::Drill { 3 } else { u64::MAX }
    }

    /// What may be gone afterwards.
    fn pruning(self) -> Pruning {
        if self == Self::Prune { Pruning::AllBut(KEPT) } else { Pruning::Nothing }
    }

    /// Makes something to do.
    async fn prepare(self, bench: &mut Bench, rng: &mut StdRng) -> io::Result<()> {
        match self {
            Self::Backup | Self::FullBackup => {
                for _ in 0..3 {
                    let what = changes::one(&bench.world, SOURCE, rng).await;
                    bench.world.note(&what);
                }
            }
            Self::Restore => bench.world.vaults.lose_everything(TARGET),
            // Two backups more than are kept.
            Self::Prune => {
                for _ in 0..2 {
                    for _ in 0..2 {
                        changes::one(&bench.world, SOURCE, rng).await;
                    }
                    bench.must_back_up().await?;
                }
                bench.world.place.grow_old()?;
            }
            Self::Copy => {
                for _ in 0..3 {
                    changes::one(&bench.world, SOURCE, rng).await;
                }
                bench.must_back_up().await?;
            }
            Self::Drill => {}
            Self::Replacement => {
                bench.world.vaults.lose_everything(TARGET);
                let there = bench.active(SOURCE);
                let names = |kind| there.items.iter().filter(move |((it, _), state)| *it == kind && !state.managed);
                for ((kind, name), _) in Kind::ALL.into_iter().flat_map(|kind| names(kind).take(1)) {
                    match kind {
                        Kind::Secret => bench.world.vaults.set_secret(TARGET, name, "another"),
                        Kind::Key => bench.world.vaults.create_key(TARGET, name, "EC"),
                        Kind::Certificate => bench.world.vaults.create_certificate(TARGET, name),
                    };
                }
            }
        }
        Ok(())
    }
}

/// Kills the command of each of these scenarios after each of its requests, looks at what is left behind, and lets the next
/// run complete. `options.rounds` bounds the points of one scenario on one store, which are then spread over it;
/// `options.time` bounds nothing.
///
/// # Errors
/// When the world cannot be set up, or the store cannot be looked at. What the program does wrong is in the verdict.
pub async fn crash_points(options: &Options, scenarios: &[Scenario]) -> io::Result<Verdict> {
    let mut verdict = Verdict { seed: options.seed, ..Verdict::default() };
    for store in &options.stores {
        verdict.add(one_store(options, scenarios, *store).await?);
    }
    Ok(verdict)
}

async fn one_store(options: &Options, scenarios: &[Scenario], store: StoreKind) -> io::Result<Verdict> {
    let folder = folder(options, store)?;
    let world = World::new(&options.program, store, &folder).await?;
    world.vaults.seed(SOURCE, ITEMS);
    let mut bench = Bench::new(world);
    bench.must_back_up().await?;
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut verdict = Verdict::default();
    for &scenario in scenarios {
        // Undisturbed first: how many requests are there, and how long does it take?
        let (requests, took) = undisturbed(&mut bench, scenario, &mut rng).await?;
        if !bench.findings.is_empty() {
            let place = format!("{store:?}, {scenario:?}, undisturbed").to_lowercase();
            verdict.findings.extend(bench.findings.drain(..).map(|finding| (place.clone(), finding)));
            continue;
        }
        let mut kills: Vec<Kill> = (1..=requests).map(Kill::AfterRequest).collect();
        if store == StoreKind::Local {
            let moment = |number: u64| took.mul_f64((number as f64 + 0.5) / MOMENTS as f64);
            kills.extend((0..MOMENTS).map(|number| Kill::After(moment(number))));
        }
        let all = kills.len() as u64;
        let points = all.min(options.rounds).min(scenario.most());
        for number in 0..points {
            let kill = kills[usize::try_from(number * all / points).unwrap_or_default()];
            let place = format!("{store:?}, {scenario:?}, {kill:?}").to_lowercase();
            bench.world.note(&format!("--- {place}"));
            point(&mut bench, scenario, kill, &mut rng).await?;
            if number % PROOF_EVERY == 0 || number + 1 == points {
                let target = bench.world.vaults.snapshot(TARGET);
                bench.look(&target, Pruning::Nothing, true).await?;
                prove(&mut bench).await?;
            }
            for finding in std::mem::take(&mut bench.findings) {
                bench.world.note(&finding.to_string());
                verdict.findings.push((place.clone(), finding));
            }
        }
    }
    if !verdict.is_good() {
        bench.world.place.save(&folder).await?;
    }
    verdict.kills = bench.world.kills;
    verdict.rounds = verdict.kills; // a process that had ended before its moment was none
    (verdict.commands, verdict.proofs) = (bench.commands, bench.proofs);
    Ok(verdict)
}

async fn undisturbed(bench: &mut Bench, scenario: Scenario, rng: &mut StdRng) -> io::Result<(u64, Duration)> {
    scenario.prepare(bench, rng).await?;
    let before = bench.world.vaults.snapshot(TARGET);
    let (operation, label) = names(rng);
    let ran = bench.command(&scenario.arguments(&operation, &label, &bench.copies.place.url()), Kill::Never).await?;
    bench.look(&before, scenario.pruning(), false).await?;
    bench.must_have_completed(&ran, &before);
    Ok((ran.requests, ran.took))
}

async fn point(bench: &mut Bench, scenario: Scenario, kill: Kill, rng: &mut StdRng) -> io::Result<()> {
    scenario.prepare(bench, rng).await?;
    let before = bench.world.vaults.snapshot(TARGET);
    let (operation, label) = names(rng);
    let copies = bench.copies.place.url();
    let arguments = scenario.arguments(&operation, &label, &copies);
    let killed = bench.command(&arguments, kill).await?;
    bench.look(&before, scenario.pruning(), false).await?;
    bench.nothing_of_the_target_is_gone(&before, &killed.command);
    // A label is taken once its backup exists, so the next backup is one like those of the timer.
    let again = if scenario == Scenario::FullBackup { Scenario::Backup.arguments("", "", &copies) } else { arguments };
    let next = bench.command(&again, Kill::Never).await?;
    bench.look(&before, scenario.pruning(), false).await?;
    bench.must_have_completed(&next, &before);
    Ok(())
}

/// The newest backup gives the vault as it is.
async fn prove(bench: &mut Bench) -> io::Result<()> {
    let Some(newest) = bench.oracle.backups(SOURCE).last().map(|known| (*known).clone()) else { return Ok(()) };
    bench.prove(&newest).await
}

fn names(rng: &mut StdRng) -> (String, String) {
    (Uuid::from_u128(rng.random()).to_string(), format!("kept-{:08x}", rng.random::<u32>()))
}
