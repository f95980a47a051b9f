//! A long run of the unmodified program through everything that can go wrong, watched by somebody who knows what must be
//! restorable.
//!
//! A round changes the vaults at random, lets a random fault rule rule, and lets the program work, killed by SIGKILL now
//! and then. Then the faults end, and it is looked at from outside: is every backup that was ever committed still there,
//! whole, and does restoring it give, item by item and version by version, what the vault held? What was copied to a second place is
//! looked at likewise. `crash_points` does the same for every single point of a few fixed commands.
//!
//! What is right is known from the vaults themselves ([`Snapshot`](crate::key_vault::Snapshot)) and from `docs/format.md`;
//! nothing here uses the program's own code.
//!
//! * **lost**: a committed backup of which something cannot be restored as it was, a broken promise of the format, or a
//!   backup or restore that does not complete although all faults have ended.
//! * **false success**: something is said to be in a backup, or restored, and is not.

mod changes;
mod copies;
mod crash;
mod faults;
mod format;
mod oracle;
mod place;
pub mod program;
mod rounds;
mod tasks;
mod wire;
mod world;

use std::{fmt, io, path::PathBuf, time::Duration};

use serde_json::{Value, json};

pub use self::{
    crash::{Scenario, crash_points},
    rounds::soak,
};

/// Which store the backups are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// A folder.
    Local,
    /// Microsoft's Azurite over HTTPS, with tokens.
    Azurite,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program under test.
    pub program: PathBuf,
    /// The same seed makes the same choices.
    pub seed: u64,
    /// The stores; they share the time.
    pub stores: Vec<StoreKind>,
    /// When to begin no further round.
    pub time: Duration,
    /// How many rounds on each store at most.
    pub rounds: u64,
    /// Where to keep what happened. Everything of a run is below it.
    pub folder: PathBuf,
}

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// See the module.
    Lost(String),
    /// See the module.
    FalseSuccess(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(what) => write!(f, "lost: {what}"),
            Self::FalseSuccess(what) => write!(f, "false success: {what}"),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Rounds, or points at which a process was killed.
    pub rounds: u64,
    /// Requests that a fault has hit.
    pub faults: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Commands that were run.
    pub commands: u64,
    /// Backups whose restore was compared with the model.
    pub proofs: u64,
    /// The seed.
    pub seed: u64,
    /// Everything that must not be, each with where it was found.
    pub findings: Vec<(String, Finding)>,
}

impl Verdict {
    /// Whether nothing was found.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// How much was lost.
    pub fn lost(&self) -> usize {
        self.findings.iter().filter(|(_, finding)| matches!(finding, Finding::Lost(_))).count()
    }

    /// How often something was claimed that is not so.
    pub fn false_successes(&self) -> usize {
        self.findings.len() - self.lost()
    }

    /// The last line of output.
    pub fn json(&self) -> Value {
        json!({
            "rounds": self.rounds, "faults": self.faults, "kills": self.kills, "lost": self.lost(),
            "falseSuccess": self.false_successes(), "seed": self.seed,
        })
    }

    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.faults += other.faults;
        self.kills += other.kills;
        self.commands += other.commands;
        self.proofs += other.proofs;
        self.findings.extend(other.findings);
    }
}

/// A folder of its own for each store. What is left there from another run would be taken for loss.
fn folder(options: &Options, store: StoreKind) -> io::Result<PathBuf> {
    let folder = options.folder.join(format!("{store:?}").to_lowercase());
    if folder.exists() {
        let message = format!("{} is there already. Remove it, or name another folder.", folder.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
