//! What programs are shown: the JSON of operations, backups and plans, the same in the HTTP API and in the command
//! line's `--output json`. `docs/openapi.yaml` describes it.

mod body;
mod copy;

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

pub use self::body::Body;
pub use self::copy::copy;
use crate::{
    coverage::{Attention, Coverage},
    diff::{Change, Difference, State},
    error::{Error, Result},
    jobs::Comparison,
    model::{Label, VaultName},
    prune::{self, Unnamed},
    report::{ItemReport, Problem, Snapshot, Status},
    repository::{
        BackupRef,
        findings::{Finding, Findings},
        guard::Acknowledgement,
        items::Items,
        manifest::{Failure, Guard, Header, Item},
        operation::{Measured, Operation},
    },
    restore::{Action, Plan, Step},
    rows::Rows,
};

/// Names the release of an app that answers with an error: what it refuses may be what it does not know yet.
pub const RELEASE_HEADER: &str = "x-keyvault-backup-release";

/// How many failures of a backup are shown where many vaults are.
pub const MOST_FAILURES: usize = 20;

/// One error, or several at once: `{"error":{"code","message","target","details"}}`.
pub fn error(errors: &[Error]) -> Value {
    let one = |error: &Error| problem(&Problem::from(error));
    let body = match errors {
        [only] => one(only),
        [] => json!({ "code": "Internal", "message": "Nothing is known about this failure." }),
        [first, ..] => json!({
            "code": first.kind().code(),
            "message": "There are several mistakes; details names each.",
            "details": errors.iter().map(one).collect::<Vec<_>>(),
        }),
    };
    json!({ "error": body })
}

/// An operation without its items.
pub fn operation_summary(operation: &Operation) -> Value {
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
        drill: Option<Measured>,
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
        progress: progress(operation),
        counts: &operation.counts,
        drill: operation.drill,
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

fn progress(operation: &Operation) -> Value {
    let Snapshot { total, done, bytes } = operation.progress;
    let mut body = json!({ "total": total, "done": done, "bytes": bytes });
    if let (Status::Running, Some(started)) = (operation.status, operation.started_at)
        && done > 0
    {
        let so_far = operation.updated_at.seconds_since(started).unsigned_abs();
        body["estimatedSeconds"] = (so_far.saturating_mul(total.saturating_sub(done)) / done).into();
    }
    body
}

/// An operation with its items.
pub fn operation(operation: &Operation) -> Body {
    rows(operation_summary(operation), "items", &operation.items, item_report)
}

/// A body whose list is these rows.
fn rows<T: Serialize + DeserializeOwned + 'static>(
    head: Value,
    name: &'static str,
    rows: &Rows<T>,
    show: fn(T) -> Value,
) -> Body {
    let rows = rows.clone();
    Body::with(head, name, rows.len(), move |number| Ok(rows.get(number)?.map(show).unwrap_or_default()))
}

fn item_report(report: ItemReport) -> Value {
    let mut item = json!({ "kind": report.item.kind, "name": report.item.name, "outcome": report.outcome.as_str() });
    if let Some(version) = &report.version {
        item["version"] = (**version).into();
    }
    if let Some(trouble) = &report.problem {
        item["error"] = problem(trouble);
    }
    item
}

/// A verification with what it found.
pub fn verification(of: &Operation, found: Option<&Findings>) -> Value {
    let mut body = operation_summary(of);
    for (name, value) in found.into_iter().flat_map(findings) {
        body[name] = value;
    }
    body
}

/// What a verification found, as fields of its operation.
pub fn findings(found: &Findings) -> [(&'static str, Value); 3] {
    let finding = |finding: &Finding| {
        let mut one = json!({
            "finding": finding.finding.as_str(),
            "blob": finding.blob,
            "backups": finding.backups,
            "message": finding.message,
        });
        if let Some(item) = &finding.item {
            one["item"] = json!({ "kind": item.kind, "name": item.name });
        }
        one
    };
    let rows = found.findings.iter().map(finding).collect();
    [("findings", rows), ("moreDamage", found.more_damage.into()), ("bytes", found.bytes.into())]
}

fn problem(problem: &Problem) -> Value {
    let mut body = json!({ "code": problem.code, "message": problem.message });
    if let Some(target) = &problem.target {
        body["target"] = target.as_str().into();
    }
    body
}

/// A backup without its items.
pub fn backup_summary(header: &Header) -> Value {
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
    if let Some(mark) = &header.guard {
        body["guard"] = guard(mark);
    }
    body
}

/// A backup as a row of a listing: its manifest may be one that cannot be read, and what it needs may be `damaged`.
pub fn backup_row(backup: &BackupRef, header: &Result<Header>, damaged: bool) -> Value {
    let body = match header {
        Ok(header) => backup_summary(header),
        Err(trouble) => unreadable_backup(backup, trouble),
    };
    marked(body, damaged)
}

fn marked(mut body: Value, damaged: bool) -> Value {
    if damaged {
        body["damaged"] = true.into();
    }
    body
}

fn unreadable_backup(backup: &BackupRef, trouble: &Error) -> Value {
    let mut body = error(std::slice::from_ref(trouble));
    body["id"] = backup.id.as_str().into();
    body["vault"] = backup.vault.as_str().into();
    if let Some(label) = &backup.label {
        body["label"] = label.as_str().into();
    }
    body
}

fn failure(failure: &Failure) -> Value {
    let mut row = json!({ "kind": failure.kind, "code": failure.code, "message": failure.reason });
    if let Some(name) = &failure.name {
        row["name"] = (**name).into();
    }
    row
}

/// A backup with its items.
pub fn backup(header: &Header, items: &Items, damaged: bool) -> Body {
    let mut head = marked(backup_summary(header), damaged);
    head["failures"] = header.failures.iter().map(failure).collect();
    let items = items.clone();
    Body::with(head, "items", items.len(), move |number| {
        Ok(items.page(number..number + 1)?.first().map(item).unwrap_or_default())
    })
}

fn item(item: &Item) -> Value {
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
}

/// How well a vault is protected.
pub fn coverage(coverage: &Coverage) -> Value {
    let newest = coverage.newest.as_ref().map(|(backup, header)| backup_row(backup, header, false));
    let failures: &[Failure] = match &coverage.newest {
        Some((_, Ok(header))) => &header.failures,
        _ => &[],
    };
    let last = |operation: &Option<Operation>| operation.as_ref().map(operation_summary);
    let attention = |reason: &Attention| json!({ "cause": reason.cause.as_str(), "message": reason.message });
    json!({
        "vault": coverage.vault,
        "inScope": coverage.in_scope,
        "backups": coverage.backups,
        "newest": newest,
        "newestGood": coverage.newest_good.as_ref().map(backup_summary),
        "ageSeconds": coverage.age,
        "failures": failures.iter().take(MOST_FAILURES).map(failure).collect::<Vec<_>>(),
        "moreFailures": failures.len().saturating_sub(MOST_FAILURES) + coverage.more_failures,
        "guard": coverage.guard.as_ref().map(guard),
        "lastBackup": last(&coverage.last_backup),
        "lastVerify": last(&coverage.last_verify),
        "lastDrill": last(&coverage.last_drill),
        "attention": coverage.attention.iter().map(attention).collect::<Vec<_>>(),
    })
}

/// What tripped the guard.
pub fn guard(guard: &Guard) -> Value {
    json!(guard)
}

/// What a person said of it.
pub fn acknowledgement(acknowledgement: &Acknowledgement) -> Value {
    let mut body = json!({
        "vault": acknowledgement.vault,
        "guard": guard(&acknowledgement.guard),
        "acknowledgedDateTime": acknowledgement.acknowledged_at.to_string(),
        "acknowledgedBy": acknowledgement.acknowledged_by,
    });
    if let Some(reason) = &acknowledgement.reason {
        body["reason"] = reason.as_str().into();
    }
    body
}

/// Two sides with their differences, whose items are in the order of kind and name.
pub fn comparison(comparison: &Comparison) -> Body {
    let Comparison { from, to, to_vault, diff } = comparison;
    let mut counts: BTreeMap<&str, u64> =
        Change::ALL.iter().map(|change| (change.as_str(), diff.count(*change))).collect();
    let others = [("same", diff.same), ("filteredOut", diff.filtered_out), ("notCompared", diff.not_compared)];
    counts.extend(others);
    let to = to.as_deref().map_or_else(|| json!({ "vault": to_vault, "live": true }), backup_summary);
    let head = json!({
        "from": backup_summary(from),
        "to": to,
        "counts": counts,
        "failures": diff.failures.iter().map(failure).collect::<Vec<_>>(),
    });
    rows(head, "differences", &diff.differences, difference)
}

fn difference(difference: Difference) -> Value {
    let Difference { item, changes, fields, from, to } = difference;
    let changes: Vec<&str> = changes.iter().map(|change| change.as_str()).collect();
    let mut row = json!({ "kind": item.kind, "name": item.name, "changes": changes });
    if !fields.is_empty() {
        row["fields"] = json!(fields);
    }
    for (name, state) in [("from", from), ("to", to)] {
        if let Some(State { version, attributes, stale, .. }) = state {
            row[name] = json!({ "attributes": attributes, "stale": stale });
            if let Some(version) = version {
                row[name]["version"] = (*version).into();
            }
        }
    }
    row
}

/// The plan of a restore, and what a person should know before it: the answer to a dry run.
pub fn plan(plan: &Plan, warnings: &[String]) -> Result<Body> {
    let counts = plan.counts()?;
    let counts: BTreeMap<&str, u64> =
        Action::ALL.iter().map(|action| (action.as_str(), counts.get(action).copied().unwrap_or_default())).collect();
    let head = json!({
        "vault": plan.vault,
        "backup": plan.backup_id,
        "targetVault": plan.target_vault,
        "counts": counts,
        "estimatedSeconds": plan.estimated_seconds,
    });
    Ok(with_warnings(rows(head, "items", &plan.steps, step), warnings))
}

/// The body with the warnings, if there are any.
pub fn with_warnings(body: Body, warnings: &[String]) -> Body {
    if warnings.is_empty() { body } else { body.and("warnings", warnings) }
}

fn step(step: Step) -> Value {
    let mut row = json!({
        "kind": step.item.kind,
        "name": step.item.name,
        "action": step.action.as_str(),
        "version": step.version,
    });
    if let Some(reason) = step.reason {
        row["reason"] = reason.into();
    }
    row
}

/// What a prune of a vault did; without a report, what it would do.
pub fn prune(plan: &prune::Plan, report: Option<&prune::Report>) -> Value {
    let backups: Vec<Value> = plan
        .backups
        .iter()
        .map(|row| {
            let mut body = json!({
                "id": row.backup.id,
                "action": if row.is_removed() { "remove" } else { "keep" },
                "result": row.quality.as_str(),
                "reasons": row.reasons,
            });
            if let Some(label) = &row.backup.label {
                body["label"] = label.as_str().into();
            }
            if plan.was_asked_for(row) {
                body["refused"] = true.into();
            }
            body
        })
        .collect();
    let Unnamed { blobs, bytes, young, protected, doubtful } = plan.unnamed;
    let mut body = json!({
        "vault": plan.vault,
        "dryRun": report.is_none(),
        "backups": backups,
        "unnamedBlobs":
            { "remove": blobs, "bytes": bytes, "young": young, "protected": protected, "doubtful": doubtful },
    });
    if let Some(guard) = &plan.guard {
        body["guard"] = json!(guard);
    }
    if let Some(report) = report {
        body["removed"] = json!({ "backups": report.backups, "blobs": report.blobs, "bytes": report.bytes });
        body["protected"] = json!({ "backups": report.protected_backups, "blobs": report.protected_blobs });
        if let Some(until) = report.protected_until {
            body["protected"]["untilDateTime"] = until.to_string().into();
        }
        body["message"] = plan.describe(report).into();
    }
    body
}
