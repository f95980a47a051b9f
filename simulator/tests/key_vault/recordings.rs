//! Every recorded exchange, replayed: the simulator is brought into the state the exchange presupposes and must then
//! answer as the real service did.

#[path = "recordings/arrange.rs"]
mod arrange;
#[path = "recordings/compare.rs"]
mod compare;

use serde::Deserialize;
use serde_json::Value;

use self::arrange::Before;

/// One exchange of `simulator/recordings`; its README explains the fields.
#[derive(Deserialize)]
struct Exchange {
    name: String,
    evidence: String,
    request: RecordedRequest,
    response: RecordedResponse,
}

#[derive(Deserialize)]
struct RecordedRequest {
    method: String,
    path: String,
    vault: String,
    #[serde(default)]
    body: Option<Value>,
}

#[derive(Deserialize)]
struct RecordedResponse {
    status: u16,
    headers: serde_json::Map<String, Value>,
    body: Value,
}

#[tokio::test(start_paused = true)]
async fn secrets_are_answered_as_recorded() {
    replay(include_str!("../../recordings/secrets.json"), secrets).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_answered_as_recorded() {
    replay(include_str!("../../recordings/keys.json"), keys).await;
}

#[tokio::test(start_paused = true)]
async fn certificates_are_answered_as_recorded() {
    replay(include_str!("../../recordings/certificates.json"), certificates).await;
}

async fn replay(recordings: &str, table: fn(&str) -> Option<Before>) {
    let exchanges: Vec<Exchange> = serde_json::from_str(recordings).expect("the recordings have their fields");
    assert!(exchanges.len() > 25, "the recordings are complete");
    let mut differences = Vec::new();
    for exchange in &exchanges {
        let name = &exchange.name;
        let Some(before) = table(name) else {
            differences.push(format!("{name}: nobody says what state it presupposes"));
            continue;
        };
        if before == Before::NotImitated {
            continue;
        }
        let (bench, answer) = arrange::ask(exchange, before).await;
        let found = compare::differences(exchange, &answer);
        differences.extend(found.into_iter().map(|it| format!("{name}: {it}")));
        differences.extend(bench.vaults.unknown_requests().into_iter().map(|it| format!("{name}: {it}")));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The state before each exchange.
fn secrets(name: &str) -> Option<Before> {
    Some(match name {
        "challenge-on-set" => Before::NoToken,
        "set-200" | "set-disabled-200" => Before::Nothing,
        "delete-200" | "delete-then-poll-1-delete-200" | "backup-200" | "update-disable-200" | "get-version-200" => {
            Before::Item
        }
        "recover-200" | "delete-then-poll-3-get-deleted-200" | "purge-204" | "set-on-soft-deleted-409-quoted" => {
            Before::Deleted
        }
        "get-while-recovering-404" => Before::Recovering,
        "get-after-recovery-200" => Before::Recovered,
        "delete-then-poll-2-get-deleted-while-deleting-404" | "get-right-after-delete-404" => Before::Deleting,
        "list-deleted-first-page-200" => Before::DeletedPage,
        "restore-right-after-purge-409" => Before::JustPurged,
        "restore-200" => Before::LongPurged,
        "get-never-existed-404" | "get-deleted-never-existed-404" | "backup-never-existed-404" => Before::Nothing,
        "recover-never-existed-404" | "restore-malformed-400" => Before::Nothing,
        "list-last-page-empty-200" | "list-versions-never-existed-200" => Before::Nothing,
        "get-disabled-403" => Before::Disabled,
        "list-page-1-empty-with-nextlink-200" | "list-page-3-one-item-with-nextlink-200" => Before::Page,
        "list-versions-page-1-200" => Before::Versions(3),
        "list-with-managed-secrets-200" => Before::CertificatePage,
        "get-managed-secret-200" => Before::Certificate,
        "firewall-403-quoted" => Before::Firewall,
        "get-rbac-denied-403-quoted" => Before::NoRole,
        // The texts of 2019.
        "backup-never-existed-404-superseded-2019-text" | "challenge-superseded-2019-text" => Before::NotImitated,
        "list-access-policy-denied-403-quoted" => Before::NoPolicy,
        _ => return None,
    })
}

fn keys(name: &str) -> Option<Before> {
    Some(match name {
        "create-ec-200" | "create-rsa-200" | "restore-malformed-400" => Before::Nothing,
        "backup-never-existed-404" | "delete-never-existed-404" => Before::Nothing,
        "delete-ec-200" | "delete-rsa-200" | "backup-200" => Before::Item,
        "get-deleted-while-deleting-404" | "create-while-deleting-409" | "purge-while-deleting-409" => Before::Deleting,
        "get-deleted-200" | "get-deleted-200-before-recovery" | "create-on-soft-deleted-409" => Before::Deleted,
        "purge-204" | "get-of-a-deleted-404" | "recover-200" => Before::Deleted,
        "challenge-on-create" => Before::NoToken,
        "restore-right-after-purge-409" => Before::JustPurged,
        "restore-200" => Before::LongPurged,
        "get-while-recovering-404" => Before::Recovering,
        "get-after-recovery-200" => Before::Recovered,
        "list-last-page-200" => Before::Page,
        "list-versions-200" => Before::Versions(1),
        "list-deleted-200" => Before::DeletedPage,
        "list-with-managed-keys-and-nextlink-200" => Before::CertificatePage,
        // The texts of 2019.
        "backup-never-existed-404-superseded-2019-text" | "recover-never-existed-404-superseded-2019-text" => {
            Before::NotImitated
        }
        // Cryptography is refused as unknown, whoever asks.
        "encrypt-access-policy-denied-403-quoted" => Before::NotImitated,
        _ => return None,
    })
}

fn certificates(name: &str) -> Option<Before> {
    Some(match name {
        "create-202" | "restore-malformed-400" => Before::Nothing,
        "get-never-existed-404" | "recover-never-existed-404" | "delete-never-existed-404" => Before::Nothing,
        "get-pending-in-progress-200" | "get-while-pending-200" | "cancel-pending-200" => Before::Pending,
        "delete-pending-200" => Before::PendingCancelled,
        "get-after-pending-deleted-200" | "get-pending-missing-404" => Before::PendingDeleted,
        "get-pending-completed-200" | "get-200" | "backup-200" | "delete-200" => Before::Item,
        "get-deleted-while-deleting-404" | "purge-while-deleting-409" => Before::Deleting,
        "get-deleted-200" | "purge-204" | "get-of-a-deleted-404" | "recover-200" => Before::Deleted,
        "restore-200" => Before::LongPurged,
        "restore-right-after-purge-409" => Before::JustPurged,
        "list-versions-200" => Before::Versions(2),
        "list-deleted-200" => Before::DeletedPage,
        "list-last-page-200" => Before::Page,
        "get-while-recovering-404" => Before::Recovering,
        "get-after-recovery-200" => Before::Recovered,
        "challenge-on-restore" => Before::NoToken,
        _ => return None,
    })
}
