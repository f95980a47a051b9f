//! A bad day: one request in five goes wrong, each in another way.

use simulator::{
    key_vault::{Effect, Fault},
    mishap::Mishap,
};

/// The faults of a storm over all vaults. The same seed makes the same storm, as far as the requests come in the same
/// order.
pub(crate) fn storm(seed: u64) -> Vec<Fault> {
    let gateway = |status, retry_after| Effect::Gateway { status, retry_after };
    let failure = Effect::Answer { status: 500, code: "InternalServerError".to_owned(), retry_after: None };
    let shares = [
        (gateway(429, None), 3),
        (gateway(429, Some(3)), 2),
        (gateway(503, None), 2),
        (failure, 2),
        (Effect::Before(Mishap::Reset), 3),
        (Effect::After(Mishap::Reset), 3),
        (Effect::After(Mishap::Truncate(100)), 4),
        (Effect::Before(Mishap::Hang), 1),
    ];
    let seeds = seed * 100..;
    shares
        .into_iter()
        .zip(seeds)
        .map(|((effect, share), seed)| Fault::new(effect).percent(share, seed).without_token())
        .collect()
}
