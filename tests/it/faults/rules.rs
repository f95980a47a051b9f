//! What goes wrong, one rule at a time.

use std::time::Duration;

use keyvault_backup::error::ErrorKind;
use simulator::{
    key_vault::{Effect, Fault, Kind, Operation, Verb},
    mishap::Mishap,
};

use crate::world::{
    World,
    faulty::{Flaw, Often},
    storm::storm,
};

/// One thing that goes wrong.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) place: Place,
    /// Whether every use case completes all the same.
    pub(super) completes: bool,
}

pub(super) enum Place {
    /// In both vaults.
    Vaults(Vec<Fault>),
    /// In both containers.
    Store(Flaw, Often),
    /// Tokens of this life, and so many requests for a token that fail.
    Identity(Duration, u32),
}

impl Rule {
    /// From now on it goes wrong in the vaults and with the identity.
    pub(super) fn begin(&self, world: &World, seed: u64) {
        match &self.place {
            Place::Vaults(faults) => {
                for (fault, salt) in faults.iter().zip(seed * 100..) {
                    world.vaults.add_fault(fault.seeded(salt));
                }
            }
            Place::Identity(life, failures) => {
                world.vaults.directory().set_token_lifetime(*life);
                world.vaults.directory().fail_next(*failures);
                world.vaults.set_latency(Duration::from_secs(2));
            }
            Place::Store(..) => (),
        }
    }
}

/// All rules. The last row of product.md's table asks that those at 20 % be ridden out.
pub(super) fn all() -> Vec<Rule> {
    let seconds = Duration::from_secs;
    let refused = |status, code: &str, retry_after| Effect::Answer { status, code: code.to_owned(), retry_after };
    let gateway = |status, retry_after| Effect::Gateway { status, retry_after };
    let storms = [
        ("429 without Retry-After", refused(429, "Throttled", None)),
        ("429 with Retry-After", refused(429, "Throttled", Some(7))),
        ("429 of a gateway", gateway(429, Some(2))),
        ("500", refused(500, "InternalServerError", None)),
        ("503", refused(503, "ServiceUnavailable", None)),
        ("503 with Retry-After", refused(503, "ServiceUnavailable", Some(5))),
        ("502 of a gateway", gateway(502, None)),
        ("504 of a gateway", gateway(504, None)),
        ("connections reset before acting", Effect::Before(Mishap::Reset)),
        ("connections reset after acting", Effect::After(Mishap::Reset)),
        ("bodies cut short", Effect::After(Mishap::Truncate(20))),
        ("bodies of which nothing arrives", Effect::After(Mishap::Truncate(0))),
        ("slow answers", Effect::After(Mishap::Delay(seconds(30)))),
        ("slow bodies", Effect::After(Mishap::Trickle(seconds(30)))),
    ];
    let mut rules: Vec<Rule> = storms
        .into_iter()
        .map(|(name, effect)| vaults(name, true, vec![Fault::new(effect).percent(20, 0).without_token()]))
        .collect();
    rules.push(vaults("a storm of everything", true, storm(0)));
    let hang = |mishap| Fault::new(mishap).percent(20, 0);
    rules.extend([
        // Believed for a minute each time, which leaves a call few tries.
        vaults(
            "429 that asks for a day",
            false,
            vec![Fault::new(refused(429, "Throttled", Some(86_400))).percent(20, 0)],
        ),
        vaults("servers that hang before acting", false, vec![hang(Effect::Before(Mishap::Hang))]),
        vaults("servers that hang after acting", false, vec![hang(Effect::After(Mishap::Hang))]),
        vaults("tokens called expired", false, vec![Fault::new(Effect::Expired).percent(20, 0)]),
        vaults(
            "a vault that is down from some request on",
            false,
            vec![Fault::new(refused(503, "ServiceUnavailable", None)).skip(15)],
        ),
        vaults(
            "a vault that hangs from some request on",
            false,
            vec![Fault::new(Effect::Before(Mishap::Hang)).skip(15)],
        ),
        vaults(
            "a vault that cannot be reached at all",
            false,
            vec![Fault::new(Effect::Before(Mishap::Reset)).without_token()],
        ),
        vaults("backups that always fail", false, every_kind(Verb::Backup, Effect::Before(Mishap::Reset))),
        vaults(
            "restores that act and always lose their answer",
            false,
            every_kind(Verb::Restore, Effect::After(Mishap::Reset)),
        ),
        vaults("purges that always fail", false, every_kind(Verb::Purge, refused(500, "InternalServerError", None))),
        vaults(
            "deletes that act and always lose their answer",
            false,
            every_kind(Verb::Delete, Effect::After(Mishap::Reset)),
        ),
    ]);
    rules.extend([
        Rule { name: "tokens that expire in the middle", place: Place::Identity(seconds(7), 0), completes: true },
        Rule {
            name: "an identity endpoint that fails a few times",
            place: Place::Identity(seconds(7), 3),
            completes: true,
        },
        Rule {
            name: "an identity endpoint that fails for good",
            place: Place::Identity(seconds(7), u32::MAX),
            completes: false,
        },
    ]);
    let often = |skip, percent| Often { skip, percent, seed: 0 };
    let stores = [
        ("a storage that fails before acting", Flaw::Before(ErrorKind::Unavailable), often(0, 20)),
        ("a storage that fails after acting", Flaw::After(ErrorKind::Unavailable), often(0, 20)),
        ("a storage that is throttled", Flaw::Before(ErrorKind::Throttled), often(0, 20)),
        ("a storage that is down from some call on", Flaw::Before(ErrorKind::Unavailable), often(12, 100)),
        ("a storage that loses all answers from some call on", Flaw::After(ErrorKind::Unavailable), often(12, 100)),
        ("a storage that hangs now and then", Flaw::Hangs, often(0, 20)),
        ("a storage that hangs from some call on", Flaw::Hangs, often(12, 100)),
        ("reads cut short", Flaw::Short, often(0, 20)),
        ("reads with a bit flipped", Flaw::Flipped, often(0, 20)),
        ("a full disk", Flaw::Full, often(0, 100)),
        ("a disk that fills up", Flaw::Full, often(12, 100)),
        ("leases that are lost at once", Flaw::LosesLeases(Duration::ZERO), often(0, 100)),
        ("leases that are lost in the middle", Flaw::LosesLeases(Duration::from_millis(20)), often(0, 100)),
    ];
    rules.extend(stores.map(|(name, flaw, often)| Rule { name, place: Place::Store(flaw, often), completes: false }));
    rules.push(Rule {
        name: "a slow storage",
        place: Place::Store(Flaw::Slow(seconds(20)), often(0, 50)),
        completes: true,
    });
    rules
}

fn vaults(name: &'static str, completes: bool, faults: Vec<Fault>) -> Rule {
    Rule { name, place: Place::Vaults(faults), completes }
}

fn every_kind(verb: Verb, effect: Effect) -> Vec<Fault> {
    Kind::ALL.into_iter().map(|kind| Fault::new(effect.clone()).on(Operation::new(kind, verb))).collect()
}
