//! `keyvault-backup backup`.

use std::sync::Arc;

use clap::Args;
use futures::{StreamExt as _, stream};
use serde_json::json;
use uuid::Uuid;

use super::{
    now,
    print::{End, Printer, table},
    remote, vaults,
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::{Error, ErrorKind, Result},
    jobs::{self, BackupRequest},
    json,
    model::{BackupId, Label, VaultName},
    operation::Attempts,
    report::Progress,
    repository::operation::{Operation, OperationKind},
};

/// Vaults backed up at once by one command.
const VAULTS_AT_ONCE: usize = 4;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keyvault-backup backup contoso-prod --label before-upgrade\n  \
    keyvault-backup backup --full            (every vault in BACKUP_VAULTS, every item read anew)")]
pub(super) struct BackUp {
    /// Names or URIs of vaults [default: all of BACKUP_VAULTS].
    vaults: Vec<String>,
    /// A name for the backup, by which it can be restored.
    #[arg(long, value_parser = Label::chosen)]
    label: Option<Label>,
    /// Read every item anew, also those that seem unchanged.
    #[arg(long)]
    full: bool,
}

impl BackUp {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let vaults = vaults(connections, &self.vaults)?;
        back_up(connections, vaults, self.label, self.full, printer).await
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let vaults = self.vaults.iter().map(|vault| app.name(vault)).collect::<Result<Vec<_>>>()?;
        let started = app.back_up(&vaults, self.label.as_ref(), &BackupRequest { full: self.full }).await?;
        let started = started.into_iter().map(|started| (started.operation.vault.clone(), Ok(started))).collect();
        let followed = remote::follow(app, started, "Backing up", printer).await?;
        let results: Vec<_> =
            followed.into_iter().map(|(vault, result)| (vault, result.map(|(operation, _)| operation))).collect();
        print(printer, &results);
        Ok(End::of_operations(results.iter().map(|(_, result)| result.as_ref())))
    }
}

async fn back_up(
    connections: &Connections,
    vaults: Vec<VaultName>,
    label: Option<Label>,
    full: bool,
    printer: &Printer,
) -> Result<End> {
    let repository = connections.repository(Role::Backup)?;
    let work = stream::iter(vaults)
        .map(|vault| {
            let (repository, label) = (&repository, label.clone());
            async move {
                let now = now();
                let request = json!(BackupRequest { full });
                let mut operation = Operation::new(Uuid::new_v4(), OperationKind::Backup, vault.clone(), request, now);
                operation.label = label;
                let progress = Arc::new(Progress::default());
                let bar = printer.progress(&format!("Backing up {vault}"), &progress);
                let result = async {
                    repository.create_operation(&operation).await?;
                    jobs::back_up(connections, operation, Attempts::Last, &progress, now).await
                }
                .await;
                bar.finish();
                (vault, result)
            }
        })
        .buffer_unordered(VAULTS_AT_ONCE)
        .collect::<Vec<(VaultName, Result<Operation>)>>();
    let results = tokio::select! {
        results = work => results,
        _ = tokio::signal::ctrl_c() => {
            let message = "Stopped. Backups that were finished stay; of the others nothing is to be seen. Give the command \
                           again; it may wait half a minute until the storage knows that this one has ended.";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
    };
    print(printer, &results);
    Ok(End::of_operations(results.iter().map(|(_, result)| result.as_ref())))
}

fn print(printer: &Printer, results: &[(VaultName, Result<Operation>)]) {
    if printer.json_by_vault(results, |_, operation| json::operation(operation)) {
        return;
    }
    let mut table = table(&["Vault", "Result", "Backup", "Items", "Read", "Unchanged", "Stale", "Missing"]);
    for (vault, result) in results {
        let Ok(operation) = result else {
            table.add_row([vault.as_str(), "Failed"]);
            continue;
        };
        let count = |name: &str| operation.counts.get(name).copied().unwrap_or_default();
        let items = count("keys") + count("secrets") + count("certificates");
        let result = if count("notNeeded") > 0 { "Not needed" } else { operation.status.as_str() };
        let backup = operation.backup_id.as_ref().map_or("", BackupId::as_str);
        let numbers = [items, count("read"), count("carriedOver"), count("stale"), count("missing")];
        let mut row = vec![vault.to_string(), result.to_owned(), backup.to_owned()];
        row.extend(numbers.iter().map(ToString::to_string));
        table.add_row(row);
    }
    printer.line(table);
    for (vault, result) in results {
        match result {
            Ok(operation) => {
                printer.troubles(operation);
                if operation.counts.contains_key(jobs::GUARD_DELETED) {
                    printer.complain(format!("{vault}: {}", operation.message.as_deref().unwrap_or_default()));
                }
            }
            Err(error) => printer.complain(format!("{vault}: {}", error.chain())),
        }
    }
}
