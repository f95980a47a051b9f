//! The one error of the stand-in: a sentence for the person who reads the failing test or the terminal.

use std::fmt;

/// Why the Functions host stand-in could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// A result of the Functions host stand-in.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// Joins `context` and the whole source chain of `error`: outer texts alone are often empty.
    pub(super) fn caused(context: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        Self(format!("{context}: {}", chain(error)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// The texts of an error and of everything beneath it, joined by colons.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
