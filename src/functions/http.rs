//! The three functions of the HTTP API.

use std::collections::HashSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    api::{self, AcknowledgeGuard, PlanPrune, StartBackups, StartCheck, StartRestore},
    host::{HttpRequest, HttpResponse, Reply},
    work::{JobMessage, RestoreMessage, encode, restore_operation},
};
use crate::{
    config::connect::{Connections, Role},
    coverage::{self, Terms},
    error::{Error, ErrorKind, Result},
    jobs::{self, Against},
    json::{self, Body},
    model::{BackupId, Timestamp, VaultName},
    operation::abandoned::seen_at,
    repository::{
        BackupRef, Repository, Selector,
        operation::{Operation, OperationKind},
    },
};

/// Headers read at once for a listing.
const READ_AHEAD: usize = 8;

/// `GET` and `POST api/backups`.
pub(super) async fn backups(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Reply {
    if request.method != "POST" {
        return answer(show_backups(connections, request, now).await);
    }
    let done = |body| Reply::http(api::answer(200, body));
    let reply = match request.params.get("id").map(String::as_str) {
        Some("guard") => acknowledge_guard(connections, request, now).await.map(done),
        Some("prune") => plan_prune(connections, request, now).await.map(done),
        Some("verify" | "drill") => start_check(connections, request, now).await,
        _ => start_backups(connections, request, now).await,
    };
    reply.unwrap_or_else(|errors| Reply::http(api::error(&errors)))
}

/// `POST api/restore`.
pub(super) async fn restore(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Reply {
    match start_restore(connections, request, now).await {
        Ok(reply) => reply,
        Err(errors) => Reply::http(api::error(&errors)),
    }
}

/// `GET api/operations`.
pub(super) async fn operations(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Reply {
    answer(show_operations(connections, request, now).await)
}

fn answer(body: Result<Body>) -> Reply {
    Reply::http(body.map_or_else(|error| api::error(&[error]), |body| api::answer(200, body)))
}

async fn start_backups(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Result<Reply, Vec<Error>> {
    let StartBackups { operation_id, vaults, label, full } = StartBackups::read(request, connections.config())?;
    let one = |error| vec![error];
    let repository = connections.repository(Role::Backup).map_err(one)?;
    let asked = json!({ "backups": { "vaults": vaults, "label": label, "full": full } });
    let request_id = request_id(&repository, operation_id, &asked).await.map_err(one)?;
    let several = vaults.len() > 1;
    let (mut operations, mut messages) = (Vec::new(), Vec::new());
    for vault in vaults {
        // One id names the whole request; each of several vaults has an id that follows from it.
        let operation_id = if several { Uuid::new_v5(&request_id, vault.as_str().as_bytes()) } else { request_id };
        let message = JobMessage::new(operation_id, OperationKind::Backup, vault, now);
        let message = JobMessage { label: label.clone(), full, ..message };
        let operation = record(&repository, message.operation(), now).await.map_err(one)?;
        if is_waiting(&operation) {
            messages.push(encode(&message));
        }
        operations.push(operation);
    }
    Ok(Reply::http(api::all_accepted(request, &operations)).queue(messages))
}

/// `POST api/backups/VAULT/guard`.
async fn acknowledge_guard(
    connections: &Connections,
    request: &HttpRequest,
    now: Timestamp,
) -> Result<Value, Vec<Error>> {
    let AcknowledgeGuard { vault, backup, by, reason } = AcknowledgeGuard::read(request, connections.config())?;
    let one = |error| vec![error];
    let repository = connections.repository(Role::Backup).map_err(one)?;
    // App Service sets this header for a signed-in user, and lets nobody else set it.
    let user = request.headers.get("x-ms-client-principal-name").map(String::as_str).filter(|name| !name.is_empty());
    // Without a sign-in there is only their word for it, as on the command line.
    let by = user.or(by.as_deref()).unwrap_or("a client of the HTTP API");
    let reason = reason.as_deref();
    let said = jobs::acknowledge_guard(&repository, &vault, Some(&backup), by, reason, now).await.map_err(one)?;
    Ok(json::acknowledgement(&said))
}

/// `POST api/backups/VAULT/verify` and `POST api/backups/VAULT/drill`.
async fn start_check(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Result<Reply, Vec<Error>> {
    let StartCheck { operation_id, vault, drill } = StartCheck::read(request, connections.config())?;
    let one = |error| vec![error];
    let repository = connections.repository(Role::Backup).map_err(one)?;
    // That is told at once, not by an operation that fails later.
    let asked = match &drill {
        Some(drill) => {
            jobs::check_drill_vault(connections, connections.config().drill_vault.as_ref()).map_err(one)?;
            let selector: Selector = drill.backup.parse().map_err(one)?;
            repository.find(&vault, &selector).await.map_err(one)?;
            json!({ "drill": { "vault": vault, "request": drill } })
        }
        None => {
            if repository.backups(&vault).await.map_err(one)?.is_empty() {
                // Says which vaults there are.
                repository.find(&vault, &Selector::Latest).await.map_err(one)?;
            }
            json!({ "verify": { "vault": vault } })
        }
    };
    let id = request_id(&repository, operation_id, &asked).await.map_err(one)?;
    let kind = if drill.is_some() { OperationKind::Drill } else { OperationKind::Verify };
    let message = JobMessage { drill, ..JobMessage::new(id, kind, vault, now) };
    let operation = record(&repository, message.operation(), now).await.map_err(one)?;
    let messages = if is_waiting(&operation) { vec![encode(&message)] } else { Vec::new() };
    Ok(Reply::http(api::accepted(request, &operation)).queue(messages))
}

/// `POST api/backups/VAULT/prune`: what retention would remove. Nothing is removed on request.
async fn plan_prune(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Result<Value, Vec<Error>> {
    let PlanPrune { vault } = PlanPrune::read(request, connections.config())?;
    let plan = jobs::plan_prune(connections, &vault, &[], now).await.map_err(|error| vec![error])?;
    Ok(json::prune(&plan, None))
}

async fn start_restore(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Result<Reply, Vec<Error>> {
    let StartRestore { operation_id, request: wanted, dry_run } = StartRestore::read(request, connections.config())?;
    let one = |error| vec![error];
    let warnings = jobs::restore_warnings(connections, &wanted).await;
    if dry_run {
        let plan = jobs::plan_restore(connections, &wanted).await.map_err(one)?;
        return Ok(Reply::http(api::answer(200, json::plan(&plan, &warnings).map_err(one)?)));
    }
    let repository = connections.repository(Role::Restore).map_err(one)?;
    // That is told at once, not by an operation that fails later.
    jobs::check_restore(connections, &wanted).await.map_err(one)?;
    let asked = json!({ "restore": wanted });
    let operation_id = request_id(&repository, operation_id, &asked).await.map_err(one)?;
    let operation = record(&repository, restore_operation(operation_id, &wanted, now), now).await.map_err(one)?;
    let messages = if is_waiting(&operation) { vec![encode(&RestoreMessage { operation_id })] } else { Vec::new() };
    let mut response = api::accepted(request, &operation);
    response.body = json::with_warnings(response.body, &warnings);
    Ok(Reply::http(response).queue(messages))
}

/// The id of this request: a new one, or the one its client gave it to be able to repeat it. What was asked for under
/// that id is kept, so that the id cannot come to mean something else.
async fn request_id(repository: &Repository, given: Option<Uuid>, asked: &Value) -> Result<Uuid> {
    let Some(id) = given else { return Ok(Uuid::new_v4()) };
    let asked = asked.to_string();
    if repository.keep_request(id, asked.clone().into()).await? == asked.as_bytes() {
        return Ok(id);
    }
    Err(asks_for_something_else(id))
}

fn asks_for_something_else(id: Uuid) -> Error {
    let message = format!("Operation {id} exists and asks for something else. Use a new Operation-Id.");
    Error::new(ErrorKind::Conflict, message).at("Operation-Id")
}

/// Records an operation, or finds the one that an earlier call of the same request has recorded.
async fn record(repository: &Repository, asked: Operation, now: Timestamp) -> Result<Operation> {
    let Some(known) = repository.create_operation(&asked).await? else { return Ok(asked) };
    let same = known.kind == asked.kind
        && known.vault == asked.vault
        && known.label == asked.label
        && known.request == asked.request;
    if same { Ok(seen_at(known, now)) } else { Err(asks_for_something_else(asked.id)) }
}

/// Whether the operation still needs a message: the host writes messages after this function has answered, so an
/// earlier call may have recorded the operation and lost its message. A second message does no harm.
fn is_waiting(operation: &Operation) -> bool {
    operation.status == crate::report::Status::NotStarted
}

async fn show_backups(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Result<Body> {
    let repository = connections.repository(Role::Backup)?;
    let parameter = |name| request.params.get(name).map(String::as_str).filter(|text: &&str| !text.is_empty());
    let (top, after) = api::page(request)?;
    let compare = request.query.get("compare");
    if compare.is_some() && parameter("id").is_none() {
        return Err(Error::invalid(
            "compare",
            "compare stands behind a backup, as in api/backups/VAULT/latest?compare=live.",
        ));
    }
    let cloud = connections.config().cloud;
    match (parameter("vault"), parameter("id")) {
        (None, _) => list_vaults(&repository, connections, request, top, after, now).await.map(Body::from),
        (Some(vault), None) => {
            let vault = VaultName::parse(vault, cloud).map_err(|error| error.at("vault"))?;
            list_backups(&repository, &vault, request, top, after).await.map(Body::from)
        }
        (Some(vault), Some(id)) => {
            let vault = VaultName::parse(vault, cloud).map_err(|error| error.at("vault"))?;
            let selector: Selector = id.parse().map_err(|error: Error| error.at("id"))?;
            let with = request.query.get("with").map(|with| VaultName::parse(with, cloud)).transpose();
            let with = with.map_err(|error| error.at("with"))?;
            let backup = repository.find(&vault, &selector).await?;
            if let Some(other) = compare {
                return compare_with(&repository, connections, request, &backup, other, with.as_ref()).await;
            }
            let manifest = repository.open(&backup).await?;
            let (rows, next) = api::rows(request, manifest.items.len())?;
            let damaged = repository.damaged_backups(&vault).await.contains(&backup.id);
            Ok(json::backup(&manifest.header, &manifest.items, damaged).page(rows, next))
        }
    }
}

/// What changed from this backup to another one, or to the vault as it is now.
async fn compare_with(
    repository: &Repository,
    connections: &Connections,
    request: &HttpRequest,
    backup: &BackupRef,
    other: &str,
    with: Option<&VaultName>,
) -> Result<Body> {
    let config = connections.config();
    let vault = with.unwrap_or(&backup.vault);
    let against = if other == "live" {
        // A function key must not reach a vault of which somebody has only written that it has a backup.
        if !config.vaults.contains(vault) {
            let message = api::not_in_scope(vault, config, "compare it");
            let (kind, field) = match with {
                Some(_) => (ErrorKind::Forbidden, "with"),
                None => (ErrorKind::InvalidInput, "compare"),
            };
            return Err(Error::new(kind, message).at(field));
        }
        Against::Vault(vault.clone())
    } else {
        let selector: Selector = other.parse().map_err(|error: Error| error.at("compare"))?;
        Against::Backup(repository.find(vault, &selector).await.map_err(|error| error.at("compare"))?)
    };
    let comparison = jobs::compare(connections, backup, &against).await?;
    let (rows, next) = api::rows(request, comparison.diff.differences.len())?;
    Ok(json::comparison(&comparison).page(rows, next))
}

/// The vaults in scope and those that have backups, each with how well it is protected.
async fn list_vaults(
    repository: &Repository,
    connections: &Connections,
    request: &HttpRequest,
    top: usize,
    after: Option<String>,
    now: Timestamp,
) -> Result<Value> {
    let config = connections.config();
    let named = api::vaults(request, config)?;
    let expect_all = config.vaults.is_empty() || named.is_some();
    let vaults = match named {
        Some(named) => named,
        None => coverage::vaults(repository, &config.vaults).await?,
    };
    let vaults = vaults.into_iter();
    let mut page: Vec<VaultName> =
        vaults.filter(|vault| after.as_deref().is_none_or(|after| vault.as_str() > after)).collect();
    let more = page.len() > top;
    page.truncate(top);
    let last = page.last().cloned().filter(|_| more);
    let terms = Terms { scope: config.vaults.clone(), expect_all, max_age: config.max_age, now };
    let rows = coverage::look(repository, page, &terms).await;
    let mut body = json!({ "value": rows.iter().map(json::coverage).collect::<Vec<_>>() });
    if let Some(last) = last {
        body["nextLink"] = api::next_link(request, last.as_str(), top).into();
    }
    Ok(body)
}

/// A backup as a row of a listing. One that is damaged, or from a newer release, must not hide the others.
async fn summary(repository: &Repository, backup: &BackupRef, damaged: &HashSet<BackupId>) -> Result<Value> {
    match repository.header(backup).await {
        Err(error) if !error.kind().is_of_stored_data() => Err(error),
        header => Ok(json::backup_row(backup, &header, damaged.contains(&backup.id))),
    }
}

/// The backups of a vault, newest first.
async fn list_backups(
    repository: &Repository,
    vault: &VaultName,
    request: &HttpRequest,
    top: usize,
    after: Option<String>,
) -> Result<Value> {
    let backups = repository.backups(vault).await?;
    let mut page: Vec<BackupRef> = backups
        .into_iter()
        .rev()
        .filter(|backup| after.as_deref().is_none_or(|after| backup.id.as_str() < after))
        .collect();
    let more = page.len() > top;
    page.truncate(top);
    let last = page.last().cloned().filter(|_| more);
    let damaged = &repository.damaged_backups(vault).await;
    let value: Vec<Value> = stream::iter(page)
        .map(|backup| async move { summary(repository, &backup, damaged).await })
        .buffered(READ_AHEAD)
        .try_collect()
        .await?;
    let mut body = serde_json::json!({ "value": value, "guard": guard(repository, vault).await? });
    if let Some(last) = last {
        body["nextLink"] = api::next_link(request, last.id.as_str(), top).into();
    }
    Ok(body)
}

/// What tripped the guard, if it is up. That it cannot be told must not hide the backups.
async fn guard(repository: &Repository, vault: &VaultName) -> Result<Value> {
    match repository.guard(vault).await {
        Ok(guard) => Ok(guard.as_ref().map(json::guard).into()),
        Err(error) if error.kind().is_of_stored_data() => Ok(json::error(&[error])),
        Err(error) => Err(error),
    }
}

async fn show_operations(connections: &Connections, request: &HttpRequest, now: Timestamp) -> Result<Body> {
    let repository = connections.repository(Role::Backup)?;
    if let Some(id) = request.params.get("id").filter(|id| !id.is_empty()) {
        let id: Uuid = id
            .parse()
            .map_err(|_| Error::invalid("id", format!("{id:?} is not the id of an operation, which is a GUID.")))?;
        return show_operation(&repository, &seen_at(repository.operation(id).await?, now), request).await;
    }
    let (top, after) = api::page(request)?;
    let (operations, next) = repository.operations(after.as_deref(), top).await?;
    let rows = operations.into_iter().map(|operation| json::operation_summary(&seen_at(operation, now)));
    let mut body = serde_json::json!({ "value": rows.collect::<Vec<_>>() });
    if let Some(next) = next {
        body["nextLink"] = api::next_link(request, &next, top).into();
    }
    Ok(body.into())
}

/// One operation with its items: a page of them when one is asked for, as a restore can have very many.
async fn show_operation(repository: &Repository, operation: &Operation, request: &HttpRequest) -> Result<Body> {
    let (rows, next) = api::rows(request, operation.items.len())?;
    let mut body = json::operation(operation).page(rows, next);
    if operation.kind == OperationKind::Verify {
        // Those of the last verification are kept. That they cannot be read must not hide the operation.
        let found = repository.findings(&operation.vault).await.ok().flatten();
        if let Some(found) = found.filter(|found| found.operation == operation.id) {
            body = json::findings(&found).into_iter().fold(body, |body, (name, value)| body.and(name, value));
        }
    }
    Ok(body)
}

/// What an HTTP function answers when the settings are wrong.
pub(super) fn misconfigured(mistakes: &[Error]) -> HttpResponse {
    let mut response = api::error(mistakes);
    // The client did nothing wrong.
    response.status = 500;
    response
}
