//! The bodies of the HTTP API, both ways, and the table from error kinds to status codes. `docs/openapi.yaml` describes
//! them; they follow the Azure REST guidelines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::host::{HttpRequest, HttpResponse};
use crate::{
    config::Config,
    error::{Error, ErrorKind, Result},
    jobs::RestoreRequest,
    model::{Label, VaultName, filter::ItemFilter},
    report::Problem,
    repository::{
        Selector,
        manifest::{Header, Item},
        operation::Operation,
    },
    restore::Plan,
};

/// Seconds after which a client may ask for an operation again.
const RETRY_AFTER: u32 = 5;

/// One mistake or several, as the body of an error answer.
pub(super) fn error(errors: &[Error]) -> HttpResponse {
    let kind = errors.first().map_or(ErrorKind::Internal, Error::kind);
    let (code, message, target) = match errors {
        [only] => (kind.code(), only.chain(), only.target()),
        _ => (kind.code(), "The request has several mistakes; details names each.".to_owned(), None),
    };
    let details: Vec<Value> = if errors.len() > 1 {
        errors
            .iter()
            .map(|one| json!({ "code": one.kind().code(), "message": one.chain(), "target": one.target() }))
            .collect()
    } else {
        Vec::new()
    };
    let mut body = json!({ "code": code, "message": message });
    if let Some(target) = target {
        body["target"] = target.into();
    }
    if !details.is_empty() {
        body["details"] = details.into();
    }
    let mut response = answer(status_of(kind), json!({ "error": body }));
    response.headers.insert("x-ms-error-code", code.to_owned());
    if kind.is_transient() {
        response.headers.insert("Retry-After", RETRY_AFTER.to_string());
    }
    response
}

/// The table: what the caller can do, as a status code.
fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidInput => 400,
        ErrorKind::Forbidden => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::Conflict | ErrorKind::Busy | ErrorKind::Refused => 409,
        ErrorKind::Throttled | ErrorKind::Unavailable => 503,
        ErrorKind::Unauthenticated | ErrorKind::Corrupt | ErrorKind::NewerFormat | ErrorKind::Internal => 500,
    }
}

/// An answer with a JSON body.
pub(super) fn answer(status: u16, body: Value) -> HttpResponse {
    let headers = BTreeMap::from([("Content-Type", "application/json".to_owned())]);
    HttpResponse { status, headers, body }
}

/// 202 for one operation, with where to ask about it.
pub(super) fn accepted(request: &HttpRequest, operation: &Operation) -> HttpResponse {
    let mut response = answer(202, operation_summary(operation));
    response.headers.insert("Operation-Location", operation_url(request, operation.id).into());
    response.headers.insert("Retry-After", RETRY_AFTER.to_string());
    response
}

/// 202 for the operations of several vaults.
pub(super) fn all_accepted(request: &HttpRequest, operations: &[Operation]) -> HttpResponse {
    if let [only] = operations {
        return accepted(request, only);
    }
    let value: Vec<Value> = operations
        .iter()
        .map(|operation| {
            let mut summary = operation_summary(operation);
            summary["operationLocation"] = operation_url(request, operation.id).as_str().into();
            summary
        })
        .collect();
    let mut response = answer(202, json!({ "value": value }));
    let mut all = request.url.clone();
    set_path(&mut all, "operations");
    response.headers.insert("Operation-Location", all.into());
    response.headers.insert("Retry-After", RETRY_AFTER.to_string());
    response
}

fn operation_url(request: &HttpRequest, id: Uuid) -> Url {
    let mut url = request.url.clone();
    set_path(&mut url, &format!("operations/{id}"));
    url
}

/// Replaces what follows the route prefix, which is `api` unless host.json says otherwise, and drops the query, which
/// can hold a function key.
fn set_path(url: &mut Url, path: &str) {
    let prefix = url.path().split('/').nth(1).unwrap_or("api").to_owned();
    url.set_path(&format!("{prefix}/{path}"));
    url.set_query(None);
}

/// The link to the page after this one. The query of the request is not repeated, because it can hold a function key.
pub(super) fn next_link(request: &HttpRequest, after: &str, top: usize) -> String {
    let mut url = request.url.clone();
    url.query_pairs_mut().clear().append_pair("after", after).append_pair("top", &top.to_string());
    url.into()
}

/// `top` and `after` of a listing.
pub(super) fn page(request: &HttpRequest) -> Result<(usize, Option<String>)> {
    let top =
        match request.query.get("top") {
            None => 50,
            Some(text) => text.parse().ok().filter(|top| (1..=1000).contains(top)).ok_or_else(|| {
                Error::invalid("top", format!("top is {text:?}; it is a whole number from 1 to 1000."))
            })?,
        };
    Ok((top, request.query.get("after").cloned()))
}

/// An operation without its items.
pub(super) fn operation_summary(operation: &Operation) -> Value {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        id: Uuid,
        kind: &'a str,
        status: &'a str,
        vault: &'a VaultName,
        #[serde(skip_serializing_if = "Option::is_none")]
        target_vault: Option<&'a VaultName>,
        #[serde(skip_serializing_if = "Option::is_none")]
        backup: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<&'a Label>,
        created_date_time: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        started_date_time: Option<String>,
        last_action_date_time: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        finished_date_time: Option<String>,
        attempts: u32,
        progress: Value,
        counts: &'a BTreeMap<String, u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Value>,
    }
    let body = Body {
        id: operation.id,
        kind: operation.kind.as_str(),
        status: operation.status.as_str(),
        vault: &operation.vault,
        target_vault: operation.target_vault.as_ref(),
        backup: operation.backup_id.as_ref().map(ToString::to_string),
        label: operation.label.as_ref(),
        created_date_time: operation.created_at.to_string(),
        started_date_time: operation.started_at.map(|moment| moment.to_string()),
        last_action_date_time: operation.updated_at.to_string(),
        finished_date_time: operation.finished_at.map(|moment| moment.to_string()),
        attempts: operation.attempts,
        progress: json!({ "total": operation.progress.total, "done": operation.progress.done, "bytes": operation.progress.bytes }),
        counts: &operation.counts,
        message: operation.message.as_deref(),
        error: operation.problems.split_first().map(|(first, rest)| {
            let mut body = problem(first);
            if !rest.is_empty() {
                body["details"] = rest.iter().map(problem).collect();
            }
            body
        }),
    };
    // A struct of strings and numbers always becomes JSON.
    serde_json::to_value(body).unwrap_or_default()
}

/// An operation with its items.
pub(super) fn operation(operation: &Operation) -> Value {
    let mut body = operation_summary(operation);
    body["items"] = operation
        .items
        .iter()
        .map(|report| {
            let mut item =
                json!({ "kind": report.item.kind, "name": report.item.name, "outcome": report.outcome.as_str() });
            if let Some(version) = &report.version {
                item["version"] = (**version).into();
            }
            if let Some(trouble) = &report.problem {
                item["error"] = problem(trouble);
            }
            item
        })
        .collect();
    body
}

fn problem(problem: &Problem) -> Value {
    let mut body = json!({ "code": problem.code, "message": problem.message });
    if let Some(target) = &problem.target {
        body["target"] = target.as_str().into();
    }
    body
}

/// A backup without its items.
pub(super) fn backup_summary(header: &Header) -> Value {
    let mut body = json!({
        "id": header.backup_id,
        "vault": header.vault,
        "status": header.status.as_str(),
        "full": header.full,
        "startedDateTime": header.started_at.to_string(),
        "finishedDateTime": header.finished_at.to_string(),
        "toolVersion": header.tool_version,
        "counts": header.counts,
    });
    if let Some(label) = &header.label {
        body["label"] = label.as_str().into();
    }
    if let Some(previous) = &header.previous_backup {
        body["previousBackup"] = previous.as_str().into();
    }
    body
}

/// A backup with a page of its items.
pub(super) fn backup(header: &Header, items: &[Item]) -> Value {
    let mut body = backup_summary(header);
    body["failures"] = header
        .failures
        .iter()
        .map(|failure| {
            let mut row = json!({ "kind": failure.kind, "code": failure.code, "message": failure.reason });
            if let Some(name) = &failure.name {
                row["name"] = (**name).into();
            }
            row
        })
        .collect();
    body["items"] = items
        .iter()
        .map(|item| {
            let mut row = json!({
                "kind": item.id.kind,
                "name": item.id.name,
                "version": item.version,
                "versions": item.versions,
                "attributes": item.attributes,
                "size": item.size,
                "sha256": item.sha256,
                "takenDateTime": item.taken_at.to_string(),
            });
            if let Some(stale) = &item.stale {
                row["stale"] = json!({ "code": stale.code, "message": stale.reason });
            }
            row
        })
        .collect();
    body
}

/// The plan of a restore: the answer to a dry run.
pub(super) fn plan(plan: &Plan) -> Value {
    use crate::restore::Action;
    let actions = [Action::Restore, Action::AlreadyPresent, Action::Recover, Action::Skip, Action::Blocked];
    let counts: BTreeMap<&str, usize> = actions.iter().map(|action| (action.as_str(), plan.count(*action))).collect();
    let items: Vec<Value> = plan
        .steps
        .iter()
        .map(|step| {
            let mut row = json!({
                "kind": step.item.kind,
                "name": step.item.name,
                "action": step.action.as_str(),
                "version": step.version,
            });
            if let Some(reason) = &step.reason {
                row["reason"] = reason.as_str().into();
            }
            row
        })
        .collect();
    json!({
        "vault": plan.vault,
        "backup": plan.backup_id,
        "targetVault": plan.target_vault,
        "counts": counts,
        "items": items,
    })
}

/// `POST api/backups`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartBackups {
    pub(super) vaults: Vec<VaultName>,
    pub(super) label: Option<Label>,
    pub(super) full: bool,
}

impl StartBackups {
    pub(super) fn read(request: &HttpRequest, config: &Config) -> Result<Self, Vec<Error>> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        struct Body {
            vaults: Option<Vec<String>>,
            label: Option<String>,
            full: bool,
        }
        // Without a body everything in scope is backed up.
        let body: Body = if request.body.is_some() { body(request)? } else { Body::default() };
        let mut fields = Fields::default();
        let vaults = match body.vaults {
            None => config.vaults.clone(),
            Some(names) => names.iter().filter_map(|name| fields.vault("vaults", name, config)).collect(),
        };
        for vault in vaults.iter().filter(|vault| !config.vaults.contains(vault)) {
            let message = format!("Vault {vault} is not in scope; add it to BACKUP_VAULTS to back it up.");
            fields.wrong.push(Error::invalid("vaults", message));
        }
        if vaults.is_empty() && fields.wrong.is_empty() {
            let message = "There is nothing to back up: BACKUP_VAULTS is empty. Set it to the names of your vaults.";
            fields.wrong.push(Error::invalid("vaults", message));
        }
        let label = body.label.and_then(|label| fields.take("label", label.parse()));
        fields.done(Self { vaults, label, full: body.full })
    }
}

/// `POST api/restore`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartRestore {
    pub(super) request: RestoreRequest,
    pub(super) dry_run: bool,
}

impl StartRestore {
    pub(super) fn read(request: &HttpRequest, config: &Config) -> Result<Self, Vec<Error>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Body {
            vault: Option<String>,
            backup: Option<String>,
            target_vault: Option<String>,
            #[serde(default)]
            items: Vec<String>,
            on_conflict: Option<String>,
            on_deleted: Option<String>,
            #[serde(default)]
            dry_run: bool,
        }
        let Body { vault, backup, target_vault, items, on_conflict, on_deleted, dry_run } = body(request)?;
        let mut fields = Fields::default();
        let vault = fields.required("vault", vault, "the vault whose backup is to be restored");
        let vault = vault.and_then(|name| fields.vault("vault", &name, config));
        let backup = fields.required("backup", backup, "latest, an id, a label or a time");
        if let Some(backup) = &backup {
            fields.take("backup", backup.parse::<Selector>());
        }
        let target = fields.required("targetVault", target_vault, "the vault to restore into");
        let target = target.and_then(|name| fields.vault("targetVault", &name, config));
        if let Some(target) = &target {
            fields.take("targetVault", config.check_restore_target(target));
        }
        fields.take("items", ItemFilter::new(&items));
        let on_conflict = on_conflict.map_or(Some(Default::default()), |word| fields.take("onConflict", word.parse()));
        let on_deleted = on_deleted.map_or(Some(Default::default()), |word| fields.take("onDeleted", word.parse()));
        match (vault, backup, target, on_conflict, on_deleted) {
            (Some(vault), Some(backup), Some(target_vault), Some(on_conflict), Some(on_deleted)) => {
                let request = RestoreRequest { vault, backup, target_vault, items, on_conflict, on_deleted };
                fields.done(Self { request, dry_run })
            }
            _ => Err(fields.wrong),
        }
    }
}

/// Gathers everything that is wrong with a request.
#[derive(Default)]
struct Fields {
    wrong: Vec<Error>,
}

impl Fields {
    fn take<T>(&mut self, field: &str, value: Result<T>) -> Option<T> {
        value.map_err(|error| self.wrong.push(error.at(field))).ok()
    }

    fn vault(&mut self, field: &str, name: &str, config: &Config) -> Option<VaultName> {
        self.take(field, VaultName::parse(name, config.cloud))
    }

    fn required(&mut self, field: &str, value: Option<String>, what: &str) -> Option<String> {
        let value = value.filter(|value| !value.trim().is_empty());
        if value.is_none() {
            self.wrong.push(Error::invalid(field, format!("{field} is missing; give {what}.")));
        }
        value
    }

    fn done<T>(self, value: T) -> Result<T, Vec<Error>> {
        if self.wrong.is_empty() { Ok(value) } else { Err(self.wrong) }
    }
}

fn body<T: serde::de::DeserializeOwned>(request: &HttpRequest) -> Result<T, Vec<Error>> {
    let Some(text) = &request.body else {
        let message = "The request has no body. Send JSON with a Content-Length; the Functions host drops the body of a \
                       chunked request.";
        return Err(vec![Error::invalid("body", message)]);
    };
    serde_json::from_str(text)
        .map_err(|cause| vec![Error::invalid("body", format!("The body is not what is expected: {cause}."))])
}

/// The id a client may give an operation so that the request can be repeated.
pub(super) fn operation_id(request: &HttpRequest) -> Result<Option<Uuid>> {
    let Some(text) = request.headers.get("operation-id") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let message = format!("The header Operation-Id is {text:?}; it is a GUID, a new one for each new request.");
        Error::invalid("Operation-Id", message)
    })
}
