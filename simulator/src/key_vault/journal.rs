//! What was asked and answered.

use std::collections::{BTreeMap, VecDeque};

use super::model::Operation;

/// So many requests are kept; the counters know all.
const KEPT: usize = 100_000;

/// One request and the status of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Unix milliseconds of the simulator's clock.
    pub at_millis: i64,
    /// The vault, or the host if there is no such vault.
    pub vault: String,
    /// The HTTP method.
    pub method: String,
    /// What it asked for, if that is known.
    pub operation: Option<Operation>,
    /// The item; empty for lists. For restores it comes from the backup.
    pub name: String,
    /// The name of the identity; empty if the request had no good token.
    pub identity: String,
    /// The HTTP status. Also there when a mishap kept the answer from the client.
    pub status: u16,
}

/// The last requests, and counters over all.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) requests: VecDeque<Logged>,
    pub(super) counts: BTreeMap<(Option<Operation>, u16), u64>,
    pub(super) unknown: Vec<String>,
}

impl Journal {
    pub(super) fn record(&mut self, request: Logged) {
        *self.counts.entry((request.operation, request.status)).or_default() += 1;
        if self.requests.len() >= KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}
