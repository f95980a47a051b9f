//! Answers before they are put on the wire.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::refusal::Refusal;

/// Status, body, and the headers that not every answer has.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Option<Bytes>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What an operation comes to.
pub(super) type Outcome = Result<Answer, Refusal>;

impl Answer {
    /// 200 with a body.
    pub(super) fn ok(body: &impl Serialize) -> Outcome {
        Ok(Self::json(StatusCode::OK, body))
    }

    /// 204.
    pub(super) fn no_content() -> Outcome {
        Ok(Self { status: StatusCode::NO_CONTENT, body: None, headers: Vec::new() })
    }

    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("answers are plain data with string keys");
        Self { status, body: Some(body.into()), headers: Vec::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
