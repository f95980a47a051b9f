//! `keyvault-backup verify`.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::{
    known_rows, known_vaults,
    manual::Manual,
    now,
    print::{Cell, End, Printer, Work, status, table},
    remote,
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::{Error, ErrorKind, Result},
    jobs, json,
    model::{VaultName, counted, size, spoken},
    operation::Attempts,
    report::{Progress, Status},
    repository::{
        Repository,
        findings::{Finding, Findings},
        operation::{Operation, OperationKind},
    },
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("Every vault that has backups", "keyvault-backup verify"),
        (
            "What is damaged in one, for a script",
            "keyvault-backup verify contoso-prod --output json | jq '.value[].findings'",
        ),
    ],
    exits: &[
        (0, "all that is stored is sound"),
        (2, ""),
        (3, "some of the vaults could not be verified"),
        (4, "there is no backup to verify"),
        (5, ""),
        (6, ""),
        (7, "something that is stored is damaged"),
        (130, ""),
    ],
};

/// Check that every stored backup is sound.
///
/// It reads every stored blob once, in a stream, compares sizes and hashes, and says which backups need what is
/// damaged; the next backup reads those items anew. It asks no vault, and changes nothing but its own records. Give the
/// command again when it was stopped: it goes on where it was.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Names or URIs of vaults [default: all that have backups].
    #[arg(value_name = "VAULT")]
    vaults: Vec<String>,
}

/// A vault, and what was found there.
type Outcome = (VaultName, Result<(Operation, Option<Findings>)>);

impl Verify {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Backup)?;
        let vaults = self.vaults(connections, &repository).await?;
        printer.when_stopped("Nothing was changed. Give the same command again: it goes on where it was.");
        let mut outcomes = Vec::new();
        // One after the other: each uses all there is of bandwidth, and memory for one index.
        for vault in vaults {
            let result = verify(connections, &repository, &vault, printer).await;
            outcomes.push((vault, result));
        }
        Ok(told(printer, &outcomes))
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let rows = known_rows(app, &self.vaults).await?.into_iter();
        let are_named = !self.vaults.is_empty();
        let vaults: Vec<VaultName> = rows.filter(|row| are_named || row.backups > 0).map(|row| row.vault).collect();
        if vaults.is_empty() {
            return Err(nothing_to_verify(&app.describe()));
        }
        let mut started = Vec::new();
        for vault in vaults {
            let result = app.verify(&vault).await;
            started.push((vault, result));
        }
        let outcomes = remote::follow(app, started, "Verifying", printer).await?;
        Ok(told(printer, &outcomes))
    }

    async fn vaults(&self, connections: &Connections, repository: &Repository) -> Result<Vec<VaultName>> {
        if !self.vaults.is_empty() {
            return known_vaults(connections, repository, &self.vaults).await;
        }
        let vaults = repository.vaults().await?;
        if vaults.is_empty() {
            return Err(nothing_to_verify(&repository.describe()));
        }
        Ok(vaults)
    }
}

fn nothing_to_verify(place: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("There is no backup in {place}, so there is nothing to verify."))
}

/// Prints what was found, and says what it comes to.
fn told(printer: &Printer, outcomes: &[Outcome]) -> End {
    print(printer, outcomes);
    let is_damaged = |outcome: &Outcome| matches!(&outcome.1, Ok((_, Some(found))) if found.damage() > 0);
    if outcomes.iter().any(is_damaged) {
        printer.hint(
            "What to do next: back the vault up again, which reads anew what is damaged, while the vault still holds it. \
             Until then restore from a backup that is not named above.",
        );
        return End::DAMAGED;
    }
    End::of_operations(outcomes.iter().map(|(_, result)| result.as_ref().map(|(operation, _)| operation)))
}

async fn verify(
    connections: &Connections,
    repository: &Repository,
    vault: &VaultName,
    printer: &Printer,
) -> Result<(Operation, Option<Findings>)> {
    let now = now();
    let operation = Operation::new(Uuid::new_v4(), OperationKind::Verify, vault.clone(), json!({}), now);
    let progress = Arc::new(Progress::default());
    let bar = printer.begin(Work {
        title: format!("Verifying {vault}"),
        kind: OperationKind::Verify.as_str(),
        operation: Some(operation.id),
        vault,
        progress: &progress,
        pacing: None,
    });
    let result = async {
        repository.create_operation(&operation).await?;
        jobs::verify(connections, operation, Attempts::Last, &progress, now).await
    }
    .await;
    bar.finish();
    result
}

fn print(printer: &Printer, outcomes: &[Outcome]) {
    if printer.json_by_vault(outcomes, |_, (operation, found)| json::verification(operation, found.as_ref())) {
        return;
    }
    let mut vaults = table(&["Vault", "Result", "Backups", "Sound", "Blobs", "Size", "Damage", "Notes"]);
    for (vault, result) in outcomes {
        match result {
            Ok((operation, Some(found))) => {
                let notes = found.findings.iter().filter(|finding| !finding.is_damage()).count();
                let mut row: Vec<Cell> = vec![vault.as_str().into(), status(operation.status)];
                row.extend([found.backups, found.sound_backups, found.blobs].map(|count| count.to_string().into()));
                let damage = if found.damage() > 0 { Cell::bad(found.damage()) } else { "0".into() };
                row.extend([size(found.bytes).to_string().into(), damage, notes.to_string().into()]);
                vaults.add_row(row);
            }
            _ => vaults.add_row([vault.as_str().into(), status(Status::Failed)]),
        }
    }
    printer.table(vaults);
    let found: Vec<&Findings> = outcomes.iter().filter_map(|(_, result)| result.as_ref().ok()?.1.as_ref()).collect();
    if found.iter().any(|found| !found.findings.is_empty()) {
        let mut findings = table(&["Finding", "Vault", "Item", "Backups", "Blob"]);
        for found in &found {
            for finding in &found.findings {
                let Finding { item, backups, blob, .. } = finding;
                let words = spoken(finding.finding.as_str());
                findings.add_row([
                    if finding.is_damage() { Cell::bad(words) } else { words.into() },
                    found.vault.as_str().into(),
                    item.as_ref().map(ToString::to_string).unwrap_or_default().into(),
                    backups.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").into(),
                    blob.as_str().into(),
                ]);
            }
        }
        printer.table(findings);
    }
    for (vault, result) in outcomes {
        match result {
            Ok((_, Some(found))) => {
                found.findings.iter().for_each(|finding| printer.complain(&finding.message));
                if found.more_damage > 0 {
                    printer
                        .complain(format!("{vault}: there is damage in {}.", counted(found.more_damage, "more place")));
                }
            }
            Ok((operation, None)) => printer.troubles(operation),
            Err(error) => printer.complain(format!("{vault}: {}", error.chain())),
        }
    }
}
