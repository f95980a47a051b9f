//! What of an answer has to be as it was recorded.
//!
//! Exactly: status, error codes, messages, names and order of fields, null or absent, booleans, words, recoverable days.
//! By shape: ids (without versions), dates, random text.

use serde_json::Value;

use super::Exchange;
use crate::bench::Answer;

/// Text that is another one each time.
const RANDOM: [&str; 8] = ["n", "x", "y", "x5t", "cer", "csr", "request_id", "value"];
const DATES: [&str; 6] = ["created", "updated", "nbf", "exp", "deletedDate", "scheduledPurgeDate"];

pub(super) fn differences(exchange: &Exchange, answer: &Answer) -> Vec<String> {
    let recorded = &exchange.response;
    let mut found = Vec::new();
    if answer.status != recorded.status {
        found.push(format!("the status is {} and was {}: {}", answer.status, recorded.status, answer.body));
        return found;
    }
    let mut mine = answer.body.clone();
    if !knows_exportable(exchange) {
        forget_exportable(&mut mine);
    }
    let quoted = exchange.evidence == "quoted";
    compare("body", &recorded.body, &mine, quoted, &mut found);
    if !quoted {
        headers(exchange, answer, &mut found);
    }
    found
}

/// The attribute came between two recordings of the same test, May and November 2022 (service 1.9.395 and 1.9.576).
fn knows_exportable(exchange: &Exchange) -> bool {
    let version = exchange.response.headers.get("x-ms-keyvault-service-version").and_then(Value::as_str);
    let parts: Vec<u32> = version.unwrap_or_default().split('.').filter_map(|it| it.parse().ok()).collect();
    parts >= vec![1, 9, 576]
}

fn compare(at: &str, recorded: &Value, mine: &Value, quoted: bool, found: &mut Vec<String>) {
    let field = at.rsplit('.').next().unwrap_or_default();
    match (recorded, mine) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let names = |it: &serde_json::Map<String, Value>| it.keys().cloned().collect::<Vec<_>>();
            if names(theirs) != names(ours) {
                found.push(format!("the fields of {at} are {:?} and were {:?}", names(ours), names(theirs)));
            }
            for (name, value) in theirs {
                if let Some(own) = ours.get(name) {
                    compare(&format!("{at}.{name}"), value, own, quoted, found);
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if theirs.len() != ours.len() {
                found.push(format!("{at} has {} entries and had {}", ours.len(), theirs.len()));
            }
            theirs.iter().zip(ours).for_each(|(value, own)| compare(at, value, own, quoted, found));
        }
        (Value::Number(_), Value::Number(_)) if DATES.contains(&field) => {}
        (Value::String(theirs), Value::String(ours)) => {
            let (theirs, ours) = (shape(field, theirs, quoted), shape(field, ours, quoted));
            if theirs != ours {
                found.push(format!("{at} is '{ours}' and was '{theirs}'"));
            }
        }
        _ if recorded == mine => {}
        _ => found.push(format!("{at} is {mine} and was {recorded}")),
    }
}

/// The part of a text that has to be the same.
fn shape(field: &str, text: &str, quoted: bool) -> String {
    match field {
        "nextLink" => link(text),
        _ if RANDOM.contains(&field) => (!text.is_empty()).to_string(),
        // People blank out names when they quote: the beginning of each line has to be the same.
        "message" if quoted => {
            let start = |line: &str| line.split_inclusive(": ").next().unwrap_or_default().to_owned();
            let text = without(&without(text, "'appid=", "'"), "location=", "'");
            text.split("\r\n").map(start).collect::<Vec<_>>().join("\r\n")
        }
        _ => without_versions(text),
    }
}

/// The text without what stands between the two marks: who asked, and where the vault is.
fn without(text: &str, from: &str, to: &str) -> String {
    match text.split_once(from).and_then(|(before, rest)| Some((before, rest.split_once(to)?.1))) {
        Some((before, after)) => format!("{before}{from}{to}{after}"),
        None => text.to_owned(),
    }
}

/// A link to the next page, with the token opened and its row left out.
fn link(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose};
    let (start, rest) = text.split_once("$skiptoken=").expect("a next link has a token");
    let (token, end) = rest.split_once('&').unwrap_or((rest, ""));
    let token = general_purpose::URL_SAFE_NO_PAD.decode(token).expect("a token is base64url");
    let token: Value = serde_json::from_slice(&token).expect("a token is JSON");
    let names: Vec<&String> = token.as_object().expect("a token is an object").keys().collect();
    let marker = token["NextMarker"].as_str().expect("a token has a marker");
    let (version, rest) = marker.split_once('!').expect("a marker has parts");
    let (length, row) = rest.split_once('!').expect("a marker has parts");
    let length_is_right = length.parse() == Ok(row.len());
    let row = general_purpose::STANDARD.decode(row.replace('-', "=")).expect("a row is base64");
    let row = String::from_utf8(row).expect("a row is text");
    let (length, rest) = row.split_once('!').expect("a row has parts");
    let (name, tail) = rest.split_once('!').expect("a row has parts");
    let name_is_right =
        length.parse() == Ok(name.len()) && name.split_once('/').is_some_and(|(_, it)| it == it.to_uppercase());
    let kind = name.split('/').next().unwrap_or_default();
    // The version of the API is whatever was asked for, previews included.
    let start = start.split("api-version=").next().unwrap_or_default();
    format!(
        "{start} {end} {names:?} {version} {length_is_right} {name_is_right} {kind} {tail} {}",
        token["TargetLocation"]
    )
}

fn without_versions(text: &str) -> String {
    let is_version = |part: &&str| part.len() == 32 && part.bytes().all(|it| it.is_ascii_hexdigit());
    match text.split(['/', '\'', '=', '&']).find(is_version) {
        Some(version) => without_versions(&text.replace(version, "VERSION")),
        None => text.to_owned(),
    }
}

fn headers(exchange: &Exchange, answer: &Answer, found: &mut Vec<String>) {
    let mine = |name: &str| answer.headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let recorded = |name: &str| exchange.response.headers.get(name).and_then(Value::as_str).map(str::to_owned);
    for name in ["content-type", "retry-after", "x-ms-keyvault-region", "www-authenticate", "location"] {
        let of = |text: Option<String>| text.map(|it| header_shape(name, &it));
        let (theirs, ours) = (of(recorded(name)), of(mine(name)));
        if theirs != ours {
            found.push(format!("the header {name} is {ours:?} and was {theirs:?}"));
        }
    }
    for name in ["x-ms-keyvault-network-info", "x-ms-keyvault-service-version"] {
        if recorded(name).is_some() && mine(name).is_none() {
            found.push(format!("the header {name} is missing"));
        }
    }
}

fn header_shape(name: &str, text: &str) -> String {
    match name {
        // The tenant differs, and the recordings are older than the authority's present name.
        "www-authenticate" => {
            text.split('"').filter(|it| !it.starts_with("https://login.")).collect::<Vec<_>>().join("\"")
        }
        // The recorder missed the vault's name here.
        "location" => without_versions(text.split_once(".vault").map_or(text, |(_, rest)| rest)),
        _ => text.to_owned(),
    }
}

/// Takes the attribute out of all `attributes`. Policies have a field of that name too, and keep it.
fn forget_exportable(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Object(attributes)) = fields.get_mut("attributes") {
                attributes.shift_remove("exportable");
            }
            fields.values_mut().for_each(forget_exportable);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_exportable),
        _ => {}
    }
}
