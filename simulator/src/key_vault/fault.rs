//! Faults by rule.

use http::StatusCode;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use super::{model::Operation, refusal::Refusal};
use crate::mishap::Mishap;

/// Which requests fail, and how. Only requests with a good token are looked at, unless [`Fault::without_token`].
#[derive(Clone, Debug)]
pub struct Fault {
    vault: Option<String>,
    operation: Option<Operation>,
    name: Option<String>,
    skip: u64,
    times: u64,
    /// Percent of the matching requests, and what decides.
    chance: Option<(u32, StdRng)>,
    without_token: bool,
    effect: Effect,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This answer, and nothing is done.
    Answer {
        /// HTTP status.
        status: u16,
        /// `error.code` of the body.
        code: String,
        /// Seconds for a `Retry-After` header.
        retry_after: Option<u32>,
    },
    /// This answer in the service's own words, and nothing is done.
    Words {
        /// HTTP status.
        status: u16,
        /// `error.code` of the body.
        code: &'static str,
        /// `error.innererror.code` of the body.
        inner: Option<&'static str>,
        /// `error.message` of the body.
        message: &'static str,
    },
    /// What a gateway in front of the service says, which is not in the form of the service's answers; nothing is done.
    Gateway {
        /// HTTP status.
        status: u16,
        /// Seconds for a `Retry-After` header.
        retry_after: Option<u32>,
    },
    /// The refusal of a token whose time is over; nothing is done.
    Expired,
    /// The mishap, and nothing is done. (A delay comes first and then everything is done.)
    Before(Mishap),
    /// Everything is done, then the mishap.
    After(Mishap),
}

impl Fault {
    /// This effect, on every request until told otherwise.
    pub fn new(effect: Effect) -> Self {
        Self {
            vault: None,
            operation: None,
            name: None,
            skip: 0,
            times: u64::MAX,
            chance: None,
            without_token: false,
            effect,
        }
    }

    /// A bare answer with this status and code.
    pub fn answer(status: u16, code: &str) -> Self {
        Self::new(Effect::Answer { status, code: code.to_owned(), retry_after: None })
    }

    /// An answer with these words.
    pub fn words(status: u16, code: &'static str, inner: Option<&'static str>, message: &'static str) -> Self {
        Self::new(Effect::Words { status, code, inner, message })
    }

    /// Only in this vault.
    pub fn in_vault(mut self, vault: &str) -> Self {
        self.vault = Some(vault.to_owned());
        self
    }

    /// Only on this operation.
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only on items whose name matches; `*` stands for any text. Restores match by the name in the backup.
    pub fn named(mut self, pattern: &str) -> Self {
        self.name = Some(pattern.to_ascii_lowercase());
        self
    }

    /// Lets the first so many matching requests pass.
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Ends after so many effects.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Only so many of a hundred matching requests. The same seed hits the same ones, as far as requests come in the
    /// same order.
    pub fn percent(mut self, percent: u32, seed: u64) -> Self {
        self.chance = Some((percent, StdRng::seed_from_u64(seed)));
        self
    }

    /// The same fault with another seed.
    pub fn seeded(&self, seed: u64) -> Self {
        let chance = self.chance.as_ref().map(|(percent, _)| (*percent, StdRng::seed_from_u64(seed)));
        Self { chance, ..self.clone() }
    }

    /// Also requests without a token, such as the first of each client, which asks which token is wanted.
    pub fn without_token(mut self) -> Self {
        self.without_token = true;
        self
    }

    /// Whether the fault hits this request; counts it.
    pub(super) fn hits(&mut self, vault: &str, operation: Operation, name: &str, has_token: bool) -> bool {
        let matches = self.times > 0
            && (has_token || self.without_token)
            && self.vault.as_ref().is_none_or(|it| it.eq_ignore_ascii_case(vault))
            && self.operation.is_none_or(|it| it == operation)
            && self.name.as_ref().is_none_or(|it| glob(it, &name.to_ascii_lowercase()));
        if matches && self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let matches =
            matches && self.chance.as_mut().is_none_or(|(percent, dice)| dice.random_range(0..100) < *percent);
        if matches && self.times != u64::MAX {
            self.times -= 1;
        }
        matches
    }

    pub(super) fn effect(&self) -> Effect {
        self.effect.clone()
    }
}

impl Effect {
    pub(super) fn refusal(status: u16, code: &str, retry_after: Option<u32>) -> Refusal {
        Refusal { retry_after, ..Refusal::new(status_of(status), code, "A fault was asked for here.") }
    }

    pub(super) fn gateway(status: u16, retry_after: Option<u32>) -> Refusal {
        Refusal { retry_after, page: true, ..Refusal::new(status_of(status), "", "Try again later.") }
    }

    pub(super) fn expired(tenant: Uuid) -> Refusal {
        Refusal::unauthorized(tenant, "[TokenExpired] Error validating token: 'S2S12086'.")
    }

    pub(super) fn worded(status: u16, code: &str, inner: Option<&'static str>, message: &str) -> Refusal {
        Refusal { inner, ..Refusal::new(status_of(status), code, message) }
    }
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a fault's status is a status of HTTP")
}

/// `*` stands for any text, also for none.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
