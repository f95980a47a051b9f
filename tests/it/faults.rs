//! Every use case under every fault: it ends, it completes or says in a sentence why not, nothing is half done, nothing
//! is reported as done that is not, and without the fault it completes.
//!
//! Faults of a vault are rules of the simulator; faults of the storage are those of [`crate::world::faulty`]. Time is
//! virtual, and every random choice comes from a seed.

mod clock;
mod disk;
mod identity;
mod rules;
mod storage;
mod use_cases;

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;

use keyvault_backup::{
    error::Error,
    repository::Repository,
    vault::{DEADLINE, Vault, pacing::Pacing},
};
use tokio::time::Instant;

use self::{
    rules::{Place, Rule},
    use_cases::UseCase,
};
use crate::{
    leaks::TOKENS,
    world::{
        World,
        faulty::{Often, faulty},
    },
};

const SOURCE: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";

/// How many items the vaults hold.
const ITEMS: usize = 20;

/// The dice of each pair.
const SEEDS: [u64; 2] = [1, 2];

/// The words of every value that the simulator seeds.
const VALUES: &str = "value 0 of";

/// A world in which a rule holds.
struct Stage<'a> {
    world: &'a World,
    rule: Option<&'a Rule>,
    seed: u64,
}

impl Stage<'_> {
    fn vault(&self, name: &str) -> Vault {
        self.world.vault_through(name, &self.world.door.transport(), Pacing::new(1_000.0))
    }

    fn repository(&self) -> Repository {
        match self.rule.map(|rule| &rule.place) {
            Some(&Place::Store(flaw, Often { skip, percent, .. })) => {
                let store = |store, salt| faulty(store, flaw, Often { skip, percent, seed: self.seed + salt });
                Repository::new(store(self.world.backups.clone(), 0), store(self.world.state.clone(), 1_000))
            }
            _ => self.world.repository(),
        }
    }
}

/// How a use case ended, as it says itself.
#[derive(Debug)]
enum Ended {
    /// All is done.
    Complete,
    /// Some is done, and it said what is not.
    Partly(Vec<String>),
    /// Nothing is done.
    Failed(String),
}

impl Ended {
    fn failed(error: &Error) -> Self {
        Self::Failed(error.chain())
    }

    fn sentences(&self) -> &[String] {
        match self {
            Self::Complete => &[],
            Self::Partly(sentences) => sentences,
            Self::Failed(sentence) => std::slice::from_ref(sentence),
        }
    }
}

/// No run takes longer: each of the places works through its share of the items, each with a handful of calls that may
/// take their whole time.
const LIMIT: Duration = Duration::from_secs(DEADLINE.as_secs() * (6 * ITEMS as u64 / 8 + 10));

async fn a_use_case_under(use_case: UseCase, rule: &Rule, seed: u64) {
    let case = format!("{use_case:?} under {:?}, seed {seed}", rule.name);
    let (world, mut scene) = use_case.prepare().await;
    rule.begin(&world, seed);
    let start = Instant::now();
    let stage = Stage { world: &world, rule: Some(rule), seed };
    let ended = tokio::time::timeout(LIMIT, scene.run(&stage)).await;
    let Ok(ended) = ended else { panic!("{case}: it hangs") };
    world.vaults.clear_faults();
    world.vaults.directory().fail_next(0);
    world.assert_all_known();
    for sentence in ended.sentences() {
        // What caused it follows in the words of whoever said it.
        let own = sentence.split(" Cause: ").next().unwrap_or_default();
        assert!(own.len() > 40 && own.ends_with(['.', ')']), "{case}: {sentence}");
        for secret in TOKENS.into_iter().chain([VALUES]) {
            assert!(!sentence.contains(secret), "{case}: {sentence}");
        }
    }
    if rule.completes {
        assert!(matches!(ended, Ended::Complete), "{case}: {ended:#?}");
    }
    scene.assert_true(&world, &ended, &case).await;

    let stage = Stage { world: &world, rule: None, seed };
    world.pass(Duration::from_secs(60));
    let again = scene.run_again(&stage, &ended).await;
    assert!(matches!(again, Ended::Complete), "{case}, after {:?}: {again:#?}", start.elapsed());
    scene.assert_true(&world, &again, &case).await;
    scene.assert_nothing_is_lost(&world, &case).await;
}

/// Goes on after a failure, so that one run shows all of them.
async fn under_every_rule(use_case: UseCase) {
    let mut failed = Vec::new();
    for rule in rules::all() {
        for seed in SEEDS {
            if AssertUnwindSafe(a_use_case_under(use_case, &rule, seed)).catch_unwind().await.is_err() {
                failed.push((rule.name, seed));
            }
        }
    }
    assert_eq!(failed, [], "each has told above why");
}

macro_rules! every_rule {
    ($($name:ident: $use_case:expr,)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                under_every_rule($use_case).await;
            }
        )*
    };
}

every_rule! {
    an_incremental_backup_under_every_fault: UseCase::Incremental,
    a_full_backup_under_every_fault: UseCase::Full,
    a_restore_under_every_fault: UseCase::Restore,
    a_restore_that_replaces_under_every_fault: UseCase::Replace,
    a_prune_under_every_fault: UseCase::Prune,
    a_verification_under_every_fault: UseCase::Verify,
    a_drill_under_every_fault: UseCase::Drill,
    a_comparison_with_the_vault_under_every_fault: UseCase::Diff,
    the_status_under_every_fault: UseCase::Status,
}
