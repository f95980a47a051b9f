//! `keyvault-backup verify`.

use std::sync::Arc;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;
use uuid::Uuid;

use super::{
    name, now,
    print::{End, Printer, table},
    remote,
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::{Error, ErrorKind, Result},
    jobs, json,
    model::VaultName,
    operation::Attempts,
    report::Progress,
    repository::{
        Repository,
        findings::{Finding, Findings},
        operation::{Operation, OperationKind},
    },
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keyvault-backup verify                   (every vault that has backups)\n  \
    keyvault-backup verify contoso-prod --output json\n\n\
    Reads every stored blob once, in a stream, and changes nothing but its own records. Give the command again\n\
    when it was stopped: it goes on where it was.")]
pub(super) struct Verify {
    /// Names or URIs of vaults [default: all that have backups].
    vaults: Vec<String>,
}

/// A vault, and what was found there.
type Outcome = (VaultName, Result<(Operation, Option<Findings>)>);

impl Verify {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Backup)?;
        let vaults = self.vaults(connections, &repository).await?;
        let work = async {
            let mut outcomes = Vec::new();
            // One after the other: each uses all there is of bandwidth, and memory for one index.
            for vault in vaults {
                let result = verify(connections, &repository, &vault, printer).await;
                outcomes.push((vault, result));
            }
            outcomes
        };
        let outcomes = tokio::select! {
            outcomes = work => outcomes,
            _ = tokio::signal::ctrl_c() => {
                let message = "Stopped. Nothing was changed. Give the command again: it goes on where it was.";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        };
        Ok(told(printer, &outcomes))
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let mut vaults = self.vaults.iter().map(|vault| app.name(vault)).collect::<Result<Vec<_>>>()?;
        if vaults.is_empty() {
            vaults = app.vaults(&[]).await?.into_iter().filter(|row| row.backups > 0).map(|row| row.vault).collect();
        }
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
            return self.vaults.iter().map(|vault| name(connections, vault)).collect();
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
    let bar = printer.progress(&format!("Verifying {vault}"), &progress);
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
                let mut row = vec![vault.to_string(), operation.status.to_string()];
                row.extend([found.backups, found.sound_backups, found.blobs].map(|count| count.to_string()));
                row.extend([HumanBytes(found.bytes).to_string(), found.damage().to_string(), notes.to_string()]);
                vaults.add_row(row);
            }
            _ => drop(vaults.add_row([vault.as_str(), "Failed"])),
        }
    }
    printer.line(vaults);
    let found: Vec<&Findings> = outcomes.iter().filter_map(|(_, result)| result.as_ref().ok()?.1.as_ref()).collect();
    if found.iter().any(|found| !found.findings.is_empty()) {
        let mut findings = table(&["Finding", "Vault", "Item", "Backups", "Blob"]);
        for found in &found {
            for finding in &found.findings {
                let Finding { item, backups, blob, .. } = finding;
                findings.add_row([
                    finding.finding.as_str().to_owned(),
                    found.vault.to_string(),
                    item.as_ref().map(ToString::to_string).unwrap_or_default(),
                    backups.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
                    blob.clone(),
                ]);
            }
        }
        printer.line(findings);
    }
    for (vault, result) in outcomes {
        match result {
            Ok((_, Some(found))) => {
                found.findings.iter().for_each(|finding| printer.complain(&finding.message));
                if found.more_damage > 0 {
                    printer.complain(format!("{vault}: there is damage in {} more places.", found.more_damage));
                }
            }
            Ok((operation, None)) => printer.troubles(operation),
            Err(error) => printer.complain(format!("{vault}: {}", error.chain())),
        }
    }
}
