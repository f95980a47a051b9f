//! The one error type. Its kind says what the caller can do; its message is a sentence for a person.
//!
//! Rules:
//! - A message says what was being done, to which vault, item, blob or setting, and what to do next. It never holds a
//!   secret value, a token, a function key or the bytes of a backup.
//! - The kind is decided once, where the outside answer is read ([`crate::vault`], [`crate::store`], [`crate::config`]).
//!   Three tables read it, one place each: retry or not (`vault/refusal`), HTTP status (`functions/api`), exit code
//!   (`cli/print`).
//! - The failure of one item is data in a [`crate::report`], not an error.

use std::{error, fmt};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms of what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A setting, message, request or argument is wrong: correct it. Trying again does not help.
    InvalidInput,
    /// The named thing does not exist.
    NotFound,
    /// The name is taken, or the thing changed meanwhile.
    Conflict,
    /// Nobody could be identified: no token, an expired token, an unknown identity.
    Unauthenticated,
    /// The identity is known and may not do this, or a network rule forbids it.
    Forbidden,
    /// Somebody else is at work on the same vault.
    Busy,
    /// The service asks for fewer requests. May be tried again later.
    Throttled,
    /// The service or the network did not answer as it should. May be tried again.
    Unavailable,
    /// Stored data is damaged: it does not have the promised size, hash or form.
    Corrupt,
    /// Stored data was written by a newer release of this program.
    NewerFormat,
    /// The service refuses for good, for a reason of its own (a limit, a foreign backup, a policy).
    Refused,
    /// Nobody is at work on the operation any more, and nobody will be: ask for it again.
    Abandoned,
    /// A mistake of this program.
    Internal,
}

impl ErrorKind {
    /// The stable code of this kind in the HTTP API (`error.code`) and in printed JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidInput => "InvalidInput",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::Unauthenticated => "Unauthenticated",
            Self::Forbidden => "Forbidden",
            Self::Busy => "Busy",
            Self::Throttled => "Throttled",
            Self::Unavailable => "Unavailable",
            Self::Corrupt => "Corrupt",
            Self::NewerFormat => "NewerFormat",
            Self::Refused => "Refused",
            Self::Abandoned => "Abandoned",
            Self::Internal => "Internal",
        }
    }

    /// The kind behind a [`ErrorKind::code`].
    pub fn from_code(code: &str) -> Option<Self> {
        const ALL: [ErrorKind; 13] = [
            ErrorKind::InvalidInput,
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::Unauthenticated,
            ErrorKind::Forbidden,
            ErrorKind::Busy,
            ErrorKind::Throttled,
            ErrorKind::Unavailable,
            ErrorKind::Corrupt,
            ErrorKind::NewerFormat,
            ErrorKind::Refused,
            ErrorKind::Abandoned,
            ErrorKind::Internal,
        ];
        ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether one stored blob is at fault, and others may be sound.
    pub fn is_of_stored_data(self) -> bool {
        matches!(self, Self::Corrupt | Self::NewerFormat)
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Throttled | Self::Unavailable)
    }
}

/// An error: its kind for programs, its message for people, and what caused it.
pub struct Error {
    kind: ErrorKind,
    message: String,
    target: Option<String>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind with a sentence for a person.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), target: None, source: None }
    }

    /// An [`ErrorKind::InvalidInput`] that names the field or setting at fault.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message).at(field)
    }

    /// Names the field, setting, item or blob at fault, for `error.target` in the HTTP API.
    #[must_use]
    pub fn at(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Adds to the sentence, such as a hint that somebody further out can give.
    #[must_use]
    pub fn adding(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// Keeps what caused this error.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence alone, without what caused it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field, setting, item or blob at fault.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// The sentence and the causes behind it, outermost first. Of a request that got no answer, the innermost alone: those
    /// around it only say which library was told by which.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = error::Error::source(self);
        let mut is_of_request = false;
        while let Some(cause) = next {
            next = cause.source();
            is_of_request |= [Some(cause), next].into_iter().flatten().any(|cause| cause.is::<reqwest::Error>());
            let cause_text = cause.to_string();
            let is_told = next.is_none() || !is_of_request;
            if is_told && !cause_text.is_empty() && !text.contains(&cause_text) {
                text.push_str(" Cause: ");
                text.push_str(&cause_text);
            }
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.chain())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_shows_every_cause_once() {
        let inner = Error::new(ErrorKind::Unavailable, "The server closed the connection.");
        let outer = Error::new(ErrorKind::Unavailable, "Could not read the manifest of backup b.").because(inner);
        assert_eq!(outer.chain(), "Could not read the manifest of backup b. Cause: The server closed the connection.");
    }
}
