//! The weather of a round.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    wire::{StorageEffect, StorageFault},
    world::{SOURCES, World},
};
use crate::{
    key_vault::{Effect, Fault, Kind, Network, Operation, Throttling, Verb},
    mishap::Mishap,
};

/// A rule that can rule a round. Retried failures are bounded in number: without a bound the program goes on for the five
/// minutes that it grants each call.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Throttled { retry_after: Option<u32> },
    Quota,
    ServerErrors(u16),
    ResetBefore,
    ResetAfter,
    Truncated,
    Slow,
    Hang,
    Forbidden,
    Firewall,
    ReadOnly,
    ShortTokens,
    ForgottenTokens,
    NoIdentity,
    ClockJump,
    StorageErrors(u16),
    StorageResetBefore,
    StorageResetAfter,
    StorageTruncated,
    StorageSlow,
}

const RULES: [Rule; 20] = [
    Rule::Throttled { retry_after: None },
    Rule::Throttled { retry_after: Some(1) },
    Rule::Quota,
    Rule::ServerErrors(500),
    Rule::ServerErrors(503),
    Rule::ResetBefore,
    Rule::ResetAfter,
    Rule::Truncated,
    Rule::Slow,
    Rule::Hang,
    Rule::Forbidden,
    Rule::Firewall,
    Rule::ReadOnly,
    Rule::ShortTokens,
    Rule::ForgottenTokens,
    Rule::NoIdentity,
    Rule::ClockJump,
    Rule::ResetAfter,
    Rule::Truncated,
    Rule::ServerErrors(503),
];

/// Where there is a storage service, half of the rounds hit it.
const STORAGE_RULES: [Rule; 6] = [
    Rule::StorageErrors(500),
    Rule::StorageErrors(503),
    Rule::StorageResetBefore,
    Rule::StorageResetAfter,
    Rule::StorageTruncated,
    Rule::StorageSlow,
];

/// Lets one or two rules rule, and says which. The last value says whether a server hangs.
pub(super) fn begin(world: &World, rng: &mut StdRng) -> (String, bool) {
    let mut rules: Vec<Rule> = RULES.choose_multiple(rng, 1).copied().collect();
    if world.place.storage().is_some() && rng.random_bool(0.5) {
        rules.extend(STORAGE_RULES.choose(rng));
    } else if rng.random_bool(0.3) {
        rules.extend(RULES.choose(rng));
    }
    for rule in &rules {
        rule.apply(world, rng);
    }
    (format!("{rules:?}"), rules.iter().any(|rule| matches!(rule, Rule::Hang)))
}

/// Ends all faults.
pub(super) fn end(world: &World) {
    world.vaults.clear_faults();
    world.wire.jump_no_more();
    let directory = world.vaults.directory();
    directory.fail_next(0);
    directory.set_token_lifetime(Duration::from_secs(24 * 3600));
    for vault in SOURCES {
        world.vaults.set_throttling(vault, None);
        world.vaults.set_network(vault, Network::Open);
        world.vaults.set_read_only(vault, false);
    }
    if let Some(storage) = world.place.storage() {
        storage.clear_faults();
    }
}

impl Rule {
    fn apply(self, world: &World, rng: &mut StdRng) {
        let vaults = &world.vaults;
        let source = SOURCES[rng.random_range(0..SOURCES.len())];
        match self {
            Self::Throttled { retry_after } => {
                let effect = Effect::Answer { status: 429, code: "Throttled".to_owned(), retry_after };
                // One after the other, as a storm comes.
                let (skip, times) = (rng.random_range(0..20), rng.random_range(3..12));
                vaults.add_fault(Fault::new(effect).skip(skip).times(times));
            }
            Self::Quota => {
                vaults.set_throttling(source, Some(Throttling { scale: 0.02, retry_after: Some(1) }));
            }
            Self::ServerErrors(status) => {
                let effect = Effect::Answer { status, code: "InternalServerError".to_owned(), retry_after: None };
                scatter(world, rng, &effect);
            }
            Self::ResetBefore => scatter(world, rng, &Effect::Before(Mishap::Reset)),
            Self::ResetAfter => scatter(world, rng, &Effect::After(Mishap::Reset)),
            Self::Truncated => {
                let length = rng.random_range(0..200);
                scatter(world, rng, &Effect::After(Mishap::Truncate(length)));
            }
            Self::Slow => {
                let time = Duration::from_millis(rng.random_range(5..60));
                vaults.add_fault(Fault::new(Effect::Before(Mishap::Delay(time))));
            }
            Self::Hang => {
                let mishap = if rng.random() { Effect::Before(Mishap::Hang) } else { Effect::After(Mishap::Hang) };
                vaults.add_fault(Fault::new(mishap).skip(rng.random_range(0..30)).times(1));
            }
            Self::Forbidden => {
                let kind = Kind::ALL[rng.random_range(0..3)];
                let verb = if rng.random() { Verb::Backup } else { Verb::List };
                vaults.add_fault(Fault::answer(403, "Forbidden").in_vault(source).on(Operation::new(kind, verb)));
            }
            Self::Firewall => vaults.set_network(source, Network::Firewall),
            Self::ReadOnly => vaults.set_read_only(source, true),
            Self::ShortTokens => vaults.directory().set_token_lifetime(Duration::from_secs(1)),
            Self::ForgottenTokens => {
                let effect = Effect::Answer { status: 401, code: "Unauthorized".to_owned(), retry_after: None };
                scatter(world, rng, &effect);
            }
            Self::NoIdentity => vaults.directory().fail_next(rng.random_range(1..8)),
            // Longer than a token is good for. Azurite goes by the clock of this machine and would take no new one.
            Self::ClockJump if world.place.storage().is_none() => {
                world.wire.jump(rng.random_range(1..30), vaults.clock(), Duration::from_secs(26 * 3600));
            }
            Self::ClockJump => {}
            Self::StorageErrors(status) => storm(world, rng, StorageEffect::Answer(status)),
            Self::StorageResetBefore => storm(world, rng, StorageEffect::Before(Mishap::Reset)),
            Self::StorageResetAfter => storm(world, rng, StorageEffect::After(Mishap::Reset)),
            Self::StorageTruncated => {
                let length = rng.random_range(0..400);
                storm(world, rng, StorageEffect::After(Mishap::Truncate(length)));
            }
            Self::StorageSlow => {
                let time = Duration::from_millis(rng.random_range(5..60));
                storm(world, rng, StorageEffect::Before(Mishap::Delay(time)));
            }
        }
    }
}

/// About one request in five, of all the vaults.
fn scatter(world: &World, rng: &mut StdRng, effect: &Effect) {
    for _ in 0..rng.random_range(4..16) {
        world.vaults.add_fault(Fault::new(effect.clone()).skip(rng.random_range(0..12)).times(1));
    }
}

/// About one request in five, of the storage account.
fn storm(world: &World, rng: &mut StdRng, effect: StorageEffect) {
    let Some(storage) = world.place.storage() else { return };
    for _ in 0..rng.random_range(4..12) {
        let (skip, times) = (rng.random_range(0..8), rng.random_range(1..3));
        storage.add_fault(StorageFault { skip, times, effect });
    }
}
