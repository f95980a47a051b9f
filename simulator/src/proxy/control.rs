//! What a test in another process may ask of the simulator and do to it, as JSON.
//!
//! | request below `/control` | does |
//! | --- | --- |
//! | `GET snapshot/{vault}` | all observable state of a vault, values as hashes |
//! | `POST lose/{vault}` | the disaster: every item is gone for good |
//! | `POST delete/{vault}/{kind}/{name}` | deletes one item; it can be recovered at once |
//! | `POST purge/{vault}/{kind}/{name}` | removes one item for good; its name is free at once |
//! | `GET requests` | counters; requests the simulator does not know; connections the proxy refused |
//! | `DELETE requests` | counters and unknown requests begin anew |
//! | `POST faults` | adds a fault, [`Rule`] |
//! | `DELETE faults` | removes all faults |
//!
//! `{kind}` is `secrets`, `keys` or `certificates`. A mistake is answered with 400 or 404 and a sentence.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Handler, Refusals, listener::sentence};
use crate::{
    key_vault::{Effect, Fault, ItemState, KeyVaults, Kind, Operation, Snapshot, Verb, VersionState},
    mishap::Mishap,
};

/// The control endpoint of these vaults.
pub(super) fn handler(vaults: KeyVaults, refusals: Refusals) -> Handler {
    Arc::new(move |request| {
        let response = match answer(&vaults, &refusals, &request) {
            Ok(body) => json_response(&body),
            Err((status, text)) => sentence(status, text),
        };
        futures::future::ready(response).boxed()
    })
}

type Refusal = (StatusCode, String);

fn answer(vaults: &KeyVaults, refusals: &Refusals, request: &Request<Bytes>) -> Result<Value, Refusal> {
    let path = request.uri().path();
    let segments: Vec<&str> = path.trim_start_matches("/control/").split('/').collect();
    match (request.method(), segments.as_slice()) {
        (&Method::GET, ["snapshot", vault]) => Ok(snapshot_json(&existing(vaults, vault)?)),
        (&Method::POST, ["lose", vault]) => {
            existing(vaults, vault)?;
            vaults.lose_everything(vault);
            Ok(json!({}))
        }
        (&Method::POST, [action @ ("delete" | "purge"), vault, kind, name]) => {
            remove(vaults, vault, kind, name, *action == "purge")
        }
        (&Method::GET, ["requests"]) => Ok(requests_json(vaults, refusals)),
        (&Method::DELETE, ["requests"]) => {
            vaults.reset_log();
            Ok(json!({}))
        }
        (&Method::POST, ["faults"]) => {
            let rule: Rule = serde_json::from_slice(request.body())
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("The fault is not understood: {error}.")))?;
            vaults.add_fault(rule.fault()?);
            Ok(json!({}))
        }
        (&Method::DELETE, ["faults"]) => {
            vaults.clear_faults();
            Ok(json!({}))
        }
        (method, _) => Err((StatusCode::NOT_FOUND, format!("The control endpoint knows no {method} {path}."))),
    }
}

fn existing(vaults: &KeyVaults, vault: &str) -> Result<Snapshot, Refusal> {
    if vaults.has_vault(vault) {
        Ok(vaults.snapshot(vault))
    } else {
        Err((StatusCode::NOT_FOUND, format!("There is no vault {vault}.")))
    }
}

fn remove(vaults: &KeyVaults, vault: &str, kind: &str, name: &str, for_good: bool) -> Result<Value, Refusal> {
    let missing = || (StatusCode::NOT_FOUND, format!("There is nothing at {kind}/{name} in vault {vault} to remove."));
    let kind = Kind::ALL.into_iter().find(|it| it.plural() == kind).ok_or_else(missing)?;
    let items = existing(vaults, vault)?.items;
    let item = items.get(&(kind, name.to_owned())).ok_or_else(missing)?;
    if for_good {
        vaults.purge_now(vault, kind, name);
    } else if item.active {
        vaults.delete_now(vault, kind, name);
    } else {
        return Err(missing());
    }
    Ok(json!({}))
}

fn snapshot_json(snapshot: &Snapshot) -> Value {
    let item = |((kind, name), item): (&(Kind, String), &ItemState)| {
        json!({
            "kind": kind.plural(),
            "name": name,
            "managed": item.managed,
            "active": item.active,
            "current": item.current,
            "policy": item.policy,
            "versions": item.versions.iter().map(version_json).collect::<Vec<_>>(),
        })
    };
    json!({ "items": snapshot.items.iter().map(item).collect::<Vec<_>>() })
}

fn version_json(version: &VersionState) -> Value {
    json!({
        "id": version.id,
        "enabled": version.enabled,
        "created": version.created,
        "updated": version.updated,
        "notBefore": version.not_before,
        "expires": version.expires,
        "tags": version.tags,
        "contentType": version.content_type,
        "valueHash": version.value_hash,
    })
}

/// `operation` is null for requests whose operation or caller was not known, such as the 401 challenge.
fn requests_json(vaults: &KeyVaults, refusals: &Refusals) -> Value {
    let counts = vaults.counts().into_iter().map(|((operation, status), count)| {
        json!({ "operation": operation.map(|it| it.to_string()), "status": status, "count": count })
    });
    json!({ "counts": counts.collect::<Vec<_>>(), "unknown": vaults.unknown_requests(), "refused": refusals.list() })
}

/// A fault as JSON: `{"operation":"SecretBackup","times":3,"answer":{"status":429,"code":"Throttled"}}`.
///
/// Exactly one of `answer`, `before` and `after` says what happens; the rest says when.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    vault: Option<String>,
    /// As in Key Vault's audit log: `SecretBackup`, `KeyListVersions`, `CertificateRestore`, …
    operation: Option<String>,
    /// A name, in which `*` stands for any text.
    name: Option<String>,
    skip: Option<u64>,
    times: Option<u64>,
    /// Of a hundred requests that match; decided by `seed`.
    percent: Option<u32>,
    #[serde(default)]
    seed: u64,
    /// Also requests without a token.
    #[serde(default)]
    without_token: bool,
    answer: Option<AnswerRule>,
    /// The mishap comes instead of the work.
    before: Option<MishapRule>,
    /// The mishap comes after the work is done.
    after: Option<MishapRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AnswerRule {
    status: u16,
    code: String,
    retry_after: Option<u32>,
}

/// `"reset"`, `"hang"`, `{"truncate":100}` (bytes), `{"delay":50}` (milliseconds), `{"trickle":50}`
/// (milliseconds between the halves of the body).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum MishapRule {
    Reset,
    Hang,
    Truncate(usize),
    Delay(u64),
    Trickle(u64),
}

impl Rule {
    fn fault(self) -> Result<Fault, Refusal> {
        let effect = match (self.answer, self.before, self.after) {
            (Some(AnswerRule { status, code, retry_after }), None, None) if (400..600).contains(&status) => {
                Effect::Answer { status, code, retry_after }
            }
            (None, Some(mishap), None) => Effect::Before(mishap.mishap()),
            (None, None, Some(mishap)) => Effect::After(mishap.mishap()),
            _ => return Err(refused("A fault needs one of answer (status 400 to 599), before and after.")),
        };
        let mut fault = Fault::new(effect);
        if let Some(vault) = &self.vault {
            fault = fault.in_vault(vault);
        }
        if let Some(operation) = &self.operation {
            fault = fault.on(operation_of(operation)?);
        }
        if let Some(name) = &self.name {
            fault = fault.named(name);
        }
        if let Some(skip) = self.skip {
            fault = fault.skip(skip);
        }
        if let Some(times) = self.times {
            fault = fault.times(times);
        }
        if let Some(percent) = self.percent {
            fault = fault.percent(percent, self.seed);
        }
        if self.without_token {
            fault = fault.without_token();
        }
        Ok(fault)
    }
}

impl MishapRule {
    fn mishap(self) -> Mishap {
        match self {
            Self::Reset => Mishap::Reset,
            Self::Hang => Mishap::Hang,
            Self::Truncate(bytes) => Mishap::Truncate(bytes),
            Self::Delay(milliseconds) => Mishap::Delay(Duration::from_millis(milliseconds)),
            Self::Trickle(milliseconds) => Mishap::Trickle(Duration::from_millis(milliseconds)),
        }
    }
}

/// The operations a backup or restore meets.
const VERBS: [Verb; 14] = [
    Verb::List,
    Verb::ListVersions,
    Verb::Get,
    Verb::Set,
    Verb::Create,
    Verb::Import,
    Verb::Update,
    Verb::Backup,
    Verb::Restore,
    Verb::Delete,
    Verb::ListDeleted,
    Verb::GetDeleted,
    Verb::Recover,
    Verb::Purge,
];

fn operation_of(name: &str) -> Result<Operation, Refusal> {
    let all = Kind::ALL.into_iter().flat_map(|kind| VERBS.map(|verb| Operation::new(kind, verb)));
    all.into_iter()
        .find(|operation| operation.to_string() == name)
        .ok_or_else(|| refused(&format!("There is no operation {name}; SecretBackup is one.")))
}

fn refused(text: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, text.to_owned())
}

fn json_response(body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
