//! The JSON of copies.

use serde_json::{Value, json};

use crate::copy::{Damage, Report};

/// What a copy of a vault's backups did, or what it would do.
pub fn copy(report: &Report, is_dry_run: bool) -> Value {
    let backups: Vec<Value> = report
        .backups
        .iter()
        .map(|row| {
            let mut body = json!({
                "id": row.backup.id,
                "result": row.fate.as_str(),
                "blobs": row.blobs,
                "bytes": row.bytes,
            });
            if let Some(label) = &row.backup.label {
                body["label"] = label.as_str().into();
            }
            body
        })
        .collect();
    let damage = |damage: &Damage| {
        let mut body = json!({
            "code": damage.kind.code(),
            "blob": damage.blob,
            "backups": damage.backups,
            "message": damage.message,
        });
        if let Some(item) = &damage.item {
            body["item"] = json!({ "kind": item.kind, "name": item.name });
        }
        body
    };
    let (blobs, bytes) = report.total();
    json!({
        "vault": report.vault,
        "dryRun": is_dry_run,
        "status": report.status(),
        "blobs": blobs,
        "bytes": bytes,
        "backups": backups,
        "damage": report.damage.iter().map(damage).collect::<Vec<_>>(),
        "moreDamage": report.more_damage,
    })
}
