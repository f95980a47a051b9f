//! The soak.

use std::{io, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

use super::{
    Options, StoreKind, Verdict, changes, faults, folder,
    oracle::Pruning,
    tasks::{Bench, Task},
    world::{SOURCES, TARGET, World},
};

/// Items of a source at the beginning.
const ITEMS: usize = 12;

/// Runs rounds until the time is over or something was found.
///
/// # Errors
/// When the world cannot be set up, or the store cannot be looked at. What the program does wrong is in the verdict.
pub async fn soak(options: &Options) -> io::Result<Verdict> {
    let mut verdict = Verdict { seed: options.seed, ..Verdict::default() };
    let share = options.time / u32::try_from(options.stores.len().max(1)).unwrap_or(1);
    for store in &options.stores {
        verdict.add(one_store(options, *store, share).await?);
    }
    Ok(verdict)
}

async fn one_store(options: &Options, store: StoreKind, time: Duration) -> io::Result<Verdict> {
    let folder = folder(options, store)?;
    let world = World::new(&options.program, store, &folder).await?;
    for (number, vault) in SOURCES.iter().enumerate() {
        world.vaults.seed_numbers(vault, number * 100..number * 100 + ITEMS);
    }
    let mut bench = Bench::new(world);
    let mut verdict = Verdict::default();
    let start = Instant::now();
    while start.elapsed() < time && verdict.rounds < options.rounds && verdict.is_good() {
        verdict.rounds += 1;
        let place = format!("{store:?}, round {}", verdict.rounds).to_lowercase();
        bench.world.note(&format!("--- {place}"));
        let mut rng = StdRng::seed_from_u64(options.seed.wrapping_add(verdict.rounds << 32));
        round(&mut bench, &mut rng, verdict.rounds).await?;
        let findings = std::mem::take(&mut bench.findings);
        for finding in &findings {
            bench.world.note(&finding.to_string());
        }
        verdict.findings.extend(findings.into_iter().map(|finding| (place.clone(), finding)));
    }
    for refused in bench.world.refused() {
        bench.false_success(format!("the program asked for what nobody serves: {refused}"));
    }
    verdict.findings.extend(bench.findings.drain(..).map(|finding| (format!("{store:?}"), finding)));
    if !verdict.is_good() {
        bench.world.place.save(&folder).await?;
    }
    (verdict.faults, verdict.kills) = (bench.world.faults(), bench.world.kills);
    (verdict.commands, verdict.proofs) = (bench.commands, bench.proofs);
    Ok(verdict)
}

async fn round(bench: &mut Bench, rng: &mut StdRng, number: u64) -> io::Result<()> {
    change(bench, rng).await;
    let (rules, hangs) = faults::begin(&bench.world, rng);
    bench.world.note(&rules);
    for _ in 0..rng.random_range(1..4) {
        // What hangs for a minute at a time is not waited for.
        let kill = hangs || rng.random_bool(0.5);
        bench.perform(Task::choose(rng), kill, rng).await?;
        if rng.random_bool(0.3) {
            change(bench, rng).await;
        }
    }
    faults::end(&bench.world);

    bench.finish().await?;
    bench.must_back_up().await?;
    let target = bench.world.vaults.snapshot(TARGET);
    let thoroughly = bench.world.place.storage().is_none() || number.is_multiple_of(5);
    bench.look(&target, Pruning::Nothing, thoroughly).await?;

    // The newest backup is the vault itself, and one more of all there are is what the vault was.
    let vault = SOURCES[rng.random_range(0..SOURCES.len())];
    let backups: Vec<_> = bench.oracle.backups(vault).into_iter().cloned().collect();
    if let Some(newest) = backups.last() {
        let expected = bench.oracle.expected(newest);
        for difference in bench.active(vault).differences(&expected) {
            bench.false_success(format!("the newest backup of {vault} is not the vault: {difference}"));
        }
        bench.prove(newest).await?;
        let earlier = backups[rng.random_range(0..backups.len())].clone();
        bench.prove(&earlier).await?;
    }
    bench.must_copy(rng).await
}

async fn change(bench: &mut Bench, rng: &mut StdRng) {
    for vault in SOURCES {
        for _ in 0..rng.random_range(0..6) {
            let what = changes::one(&bench.world, vault, rng).await;
            bench.world.note(&format!("{vault}: {what}"));
        }
    }
}
