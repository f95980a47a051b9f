//! Kills and faults, with the simulator's soak: the rows of the targets that are no figures of speed.

use std::time::Duration;

use simulator::soak::{Options, Scenario, StoreKind, Verdict, crash_points, soak};

use crate::{Result, Setup, report::Report, series::grouped};

/// What product.md asks for.
const POINTS: u64 = 200;

/// What the target names. Others are killed by the tests: after a drill that was killed the next one waits a minute.
const KILLED: [Scenario; 5] =
    [Scenario::Backup, Scenario::FullBackup, Scenario::Restore, Scenario::Replacement, Scenario::Prune];

/// So many points of each of these are more than [`POINTS`] together, although some processes end before their moment.
const POINTS_OF_A_SCENARIO: u64 = 60;

pub(super) async fn run(setup: &Setup, report: &mut Report) -> Result<()> {
    let folders = tempfile::tempdir()?;
    let options = |what: &str, stores: &[StoreKind], rounds, seconds| Options {
        program: setup.program.clone(),
        seed: 6,
        stores: stores.to_vec(),
        time: Duration::from_secs(seconds),
        rounds,
        folder: folders.path().join(what),
    };
    let killed = crash_points(&options("kills", &[StoreKind::Local], POINTS_OF_A_SCENARIO, 0), &KILLED).await?;
    let at = format!("{} kills", grouped(killed.kills as i64));
    let good = killed.is_good() && killed.kills >= POINTS;
    report.verdict("SIGKILL during backup, restore, prune", "≥ 200 points, nothing lost", said(&killed, &at), good);

    let seconds = if setup.quick { 20 } else { 60 };
    let stormed = soak(&options("faults", &[StoreKind::Local, StoreKind::Azurite], u64::MAX, seconds)).await?;
    let at = format!("{} faults, {} kills", grouped(stormed.faults as i64), stormed.kills);
    let good = stormed.is_good() && stormed.faults > 0;
    report.verdict("fault storm", "nothing lost, no false success", said(&stormed, &at), good);
    Ok(())
}

fn said(verdict: &Verdict, at: &str) -> String {
    for (place, finding) in &verdict.findings {
        eprintln!("{place}: {finding}");
    }
    format!("{at}: {} lost, {} false", verdict.lost(), verdict.false_successes())
}
