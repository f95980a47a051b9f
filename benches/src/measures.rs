//! What is measured, one file each.

mod builds;
mod instructions;
mod jobs;
mod mishaps;
mod protocols;
mod quota;
mod sizes;
mod start;

use crate::{Result, Setup, report::Report};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measure {
    /// That the scripts do the same job; nothing is measured.
    Same,
    /// From the start of the process to its first answer, beside handlers in Python and Node.js.
    Start,
    /// Full backups beside the scripts.
    Backup,
    /// Restores beside the scripts.
    Restore,
    /// Both with 20 ms for each request and the documented quota.
    Azure,
    /// The share of the quota that is used.
    Quota,
    /// Memory, time and requests at growing numbers of items.
    Sizes,
    /// SIGKILL at hundreds of points, and a storm of faults.
    Mishaps,
    /// HTTP/1.1 and HTTP/2.
    Protocols,
    /// Instructions for each item, and where they go.
    Instructions,
    /// The program built in several ways.
    Builds,
}

/// What was asked for, in an order in which a mistake shows early.
pub(crate) fn chosen(setup: &Setup) -> Vec<Measure> {
    use Measure::*;
    match (setup.only.as_slice(), setup.quick) {
        ([], true) => vec![Same, Start, Backup, Restore, Quota, Sizes, Mishaps],
        ([], false) => vec![Same, Start, Backup, Restore, Azure, Quota, Sizes, Mishaps, Protocols, Instructions],
        (some, _) => some.to_vec(),
    }
}

impl Measure {
    pub(crate) async fn run(self, setup: &Setup, report: &mut Report) -> Result<()> {
        match self {
            Self::Same => jobs::same(setup).await,
            Self::Start => start::run(setup, report).await,
            Self::Backup => jobs::backup(setup, report).await,
            Self::Restore => jobs::restore(setup, report).await,
            Self::Azure => jobs::as_in_azure(setup, report).await,
            Self::Quota => quota::run(setup, report).await,
            Self::Sizes => sizes::run(setup, report).await,
            Self::Mishaps => mishaps::run(setup, report).await,
            Self::Protocols => protocols::run(setup, report).await,
            Self::Instructions => instructions::run(setup, report).await,
            Self::Builds => builds::run(setup, report).await,
        }
    }
}
