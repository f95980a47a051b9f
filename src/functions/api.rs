//! The HTTP API at its edge: request bodies, status codes and headers, after the Azure REST guidelines.
//! `docs/openapi.yaml` describes it.

use std::{collections::BTreeMap, ops::Range, str::FromStr};

use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use super::host::{HttpRequest, HttpResponse};
use crate::{
    config::{Config, list},
    error::{Error, ErrorKind, Result},
    jobs::{DrillRequest, RestoreRequest},
    json::{self, Body},
    model::{BackupId, Label, VaultName, did_you_mean, filter::ItemFilter},
    repository::{Selector, operation::Operation},
};

/// Seconds after which a client may ask for an operation again.
const RETRY_AFTER: u32 = 5;

/// One mistake or several, as an error answer.
pub(super) fn error(errors: &[Error]) -> HttpResponse {
    let kind = errors.first().map_or(ErrorKind::Internal, Error::kind);
    let mut response = answer(status_of(kind), json::error(errors));
    response.headers.insert("x-ms-error-code", kind.code().to_owned());
    response.headers.insert(json::RELEASE_HEADER, env!("CARGO_PKG_VERSION").to_owned());
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
        ErrorKind::Unauthenticated
        | ErrorKind::Corrupt
        | ErrorKind::NewerFormat
        | ErrorKind::Abandoned
        | ErrorKind::Internal => 500,
    }
}

/// An answer with a JSON body.
pub(super) fn answer(status: u16, body: impl Into<Body>) -> HttpResponse {
    let headers = BTreeMap::from([("Content-Type", "application/json".to_owned())]);
    HttpResponse { status, headers, body: body.into() }
}

/// 202 for one operation, with where to ask about it.
pub(super) fn accepted(request: &HttpRequest, operation: &Operation) -> HttpResponse {
    let mut response = answer(202, json::operation_summary(operation));
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
            let mut summary = json::operation_summary(operation);
            summary["operationLocation"] = operation_url(request, operation.id).as_str().into();
            summary
        })
        .collect();
    let mut response = answer(202, serde_json::json!({ "value": value }));
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

/// The link to the page after this one. Of the query of the request only what is known is repeated, because it can hold a
/// function key.
pub(super) fn next_link(request: &HttpRequest, after: &str, top: usize) -> String {
    let mut url = request.url.clone();
    url.query_pairs_mut().clear().append_pair("after", after).append_pair("top", &top.to_string());
    for name in ["compare", "with", "vaults"] {
        if let Some(value) = request.query.get(name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    url.into()
}

/// Which of so many rows the page holds that is asked for, and the link to the next one. All when none is asked for: who
/// wants them all wants those of one moment, made once.
pub(super) fn rows(request: &HttpRequest, count: usize) -> Result<(Range<usize>, Option<String>)> {
    if !["top", "after"].iter().any(|name| request.query.contains_key(*name)) {
        return Ok((0..count, None));
    }
    let (top, after) = page(request)?;
    let start = match &after {
        None => 0,
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| Error::invalid("after", format!("after is {text:?}; use the one of a nextLink.")))?,
    };
    let start = start.min(count);
    let end = start.saturating_add(top).min(count);
    Ok((start..end, (end < count).then(|| next_link(request, &end.to_string(), top))))
}

/// The vaults that a listing is limited to, by name.
pub(super) fn vaults(request: &HttpRequest, config: &Config) -> Result<Option<Vec<VaultName>>> {
    let Some(names) = request.query.get("vaults") else { return Ok(None) };
    let vaults = list(names).map(|name| VaultName::parse(name, config.cloud)).collect::<Result<Vec<_>>>();
    let mut vaults = vaults.map_err(|error| error.at("vaults"))?;
    if vaults.is_empty() {
        let message = "vaults is empty. Name at least one vault, or leave it out to see all.";
        return Err(Error::invalid("vaults", message));
    }
    vaults.sort_unstable();
    vaults.dedup();
    Ok(Some(vaults))
}

/// Why nothing is done with a vault that the settings do not name.
pub(super) fn not_in_scope(vault: &VaultName, config: &Config, to: &str) -> String {
    let meant = did_you_mean(vault.as_str(), config.vaults.iter().map(VaultName::as_str));
    format!("Vault {vault} is not in scope; add it to BACKUP_VAULTS to {to}.{meant}")
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

/// `POST api/backups`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartBackups {
    pub(super) operation_id: Option<Uuid>,
    pub(super) vaults: Vec<VaultName>,
    pub(super) label: Option<Label>,
    pub(super) full: bool,
}

impl StartBackups {
    pub(super) fn read(request: &HttpRequest, config: &Config) -> Result<Self, Vec<Error>> {
        // Without a body everything in scope is backed up.
        let mut fields = if request.body.is_some() { Fields::of(request)? } else { Fields::default() };
        let operation_id = fields.operation_id(request);
        if request.params.get("vault").is_some_and(|vault| !vault.is_empty()) {
            let message = "A backup is started by POST to api/backups; name its vaults in the body, as vaults.";
            fields.wrong.push(Error::invalid("vault", message));
        }
        let mut vaults = match fields.texts("vaults") {
            None => config.vaults.clone(),
            Some(names) if names.is_empty() => {
                let message = "vaults is empty. Name at least one vault, or leave it out to back up all in scope.";
                fields.wrong.push(Error::invalid("vaults", message));
                Vec::new()
            }
            Some(names) => names.iter().filter_map(|name| fields.vault("vaults", name, config)).collect(),
        };
        vaults.sort_unstable();
        vaults.dedup();
        for vault in vaults.iter().filter(|vault| !config.vaults.contains(vault)) {
            fields.wrong.push(Error::invalid("vaults", not_in_scope(vault, config, "back it up")));
        }
        if vaults.is_empty() && fields.wrong.is_empty() {
            let message = "There is nothing to back up: BACKUP_VAULTS is empty. Set it to the names of your vaults.";
            fields.wrong.push(Error::invalid("vaults", message));
        }
        let label = fields.text("label").and_then(|label| fields.take("label", Label::chosen(&label)));
        let full = fields.flag("full");
        fields.done(Self { operation_id, vaults, label, full })
    }
}

/// `POST api/backups/VAULT/guard`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AcknowledgeGuard {
    pub(super) vault: VaultName,
    pub(super) backup: BackupId,
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
}

impl AcknowledgeGuard {
    pub(super) fn read(request: &HttpRequest, config: &Config) -> Result<Self, Vec<Error>> {
        let mut fields = Fields::of(request)?;
        let vault = request.params.get("vault").map(String::as_str).unwrap_or_default();
        let vault = fields.vault("vault", vault, config);
        let backup = fields.required(
            "backup",
            "the id of the backup that tripped the guard, so that nothing is \
                                                acknowledged that nobody has seen",
        );
        let backup = backup.and_then(|id| fields.take("backup", id.parse()));
        let (by, reason) = (fields.text("by"), fields.text("reason"));
        match (vault, backup) {
            (Some(vault), Some(backup)) => fields.done(Self { vault, backup, by, reason }),
            _ => Err(fields.mistakes()),
        }
    }
}

/// `POST api/backups/VAULT/verify` and `POST api/backups/VAULT/drill`: what is done with the backups of one vault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartCheck {
    pub(super) operation_id: Option<Uuid>,
    pub(super) vault: VaultName,
    /// Of a drill.
    pub(super) drill: Option<DrillRequest>,
}

impl StartCheck {
    pub(super) fn read(request: &HttpRequest, config: &Config) -> Result<Self, Vec<Error>> {
        let mut fields = if request.body.is_some() { Fields::of(request)? } else { Fields::default() };
        let operation_id = fields.operation_id(request);
        let vault = request.params.get("vault").map(String::as_str).unwrap_or_default();
        let vault = fields.vault("vault", vault, config);
        let is_drill = request.params.get("id").is_some_and(|id| id == "drill");
        let drill = is_drill.then(|| {
            let backup = fields.text("backup").unwrap_or_else(|| DrillRequest::default().backup);
            fields.take("backup", backup.parse::<Selector>());
            DrillRequest { backup, sample: fields.whole_number("sample", 1_000_000) }
        });
        match vault {
            Some(vault) => fields.done(Self { operation_id, vault, drill }),
            None => Err(fields.mistakes()),
        }
    }
}

/// `POST api/backups/VAULT/prune`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlanPrune {
    pub(super) vault: VaultName,
}

impl PlanPrune {
    pub(super) fn read(request: &HttpRequest, config: &Config) -> Result<Self, Vec<Error>> {
        let mut fields = Fields::of(request)?;
        let vault = request.params.get("vault").map(String::as_str).unwrap_or_default();
        let vault = fields.vault("vault", vault, config);
        if !fields.flag("dryRun") {
            let message = "dryRun is not true. The app removes backups after each backup, as BACKUP_KEEP says, and never \
                           because of a request; it only shows what it would remove.";
            fields.wrong.push(Error::invalid("dryRun", message));
        }
        match vault {
            Some(vault) => fields.done(Self { vault }),
            None => Err(fields.mistakes()),
        }
    }
}

/// `POST api/restore`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartRestore {
    pub(super) operation_id: Option<Uuid>,
    pub(super) request: RestoreRequest,
    pub(super) dry_run: bool,
}

impl StartRestore {
    pub(super) fn read(request: &HttpRequest, config: &Config) -> Result<Self, Vec<Error>> {
        let mut fields = Fields::of(request)?;
        // A dry run has no use for it, but would hide that the restore after it will be refused.
        let operation_id = fields.operation_id(request);
        let vault = fields.required("vault", "the vault whose backup is to be restored");
        let vault = vault.and_then(|name| fields.vault("vault", &name, config));
        let backup = fields.required("backup", "latest, an id, a label or a time");
        if let Some(backup) = &backup {
            fields.take("backup", backup.parse::<Selector>());
        }
        let target = fields.required("targetVault", "the vault to restore into");
        let target = target.and_then(|name| fields.vault("targetVault", &name, config));
        if let Some(target) = &target {
            fields.take("targetVault", config.check_restore_target(target));
        }
        let items = fields.texts("items").unwrap_or_default();
        fields.take("items", ItemFilter::new(&items));
        let on_conflict = fields.choice("onConflict");
        let on_deleted = fields.choice("onDeleted");
        let dry_run = fields.flag("dryRun");
        match (vault, backup, target, on_conflict, on_deleted) {
            (Some(vault), Some(backup), Some(target_vault), Some(on_conflict), Some(on_deleted)) => {
                let request = RestoreRequest { vault, backup, target_vault, items, on_conflict, on_deleted };
                fields.done(Self { operation_id, request, dry_run })
            }
            _ => Err(fields.mistakes()),
        }
    }
}

/// The fields of a JSON body, taken out one by one, and the id in the headers. Gathers everything that is wrong with them.
#[derive(Default)]
struct Fields {
    body: Map<String, Value>,
    known: Vec<&'static str>,
    wrong: Vec<Error>,
}

impl Fields {
    fn of(request: &HttpRequest) -> Result<Self, Vec<Error>> {
        let refuse = |message: &str| Err(vec![Error::invalid("body", message)]);
        let Some(text) = &request.body else {
            return refuse(
                "The request has no body. Send JSON with a Content-Length; the Functions host drops the body of a \
                 chunked request.",
            );
        };
        match serde_json::from_str(text) {
            Ok(Value::Object(body)) => Ok(Self { body, ..Self::default() }),
            Ok(_) => refuse("The body is JSON, but not a JSON object."),
            Err(cause) => refuse(&format!("The body is not JSON: {cause}.")),
        }
    }

    /// Takes a field out. Null counts as absent.
    fn value(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.body.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            _ => self.refuse(name, "a string"),
        }
    }

    fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        match serde_json::from_value(self.value(name)?) {
            Ok(texts) => Some(texts),
            Err(_) => self.refuse(name, "a list of strings"),
        }
    }

    fn flag(&mut self, name: &'static str) -> bool {
        match self.value(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => self.refuse(name, "true or false").unwrap_or_default(),
        }
    }

    /// A whole number from one on.
    fn whole_number(&mut self, name: &'static str, most: u32) -> Option<usize> {
        let value = self.value(name)?;
        // JSON knows one kind of number: 4.0 is a whole one.
        let whole = value.as_f64().filter(|number| number.fract() == 0.0 && (1.0..=f64::from(most)).contains(number));
        match whole {
            Some(number) => Some(number as usize),
            None => self.refuse(name, &format!("a whole number from 1 to {most}")),
        }
    }

    /// One of a few words; its default when the field is absent.
    fn choice<T: Default + FromStr<Err = Error>>(&mut self, name: &'static str) -> Option<T> {
        let before = self.wrong.len();
        match self.text(name) {
            Some(word) => self.take(name, word.parse()),
            None => (self.wrong.len() == before).then(T::default),
        }
    }

    /// The id a client may give an operation so that the request can be repeated.
    fn operation_id(&mut self, request: &HttpRequest) -> Option<Uuid> {
        let text = request.headers.get("operation-id")?;
        let id = text.parse().map_err(|_| {
            let message = format!("The header Operation-Id is {text:?}; it is a GUID, a new one for each new request.");
            Error::new(ErrorKind::InvalidInput, message)
        });
        self.take("Operation-Id", id)
    }

    fn vault(&mut self, field: &str, name: &str, config: &Config) -> Option<VaultName> {
        self.take(field, VaultName::parse(name, config.cloud))
    }

    fn required(&mut self, name: &'static str, what: &str) -> Option<String> {
        let before = self.wrong.len();
        let value = self.text(name).filter(|value| !value.trim().is_empty());
        if value.is_none() && self.wrong.len() == before {
            self.wrong.push(Error::invalid(name, format!("{name} is missing; give {what}.")));
        }
        value
    }

    fn take<T>(&mut self, field: &str, value: Result<T>) -> Option<T> {
        value.map_err(|error| self.wrong.push(error.at(field))).ok()
    }

    fn refuse<T>(&mut self, name: &str, wanted: &str) -> Option<T> {
        self.wrong.push(Error::invalid(name, format!("{name} must be {wanted}.")));
        None
    }

    /// Everything that is wrong, fields that nobody took included.
    fn mistakes(mut self) -> Vec<Error> {
        for name in self.body.keys() {
            let message = format!("{name:?} is no field of this request; it has {}.", self.known.join(", "));
            self.wrong.push(Error::invalid(name, message));
        }
        self.wrong
    }

    fn done<T>(self, value: T) -> Result<T, Vec<Error>> {
        let mistakes = self.mistakes();
        if mistakes.is_empty() { Ok(value) } else { Err(mistakes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_says_when_to_ask_again_and_nothing_else_does() {
        for (kind, status, again) in [
            (ErrorKind::Throttled, 503, Some("5")),
            (ErrorKind::Unavailable, 503, Some("5")),
            (ErrorKind::Busy, 409, Some("5")),
            (ErrorKind::Conflict, 409, None),
            (ErrorKind::Internal, 500, None),
        ] {
            let response = error(&[Error::new(kind, "A sentence.")]);
            let body = serde_json::to_value(&response.body).unwrap();
            let headers = &response.headers;
            assert_eq!((response.status, headers.get("Retry-After").map(String::as_str)), (status, again), "{kind:?}");
            assert_eq!(headers["x-ms-error-code"], body["error"]["code"].as_str().unwrap());
        }
    }
}
