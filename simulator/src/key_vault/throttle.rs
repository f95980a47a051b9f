//! Request limits as Azure documents them (service limits page, 2025-07-23).

use std::collections::VecDeque;

use super::{
    model::{Content, Item, Kind, Operation, Verb},
    options::{Throttling, Window},
};

/// Limits count requests in stretches of ten seconds.
const WINDOW_MILLIS: i64 = 10_000;
/// All other transactions of a vault in one window.
const OTHER: f64 = 4000.0;
/// Setting secrets and importing keys and certificates, together, in one window. Restores are assumed to count here:
/// Azure does not say where they do.
const CREATE: f64 = 300.0;
/// Software keys made in one window; a key in an HSM counts twice (10 instead of 20).
const KEY_CREATE: f64 = 20.0;
/// All vaults of a subscription in one region together may do this many times what one vault may.
const SUBSCRIPTION: f64 = 5.0;

/// What has been used of the limits in the window that runs.
#[derive(Debug, Default)]
pub(super) struct Quota {
    window: i64,
    used: [f64; 3],
    /// When what was used, in a window that slides.
    uses: VecDeque<(i64, usize, f64)>,
    granted: f64,
}

#[derive(Clone, Copy)]
enum Bucket {
    Other,
    Create,
    KeyCreate,
}

/// What one request costs.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    bucket: Bucket,
    weight: f64,
}

impl Quota {
    /// Takes `cost` from this vault's limit, or says no and takes nothing: refused requests do not count.
    pub(super) fn take(&mut self, cost: Cost, throttling: Throttling, window: Window, now_millis: i64) -> bool {
        let taken = self.take_of(cost, throttling.scale, window, now_millis);
        if taken {
            self.granted += cost.weight;
        }
        taken
    }

    /// The weights of all requests that were let through, in all windows.
    pub(super) fn granted(&self) -> f64 {
        self.granted
    }

    /// The same for the limit that all vaults of a subscription share.
    pub(super) fn take_shared(&mut self, cost: Cost, throttling: Throttling, window: Window, now_millis: i64) -> bool {
        self.take_of(cost, throttling.scale * SUBSCRIPTION, window, now_millis)
    }

    fn take_of(&mut self, cost: Cost, scale: f64, window: Window, now_millis: i64) -> bool {
        match window {
            Window::Fixed => {
                let window = now_millis.div_euclid(WINDOW_MILLIS);
                if window != self.window {
                    *self = Self { window, granted: self.granted, ..Self::default() };
                }
            }
            Window::Sliding => {
                while self.uses.front().is_some_and(|(at, ..)| at + WINDOW_MILLIS <= now_millis) {
                    let (_, bucket, weight) = self.uses.pop_front().unwrap_or_default();
                    self.used[bucket] -= weight;
                }
            }
        }
        let limit = [OTHER, CREATE, KEY_CREATE][cost.bucket as usize] * scale;
        let used = &mut self.used[cost.bucket as usize];
        // At least one request always goes through, however small the scale.
        if *used > 0.0 && *used + cost.weight > limit {
            return false;
        }
        *used += cost.weight;
        if window == Window::Sliding {
            self.uses.push_back((now_millis, cost.bucket as usize, cost.weight));
        }
        true
    }
}

/// What `operation` costs; `item` is what it works on, if that is there.
pub(super) fn cost(operation: Operation, item: Option<&Item>, hsm: bool) -> Cost {
    match (operation.kind, operation.verb) {
        (_, Verb::Set | Verb::Import | Verb::Restore) => Cost { bucket: Bucket::Create, weight: 1.0 },
        (Kind::Key, Verb::Create) => Cost { bucket: Bucket::KeyCreate, weight: if hsm { 2.0 } else { 1.0 } },
        _ => Cost { bucket: Bucket::Other, weight: item.map_or(1.0, weight) },
    }
}

/// 4000 divided by the documented limit of the key's type: bigger keys and HSMs count for more.
fn weight(item: &Item) -> f64 {
    let Content::Key { public, .. } = &item.current().content else { return 1.0 };
    let hsm = public.kty.ends_with("-HSM");
    // Characters of base64url, no padding: 342 for 2048 bits, 512 for 3072, 683 for 4096.
    let size = public.n.as_ref().map_or(0, String::len);
    let software = if size > 600 {
        8.0
    } else if size > 400 {
        4.0
    } else {
        1.0
    };
    if hsm { software * 2.0 } else { software }
}
