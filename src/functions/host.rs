//! What the Functions host says and wants to hear: its JSON, both ways, and nothing else.
//!
//! The host encodes by a rule of its own (azure-functions-host, ScriptInvocationContextExtensions.cs): what can be a
//! JSON object is one; everything else is JSON inside a JSON string. So strings arrive encoded twice and numbers as
//! strings. Older and newer hosts differ, so both forms are accepted.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    error::{Error, ErrorKind, Result},
    json::Body,
};

/// One call of a function by the host.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Invocation {
    #[serde(default)]
    data: Map<String, Value>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

impl Invocation {
    pub(super) fn parse(body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map_err(|cause| {
            // The cause quotes nothing of the body, which can hold a function key.
            let place = format!("line {}, column {}", cause.line(), cause.column());
            let message = format!("The Functions host sent something that is not an invocation, at {place}.");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }

    /// How often the message was delivered; 1 when the host does not say.
    pub(super) fn dequeue_count(&self) -> u32 {
        match self.metadata.get("DequeueCount") {
            Some(Value::String(text)) => text.trim_matches('"').parse().unwrap_or(1),
            Some(Value::Number(number)) => number.as_u64().and_then(|count| count.try_into().ok()).unwrap_or(1),
            _ => 1,
        }
    }

    /// The queue message of a binding: an object, or JSON in a string, or JSON in a string in a string.
    pub(super) fn message<T: DeserializeOwned>(&self, binding: &str) -> Result<T> {
        let mut value = self.data.get(binding).cloned().unwrap_or(Value::Null);
        for _ in 0..3 {
            let Value::String(text) = &value else { break };
            value = serde_json::from_str(text).map_err(|_| not_a_message("it is not JSON"))?;
        }
        serde_json::from_value(value).map_err(|cause| not_a_message(&cause.to_string()))
    }

    /// The HTTP request of a binding.
    pub(super) fn http(&self, binding: &str) -> Result<HttpRequest> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            url: String,
            method: String,
            #[serde(default)]
            query: Value,
            #[serde(default)]
            headers: Value,
            #[serde(default)]
            params: Value,
            body: Option<Value>,
        }
        let unreadable = || Error::new(ErrorKind::InvalidInput, "The Functions host sent no readable HTTP request.");
        let value = self.data.get(binding).ok_or_else(unreadable)?;
        let Request { url, method, query, headers, params, body } =
            Request::deserialize(value).map_err(|_| unreadable())?;
        Ok(HttpRequest {
            url: url.parse().map_err(|_| unreadable())?,
            method: method.to_ascii_uppercase(),
            query: texts(&query),
            headers: texts(&headers).into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
            params: texts(&params),
            // The raw text of the body; absent when the client sent none, or sent it in chunks.
            body: match body {
                Some(Value::String(text)) if !text.is_empty() => Some(text),
                Some(value @ (Value::Object(_) | Value::Array(_))) => Some(value.to_string()),
                _ => None,
            },
        })
    }
}

fn not_a_message(why: &str) -> Error {
    let message = format!(
        "A queue message cannot be understood: {why}. Messages are written by this app only; look at the poison queue."
    );
    Error::new(ErrorKind::InvalidInput, message)
}

/// Names and texts of a JSON object (or of one in a string), whose values may be lists.
fn texts(value: &Value) -> BTreeMap<String, String> {
    let parsed;
    let value = match value {
        Value::String(text) => {
            parsed = serde_json::from_str(text).unwrap_or(Value::Null);
            &parsed
        }
        other => other,
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => list.first().and_then(Value::as_str).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let rows = value.as_object().into_iter().flatten();
    rows.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// An HTTP request as the host describes it. `Debug` shows neither headers nor query: they can hold a function key.
pub(super) struct HttpRequest {
    pub(super) url: Url,
    pub(super) method: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) body: Option<String>,
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.url.path())
    }
}

/// What an HTTP function answers to its client.
#[derive(Debug, Serialize)]
pub(super) struct HttpResponse {
    /// `status` alone is ignored by the host, which then answers 200.
    #[serde(rename = "statusCode")]
    pub(super) status: u16,
    pub(super) headers: BTreeMap<&'static str, String>,
    pub(super) body: Body,
}

/// What a function answers to the host: always a JSON object, because an empty answer makes the host wait until its
/// time-out and then kill the handler.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Reply {
    outputs: Outputs,
    logs: Vec<String>,
    return_value: (),
}

#[derive(Debug, Default, Serialize)]
struct Outputs {
    #[serde(skip_serializing_if = "Option::is_none")]
    res: Option<HttpResponse>,
    /// A list of strings is the only form the host passes on unchanged: it re-indents objects, and decodes a string that
    /// happens to be base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<String>,
}

impl Reply {
    pub(super) fn http(response: HttpResponse) -> Self {
        Self { outputs: Outputs { res: Some(response), jobs: Vec::new() }, ..Self::default() }
    }

    pub(super) fn log(mut self, line: impl Into<String>) -> Self {
        self.logs.push(line.into());
        self
    }

    /// Puts messages into the queue of the output binding `jobs`.
    pub(super) fn queue(mut self, messages: Vec<String>) -> Self {
        self.outputs.jobs = messages;
        self
    }

    /// The text. An error says that a long list could not be read again.
    pub(super) fn encode(&self) -> Result<Bytes> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "The answer could not be written. Try again.").because(cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Message {
        a: u32,
    }

    #[test]
    fn messages_are_understood_however_often_they_are_encoded() {
        let forms = [json!({ "a": 1 }), json!("{\"a\":1}"), json!("\"{\\\"a\\\":1}\"")];
        for form in forms {
            let body = json!({ "Data": { "job": form }, "Metadata": { "DequeueCount": "3" } });
            let invocation = Invocation::parse(body.to_string().as_bytes()).unwrap();
            assert_eq!(invocation.message::<Message>("job").unwrap(), Message { a: 1 });
            assert_eq!(invocation.dequeue_count(), 3);
        }
    }

    #[test]
    fn an_answer_is_never_empty() {
        let answer: Value = serde_json::from_slice(&Reply::default().encode().unwrap()).unwrap();
        assert_eq!(answer, json!({ "Outputs": {}, "Logs": [], "ReturnValue": null }));
    }

    #[test]
    fn debug_shows_no_function_key() {
        let body = json!({ "Data": { "req": {
            "Url": "https://app/api/backups?code=canary", "Method": "GET",
            "Query": { "code": "canary" }, "Headers": { "X-Functions-Key": ["canary"] }, "Params": {}
        } } });
        let request = Invocation::parse(body.to_string().as_bytes()).unwrap().http("req").unwrap();
        assert_eq!(request.headers["x-functions-key"], "canary");
        assert_eq!(format!("{request:?}"), "GET /api/backups");
    }
}
