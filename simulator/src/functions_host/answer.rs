//! The handler's response to an invocation, with every trap of the real host.

use super::{
    Error, Result,
    function_json::{Function, Output},
};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value, json};

/// What a function returned, before its outputs are looked at.
#[derive(Debug)]
pub(super) struct Answer {
    outputs: Map<String, Value>,
    /// Lines for the log, at level Information whatever they say.
    pub(super) logs: Vec<String>,
}

/// What a successful function asks the host to do.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Queue name and message bytes, in order.
    pub(super) messages: Vec<(String, Vec<u8>)>,
    /// The HTTP response, for functions that have one.
    pub(super) reply: Option<Reply>,
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Reads a response. `Ok(None)` is the trap: an empty body or JSON `null` with a 2xx status, for which the real
    /// host never finishes the invocation.
    ///
    /// # Errors
    /// When the status is not 2xx, the content type is not JSON, or the JSON does not have the expected form.
    pub(super) fn read(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Option<Self>> {
        if !(200..300).contains(&status) {
            // The body is deliberately not quoted: the real host shows the status alone.
            return Err(Error::new(format!("Response status code does not indicate success: {status}.")));
        }
        if body.is_empty() {
            return Ok(None);
        }
        let media_type = content_type.unwrap_or("none").split(';').next().unwrap_or_default().trim();
        if !["application/json", "text/json"].iter().any(|json| media_type.eq_ignore_ascii_case(json)) {
            return Err(Error::new(format!(
                "Invalid HttpResponseMessage: its content type is '{media_type}'; answer with application/json"
            )));
        }
        let invalid = |why: String| Error::new(format!("Invalid HttpResponseMessage: {why}"));
        let value: Value = serde_json::from_slice(body).map_err(|e| invalid(format!("its body is not JSON: {e}")))?;
        let fields = match value {
            Value::Null => return Ok(None),
            Value::Object(fields) => fields,
            _ => return Err(invalid("its body is not a JSON object".to_owned())),
        };
        let outputs = match field(&fields, "Outputs") {
            Value::Null => Map::new(),
            Value::Object(outputs) => outputs.clone(),
            _ => return Err(invalid("Outputs is not an object".to_owned())),
        };
        let logs = match field(&fields, "Logs") {
            Value::Null => Vec::new(),
            Value::Array(lines) => lines.iter().map(text_of).collect(),
            _ => return Err(invalid("Logs is not an array".to_owned())),
        };
        Ok(Some(Self { outputs, logs }))
    }

    /// Turns the outputs that `function` declares into effects. Outputs it does not declare are ignored.
    ///
    /// # Errors
    /// When an output cannot be converted, which fails the invocation.
    pub(super) fn effects(&self, function: &Function) -> Result<Effects> {
        let mut effects = Effects::default();
        for output in &function.outputs {
            match output {
                Output::Queue { binding, queue, binary } => {
                    let value = self.outputs.get(binding).unwrap_or(&Value::Null);
                    effects.messages.extend(messages(value, *binary)?.into_iter().map(|bytes| (queue.clone(), bytes)));
                }
                Output::Http { binding } => effects.reply = Some(reply(self.outputs.get(binding))?),
            }
        }
        Ok(effects)
    }
}

/// The messages in one output value.
fn messages(value: &Value, binary: bool) -> Result<Vec<Vec<u8>>> {
    let elements = match value {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) => {
            // The trap: any string that happens to be base64 is decoded, "abcd" as well as an id of 32 hex digits.
            if let Some(bytes) = decode_base64(text).filter(|_| !binary) {
                return Ok(vec![bytes]);
            }
            if !looks_like_json(text) {
                return Ok(vec![text.clone().into_bytes()]);
            }
            match serde_json::from_str(text) {
                Ok(Value::Array(elements)) => elements,
                Ok(other) => vec![other],
                Err(e) => return Err(Error::new(format!("a queue output looks like JSON but is not: {e}"))),
            }
        }
        Value::Array(elements) => elements.clone(),
        other => vec![other.clone()],
    };
    Ok(elements.iter().map(|element| text_of(element).into_bytes()).collect())
}

/// `ToString()` of a Json.NET token: strings verbatim, objects and arrays indented, booleans with a capital.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(_) | Value::Object(_) => format!("{value:#}"),
    }
}

fn looks_like_json(text: &str) -> bool {
    let text = text.trim();
    (text.starts_with('{') && text.ends_with('}')) || (text.starts_with('[') && text.ends_with(']'))
}

/// `Convert.FromBase64String`: skips white space, wants padding, does not mind stray trailing bits.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let dense: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).collect();
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(dense).ok()
}

/// The HTTP response in an output value.
fn reply(value: Option<&Value>) -> Result<Reply> {
    let no_object = |what: &str| {
        Error::new(format!("Output body should have 'StatusCode', 'Status', 'Body', and 'Headers', but it is {what}"))
    };
    let parsed;
    let value = match value {
        Some(Value::String(text)) => {
            parsed = serde_json::from_str(text).map_err(|_| no_object("plain text"))?;
            Some(&parsed)
        }
        value => value,
    };
    let fields = match value {
        // Nothing that could be read: the real host sends its empty response object.
        None | Some(Value::Null) => return Ok(encode_body(200, Vec::new(), Some(&json!({})))),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(no_object("no object")),
    };
    // `status` is never looked at: the key StatusCode always exists on the host's own object, be it null.
    let status = match field(fields, "statusCode") {
        Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let headers = match field(fields, "headers") {
        Value::Null => Vec::new(),
        Value::Object(headers) => headers.iter().map(|(name, value)| (name.clone(), text_of(value))).collect(),
        _ => return Err(no_object("one whose headers are no object")),
    };
    let body = Some(field(fields, "body")).filter(|body| !body.is_null());
    Ok(encode_body(status.unwrap_or(200), headers, body))
}

/// Text goes out as it is, everything else as JSON; the function's own content type wins.
fn encode_body(status: u16, mut headers: Vec<(String, String)>, body: Option<&Value>) -> Reply {
    let (content_type, body) = match body {
        None => return Reply { status, headers, body: Vec::new() },
        Some(Value::String(text)) => ("text/plain; charset=utf-8", text.clone().into_bytes()),
        Some(other) => ("application/json; charset=utf-8", other.to_string().into_bytes()),
    };
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("Content-Type".to_owned(), content_type.to_owned()));
    }
    Reply { status, headers, body }
}

/// Json.NET matches property names in any case, preferring the exact one.
fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a Value {
    fields
        .get(name)
        .or_else(|| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
        .unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(value: Value) -> Vec<String> {
        messages(&value, false).unwrap().into_iter().map(|b| String::from_utf8_lossy(&b).into_owned()).collect()
    }

    #[test]
    fn strings_in_arrays_are_verbatim_and_objects_are_indented() {
        assert_eq!(texts(json!([r#"{"k":1}"#, "abcd", "x"])), [r#"{"k":1}"#, "abcd", "x"]);
        assert_eq!(texts(json!({"k": 1})), ["{\n  \"k\": 1\n}"]);
        assert_eq!(texts(json!([{"k": 1}, 2, true, null])), ["{\n  \"k\": 1\n}", "2", "True", ""]);
        assert_eq!(texts(json!(r#"{"k":1}"#)), ["{\n  \"k\": 1\n}"]);
        assert_eq!(texts(json!(r#"["a","b"]"#)), ["a", "b"]);
        assert_eq!(texts(json!("plain text")), ["plain text"]);
        assert!(texts(Value::Null).is_empty());
        assert!(messages(&json!("{no json}"), false).is_err());
    }

    #[test]
    fn a_string_that_happens_to_be_base64_is_decoded_unless_binary() {
        let id = "00112233445566778899aabbccddeeff";
        assert_eq!(messages(&json!(id), false).unwrap()[0].len(), 24);
        assert_eq!(messages(&json!(id), true).unwrap(), [id.as_bytes()]);
        assert_eq!(texts(json!("aGVs bG8=")), ["hello"]);
        assert_eq!(texts(json!("abcde")), ["abcde"]);
    }

    #[test]
    fn empty_and_null_bodies_give_no_answer_at_all() {
        assert!(Answer::read(200, None, b"").unwrap().is_none());
        assert!(Answer::read(204, None, b"").unwrap().is_none());
        assert!(Answer::read(200, Some("application/json"), b"null").unwrap().is_none());
        assert!(Answer::read(200, Some("application/json"), b"{}").unwrap().is_some());
    }

    #[test]
    fn other_content_types_statuses_and_shapes_fail() {
        for (status, content_type, body) in [
            (500, Some("application/json"), "{}"),
            (404, None, ""),
            (200, Some("text/plain"), "{}"),
            (200, None, "{}"),
            (200, Some("application/json"), "{"),
            (200, Some("application/json"), "[]"),
            (200, Some("application/json"), "7"),
            (200, Some("application/json"), r#"{"Outputs":[]}"#),
        ] {
            assert!(Answer::read(status, content_type, body.as_bytes()).is_err(), "{status} {content_type:?} {body}");
        }
        assert!(Answer::read(200, Some("application/json; charset=utf-8"), b"{}").is_ok());
    }

    #[test]
    fn only_status_code_sets_the_status() {
        let status = |value: Value| reply(Some(&value)).map(|r| r.status);
        assert_eq!(status(json!({"statusCode": 202})), Ok(202));
        assert_eq!(status(json!({"StatusCode": "404"})), Ok(404));
        assert_eq!(status(json!({"status": 404})), Ok(200));
        assert_eq!(status(json!(r#"{"statusCode":201}"#)), Ok(201));
        assert!(status(json!("hello")).is_err());
        assert!(status(json!(["hello"])).is_err());
        let empty = reply(None).unwrap();
        assert_eq!((empty.status, empty.body.as_slice()), (200, b"{}".as_slice()));
    }
}
