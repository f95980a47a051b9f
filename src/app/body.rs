//! Bodies of the HTTP API as values of the domain: [`crate::json`] backwards. The API calls some things otherwise than the
//! stored documents do, so their names are put back and the documents' own readers do the rest. What the API does not show
//! (names of blobs, requests, filters) is empty.

use std::collections::HashSet;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::Row;
use crate::{
    coverage::{Attention, Coverage},
    diff::Diff,
    error::{Error, ErrorKind, Result},
    jobs::Comparison,
    model::{BackupId, VaultName},
    repository::{
        BackupRef,
        findings::{FINDINGS_VERSION, Findings},
        guard::{ACKNOWLEDGEMENT_VERSION, Acknowledgement},
        items::Items,
        manifest::{FORMAT_VERSION, Failure, Guard, Header, Item, Manifest},
        operation::{OPERATION_VERSION, Operation},
    },
    restore::Plan,
};

/// The rows of a listing.
pub(super) fn rows<T>(mut body: Value, field: &str, read: impl Fn(Value) -> Result<T>) -> Result<Vec<T>> {
    match body[field].take() {
        Value::Array(rows) => rows.into_iter().map(read).collect(),
        _ => Err(unreadable(&format!("there is no {field}"))),
    }
}

/// An operation, with or without its items.
pub(super) fn operation(body: Value) -> Result<Operation> {
    let mut body = object(body)?;
    let problems = problems(&body["error"]);
    rename(
        &mut body,
        &[
            ("backup", "backupId"),
            ("createdDateTime", "createdAt"),
            ("startedDateTime", "startedAt"),
            ("lastActionDateTime", "updatedAt"),
            ("finishedDateTime", "finishedAt"),
        ],
    );
    each(&mut body["items"], |item| rename(item, &[("error", "problem")]));
    if body["items"].is_null() {
        body["items"] = json!([]);
    }
    body["formatVersion"] = OPERATION_VERSION.into();
    body["request"] = Value::Null;
    body["problems"] = problems;
    document(body)
}

/// An error of the API as the list of problems that it was made from.
fn problems(error: &Value) -> Value {
    let Value::Object(first) = error else { return json!([]) };
    let mut first = first.clone();
    let rest = first.remove("details").and_then(|rest| rest.as_array().cloned()).unwrap_or_default();
    [Value::Object(first)].into_iter().chain(rest).collect()
}

/// What a verification found, if the operation is one and the app still has it.
pub(super) fn findings(body: &Value) -> Result<Option<Findings>> {
    if body["findings"].is_null() {
        return Ok(None);
    }
    let count = |name: &str| body["counts"][name].as_u64().unwrap_or_default();
    let finished = if body["finishedDateTime"].is_null() { "lastActionDateTime" } else { "finishedDateTime" };
    document(json!({
        "formatVersion": FINDINGS_VERSION,
        "vault": body["vault"],
        "operation": body["id"],
        "startedAt": body["createdDateTime"],
        "finishedAt": body[finished],
        "backups": count("backups"),
        "soundBackups": count("soundBackups"),
        "blobs": count("blobs"),
        "bytes": body["bytes"],
        "unnamedBlobs": count("unnamedBlobs"),
        "findings": body["findings"],
        "moreDamage": body["moreDamage"],
    }))
    .map(Some)
}

/// A backup as a row of a listing, which may be one that cannot be read.
pub(super) fn row(body: Value) -> Result<Row> {
    let backup = BackupRef { vault: field(&body, "vault")?, id: field(&body, "id")?, label: field(&body, "label")? };
    let header = if body["error"].is_object() { Err(error(&body["error"])) } else { Ok(header(body)?) };
    Ok((backup, header))
}

/// The backups of a listing in which the last verification found damage.
pub(super) fn damaged(rows: &Value) -> Result<HashSet<BackupId>> {
    let rows = rows.as_array().into_iter().flatten();
    rows.filter(|row| row["damaged"] == true).map(|row| field(row, "id")).collect()
}

/// An error that is a part of an answer.
fn error(body: &Value) -> Error {
    let kind = body["code"].as_str().and_then(ErrorKind::from_code).unwrap_or(ErrorKind::Internal);
    let error = Error::new(kind, body["message"].as_str().unwrap_or_default());
    match body["target"].as_str() {
        Some(target) => error.at(target),
        None => error,
    }
}

fn header(body: Value) -> Result<Header> {
    let mut body = object(body)?;
    rename(&mut body, &[("id", "backupId"), ("startedDateTime", "startedAt"), ("finishedDateTime", "finishedAt")]);
    body["formatVersion"] = FORMAT_VERSION.into();
    body["vaultUri"] = "".into();
    let failures = body.as_object_mut().and_then(|fields| fields.remove("failures"));
    let mut header: Header = document(body)?;
    header.failures = failures_of(failures.unwrap_or_default())?;
    Ok(header)
}

fn failures_of(mut failures: Value) -> Result<Vec<Failure>> {
    if failures.is_null() {
        return Ok(Vec::new());
    }
    each(&mut failures, |failure| rename(failure, &[("message", "reason")]));
    document(failures)
}

/// A backup with the items of the answer.
pub(super) fn manifest(mut body: Value) -> Result<Manifest> {
    let items = rows(json!({ "items": body["items"].take() }), "items", |item| {
        let mut item = object(item)?;
        rename(&mut item, &[("takenDateTime", "takenAt")]);
        if item["stale"].is_object() {
            rename(&mut item["stale"], &[("message", "reason")]);
        }
        item["blob"] = "".into();
        document::<Item>(item)
    })?;
    Ok(Manifest { header: header(body)?, items: Items::of(&items)? })
}

/// How well a vault is protected.
pub(super) fn coverage(body: Value) -> Result<Coverage> {
    let mut body = object(body)?;
    let failures = failures_of(body["failures"].take())?;
    let optional = |body: Value| (!body.is_null()).then_some(body);
    let last = |body: Value| optional(body).map(operation).transpose();
    let mut newest = optional(body["newest"].take()).map(row).transpose()?;
    if let Some((_, Ok(header))) = &mut newest {
        header.failures = failures;
    }
    Ok(Coverage {
        vault: field(&body, "vault")?,
        in_scope: field(&body, "inScope")?,
        backups: field(&body, "backups")?,
        newest,
        more_failures: field(&body, "moreFailures")?,
        newest_good: optional(body["newestGood"].take()).map(header).transpose()?,
        age: field(&body, "ageSeconds")?,
        guard: field(&body, "guard")?,
        last_backup: last(body["lastBackup"].take())?,
        last_verify: last(body["lastVerify"].take())?,
        last_drill: last(body["lastDrill"].take())?,
        problems: Vec::new(),
        attention: field::<Vec<Attention>>(&body, "attention")?,
    })
}

/// What tripped the guard, of the listing of a vault's backups: nothing, a mark, or why it cannot be told.
pub(super) fn guard(body: &Value) -> Result<Option<Guard>> {
    if body["guard"]["error"].is_object() { Err(error(&body["guard"]["error"])) } else { field(body, "guard") }
}

/// What a person said of it.
pub(super) fn acknowledgement(mut body: Value) -> Result<Acknowledgement> {
    rename(&mut body, &[("acknowledgedDateTime", "acknowledgedAt")]);
    body["formatVersion"] = ACKNOWLEDGEMENT_VERSION.into();
    document(body)
}

/// What a restore would do.
pub(super) fn plan(mut body: Value) -> Result<Plan> {
    rename(&mut body, &[("backup", "backupId"), ("items", "steps")]);
    document(body)
}

/// What differs.
pub(super) fn comparison(mut body: Value) -> Result<Comparison> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Counts {
        same: u64,
        filtered_out: u64,
        not_compared: u64,
    }
    let Counts { same, filtered_out, not_compared } = field(&body, "counts")?;
    let to = body["to"].take();
    let to_vault: VaultName = field(&to, "vault")?;
    let is_live = to["live"] == true;
    let mut diff = Diff::default();
    (diff.same, diff.filtered_out, diff.not_compared) = (same, filtered_out, not_compared);
    diff.failures = failures_of(body["failures"].take())?;
    for difference in rows(json!({ "rows": body["differences"].take() }), "rows", document)? {
        diff.push(difference)?;
    }
    Ok(Comparison {
        from: Box::new(header(body["from"].take())?),
        to: (!is_live).then(|| header(to)).transpose()?.map(Box::new),
        to_vault,
        diff,
    })
}

/// Anything else has no fields that could be changed.
fn object(body: Value) -> Result<Value> {
    if body.is_object() { Ok(body) } else { Err(unreadable("a part of it is no object")) }
}

/// Gives fields the names that they have in the stored documents.
fn rename(body: &mut Value, names: &[(&str, &str)]) {
    let Value::Object(fields) = body else { return };
    for (here, stored) in names {
        if let Some(value) = fields.remove(*here) {
            fields.insert((*stored).to_owned(), value);
        }
    }
}

fn each(list: &mut Value, change: impl Fn(&mut Value)) {
    list.as_array_mut().into_iter().flatten().for_each(change);
}

/// A field of its type; one that is not there counts as null.
fn field<T: DeserializeOwned>(body: &Value, name: &str) -> Result<T> {
    T::deserialize(&body[name]).map_err(|cause| unreadable(&format!("{name}: {cause}")))
}

fn document<T: DeserializeOwned>(body: Value) -> Result<T> {
    serde_json::from_value(body).map_err(|cause| unreadable(&cause.to_string()))
}

fn unreadable(why: &str) -> Error {
    let message = format!(
        "The app answered something that this release of the program cannot read, which is {}: {why}. Use the release that \
         is deployed, or run the command without --app.",
        super::answer::RELEASE
    );
    Error::new(ErrorKind::NewerFormat, message).at("BACKUP_APP_URL")
}
