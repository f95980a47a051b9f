//! The body of an invocation request, with the encoding rules of the real host.
//!
//! Objects stay JSON objects. Everything else (strings, numbers, null, arrays) is serialised and put *inside* a JSON
//! string: a string arrives encoded twice, a number as a string.

use super::queues::Message;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// `Data` and `Metadata` of one invocation, without `sys` and `RetryContext`, which each attempt adds.
#[derive(Clone)]
pub(super) struct Payload {
    data: Map<String, Value>,
    metadata: Map<String, Value>,
}

/// What a retry tells the function.
#[derive(Clone, Debug)]
pub(super) struct RetryContext {
    pub(super) retry_count: u32,
    /// `None` means for ever and is told as -1.
    pub(super) max_retry_count: Option<u32>,
    pub(super) error: Option<String>,
}

/// What `ScheduleStatus` of a timer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScheduleStatus {
    /// Like a monitored timer: never ran on the first run, then the true times. Null where `useMonitor` is false.
    #[default]
    AsRecorded,
    /// Always `null`.
    Null,
    /// Always as if it never ran: `"0001-01-01T00:00:00"`.
    NeverRan,
    /// The same with an offset: `"0001-01-01T00:00:00+00:00"`.
    NeverRanWithOffset,
}

/// The times in `ScheduleStatus`; the first two are unknown before the first run.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimerTimes {
    pub(super) last: Option<OffsetDateTime>,
    pub(super) next: OffsetDateTime,
}

/// An HTTP request as an `httpTrigger` passes it on. It holds the function key, so it has no `Debug`.
#[derive(Clone)]
pub(super) struct HttpCall {
    pub(super) url: String,
    pub(super) method: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<String, Vec<String>>,
    pub(super) parameters: BTreeMap<String, String>,
    /// Whether a valid function key came with the request.
    pub(super) with_key: bool,
    /// `None` when there was no `Content-Length` above zero.
    pub(super) body: Option<String>,
}

impl Payload {
    /// Any data under one name, encoded as the host encodes values.
    pub(super) fn raw(binding: &str, value: &Value) -> Self {
        Self { data: Map::from_iter([(binding.to_owned(), encode(value))]), metadata: Map::new() }
    }

    /// A timer: a real object, never a string.
    pub(super) fn timer(binding: &str, status: ScheduleStatus, times: Option<TimerTimes>, past_due: bool) -> Self {
        let never = |zero: &str, next| json!({"Last": zero, "LastUpdated": zero, "Next": show(next)});
        let status = match (status, times) {
            (ScheduleStatus::Null, _) | (_, None) => Value::Null,
            (ScheduleStatus::AsRecorded, Some(TimerTimes { last: Some(last), next })) => {
                json!({"Last": show(last), "LastUpdated": show(last), "Next": show(next)})
            }
            (ScheduleStatus::NeverRanWithOffset, Some(times)) => never("0001-01-01T00:00:00+00:00", times.next),
            (_, Some(times)) => never("0001-01-01T00:00:00", times.next),
        };
        let timer = json!({"Schedule": {"AdjustForDST": true}, "ScheduleStatus": status, "IsPastDue": past_due});
        Self::raw(binding, &timer)
    }

    /// A queue message; the top-level scalars and objects of a JSON message are merged into the metadata, where they
    /// can hide the message's own `Id`.
    pub(super) fn queue(binding: &str, message: &Message, text: &str) -> Self {
        let mut payload = Self::raw(binding, &json!(text));
        let metadata = &mut payload.metadata;
        metadata.insert("DequeueCount".into(), encode(&json!(message.dequeue_count)));
        metadata.insert("ExpirationTime".into(), json!(show(message.expires_on)));
        metadata.insert("Id".into(), encode(&json!(message.id)));
        metadata.insert("InsertionTime".into(), json!(show(message.inserted_on)));
        metadata.insert("NextVisibleTime".into(), json!(show(message.next_visible_on)));
        metadata.insert("PopReceipt".into(), encode(&json!(message.pop_receipt)));
        if let Ok(Value::Object(fields)) = serde_json::from_str(text) {
            let merged = fields.iter().filter(|(name, value)| !value.is_array() && !ends_with_trigger(name));
            metadata.extend(merged.map(|(name, value)| (name.clone(), encode(value))));
        }
        payload
    }

    /// An HTTP request.
    pub(super) fn http(binding: &str, call: &HttpCall) -> Self {
        let mut request = json!({
            "Url": call.url,
            "Method": call.method,
            "Query": call.query,
            "Headers": call.headers,
            "Params": call.parameters,
            "Identities": [identity(call.with_key)],
        });
        if let Some(body) = &call.body {
            request["Body"] = json!(body);
        }
        let mut payload = Self::raw(binding, &request);
        let first: Map<_, _> =
            call.headers.iter().map(|(name, values)| (name.clone(), json!(values.join(", ")))).collect();
        payload.metadata.insert("Query".into(), json!(call.query));
        payload.metadata.insert("Headers".into(), Value::Object(first));
        payload.metadata.extend(call.parameters.iter().map(|(name, value)| (name.clone(), encode(&json!(value)))));
        payload
    }

    /// The request body of one attempt.
    pub(super) fn body(&self, function: &str, now: OffsetDateTime, retry: Option<&RetryContext>) -> Vec<u8> {
        let mut metadata = self.metadata.clone();
        if let Some(retry) = retry {
            let limit = retry.max_retry_count.map_or(json!(-1), |count| json!(count));
            metadata.insert(
                "RetryContext".into(),
                json!({"RetryCount": retry.retry_count, "MaxRetryCount": limit, "Exception": retry.error}),
            );
        }
        metadata.insert(
            "sys".into(),
            json!({"MethodName": function, "UtcNow": show(now), "RandGuid": Uuid::new_v4().to_string()}),
        );
        json!({"Data": self.data, "Metadata": metadata}).to_string().into_bytes()
    }
}

/// The rule of `GetHttpScriptInvocationContextValue`: objects as they are, all else inside a string.
fn encode(value: &Value) -> Value {
    if value.is_object() { value.clone() } else { Value::String(value.to_string()) }
}

/// The host leaves such metadata out: it would repeat the trigger's data.
fn ends_with_trigger(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("trigger")
}

fn show(time: OffsetDateTime) -> String {
    // Json.NET writes DateTimeOffset with a numeric offset, never Z; Rfc3339 cannot fail for these years.
    time.format(&Rfc3339).unwrap_or_default().replace('Z', "+00:00")
}

/// The claims identity that key authorization leaves behind (host: `SecurityConstants`).
fn identity(with_key: bool) -> Value {
    let claim = |kind: &str, value: &str| {
        json!({
            "Issuer": "LOCAL AUTHORITY", "OriginalIssuer": "LOCAL AUTHORITY", "Properties": {},
            "Type": format!("http://schemas.microsoft.com/2017/07/functions/claims/{kind}"),
            "Value": value, "ValueType": "http://www.w3.org/2001/XMLSchema#string",
        })
    };
    let claims = if with_key { vec![claim("authlevel", "Function"), claim("keyid", "default")] } else { vec![] };
    json!({
        "AuthenticationType": with_key.then_some("WebJobsAuthLevel"),
        "IsAuthenticated": with_key,
        "Actor": null,
        "BootstrapContext": null,
        "Claims": claims,
        "Label": null,
        "Name": null,
        "NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
        "RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn sent(payload: &Payload) -> Value {
        serde_json::from_slice(&payload.body("Job", datetime!(2026-01-02 03:04:05 UTC), None)).unwrap()
    }

    fn message() -> Message {
        let time = datetime!(2026-01-02 03:04:05 UTC);
        Message {
            id: "d9".into(),
            pop_receipt: "pop".into(),
            dequeue_count: 2,
            inserted_on: time,
            expires_on: time,
            next_visible_on: time,
            body: String::new(),
        }
    }

    #[test]
    fn queue_text_is_encoded_twice_and_numbers_are_strings() {
        let text = r#"{"a":1,"s":"x","o":{"k":2},"l":[1],"n":null,"b":true,"myTrigger":3}"#;
        let sent = sent(&Payload::queue("job", &message(), text));
        assert_eq!(sent["Data"]["job"], serde_json::to_string(text).unwrap());
        let metadata = &sent["Metadata"];
        assert_eq!(metadata["DequeueCount"], "2");
        assert_eq!(metadata["Id"], "\"d9\"");
        assert_eq!(metadata["InsertionTime"], "2026-01-02T03:04:05+00:00");
        assert_eq!((&metadata["a"], &metadata["s"]), (&json!("1"), &json!("\"x\"")));
        assert_eq!((&metadata["n"], &metadata["b"]), (&json!("null"), &json!("true")));
        assert_eq!(metadata["o"], json!({"k": 2}));
        assert_eq!(metadata.get("l"), None);
        assert_eq!(metadata.get("myTrigger"), None);
        assert_eq!(metadata["sys"]["MethodName"], "Job");
    }

    #[test]
    fn message_fields_can_hide_the_metadata_of_the_queue() {
        let sent = sent(&Payload::queue("job", &message(), r#"{"Id":7}"#));
        assert_eq!(sent["Metadata"]["Id"], "7");
    }

    #[test]
    fn timers_are_objects_in_every_variant_of_their_status() {
        let next = datetime!(2026-01-03 00:00:00 UTC);
        let times = Some(TimerTimes { last: None, next });
        let status = |status, times| {
            let sent = sent(&Payload::timer("timer", status, times, true));
            assert_eq!(sent["Data"]["timer"]["IsPastDue"], true);
            sent["Data"]["timer"]["ScheduleStatus"].clone()
        };
        assert_eq!(status(ScheduleStatus::AsRecorded, None), Value::Null);
        assert_eq!(status(ScheduleStatus::Null, times), Value::Null);
        assert_eq!(status(ScheduleStatus::AsRecorded, times)["Last"], "0001-01-01T00:00:00");
        assert_eq!(status(ScheduleStatus::NeverRanWithOffset, times)["Last"], "0001-01-01T00:00:00+00:00");
        let ran = Some(TimerTimes { last: Some(datetime!(2026-01-02 00:00:00 UTC)), next });
        assert_eq!(status(ScheduleStatus::AsRecorded, ran)["Last"], "2026-01-02T00:00:00+00:00");
    }
}
