//! What can go wrong on the wire, as opposed to an answer that says no.
//!
//! The service puts a [`Mishap`] into the extensions of its response; each front door acts it out.

use std::time::Duration;

/// A failure below HTTP that a front door acts out instead of delivering the response as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The connection is reset; the client never sees an answer. Whether the service acted before is the rule's choice.
    Reset,
    /// The body ends after this many bytes although `Content-Length` promised more.
    Truncate(usize),
    /// Nothing is ever answered; the connection stays open.
    Hang,
    /// The answer arrives whole, but only after this time.
    Delay(Duration),
    /// Half of the body arrives at once, and the rest after this time.
    Trickle(Duration),
}
