//! `keyvault-backup backup`.

use std::sync::Arc;

use clap::Args;
use futures::{StreamExt as _, stream};
use serde_json::json;
use uuid::Uuid;

use super::{
    manual::Manual,
    meant_vault, now,
    print::{Cell, End, Printer, Work, status, table},
    remote, vaults,
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::Result,
    jobs::{self, BackupRequest},
    json,
    model::{BackupId, Label, VaultName, counted},
    operation::Attempts,
    report::{Progress, Status},
    repository::operation::{Operation, OperationKind},
};

/// Vaults backed up at once by one command.
const VAULTS_AT_ONCE: usize = 4;

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("Before a risky change, under a name", "keyvault-backup backup contoso-prod --label before-upgrade"),
        ("Every vault in BACKUP_VAULTS, every item read anew", "keyvault-backup backup --full"),
        ("Two vaults", "keyvault-backup backup contoso-prod contoso-test"),
    ],
    exits: &[
        (0, "everything was backed up, or somebody else was just doing so"),
        (1, "it failed: a vault refuses for good"),
        (2, ""),
        (3, "backed up in part: something is stale or missing, or some of the vaults failed"),
        (4, "there is no vault of that name"),
        (5, ""),
        (6, ""),
        (7, "the newest backup is from a newer release: use that release"),
        (130, ""),
    ],
};

/// Back up vaults now.
///
/// For a backup beside the schedule: before a risky change, or when the Functions app is gone. It reads only what has
/// changed since the newest backup, and yet every backup is complete in itself. What cannot be read keeps its previous
/// copy, marked as stale with the reason. Stopped in the midst of it, it leaves no half backup.
#[derive(Debug, Args)]
pub(super) struct BackUp {
    /// Names or URIs of vaults [default: all of BACKUP_VAULTS].
    #[arg(value_name = "VAULT")]
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
    printer
        .when_stopped("Backups that are done stay; of the others nothing is to be seen. Give the same command again.");
    let results: Vec<(VaultName, Result<Operation>)> = stream::iter(vaults)
        .map(|vault| {
            let (repository, label) = (&repository, label.clone());
            async move {
                let now = now();
                let request = json!(BackupRequest { full });
                let mut operation = Operation::new(Uuid::new_v4(), OperationKind::Backup, vault.clone(), request, now);
                operation.label = label;
                let progress = Arc::new(Progress::default());
                let bar = printer.begin(Work {
                    title: format!("Backing up {vault}"),
                    kind: OperationKind::Backup.as_str(),
                    operation: Some(operation.id),
                    vault: &vault,
                    progress: &progress,
                    pacing: Some(connections.pacing(&vault)),
                });
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
        .then(|(vault, mut result)| {
            let repository = &repository;
            async move {
                if let Ok(Operation { status: Status::Failed, problems, .. }) = &mut result {
                    let meant = meant_vault(connections, repository, &vault).await;
                    if let (Some(problem), false) = (problems.first_mut(), meant.is_empty()) {
                        let end = if problem.message.ends_with('.') { "" } else { "." };
                        problem.message = format!("{}{end}{meant}", problem.message);
                    }
                }
                (vault, result)
            }
        })
        .collect()
        .await;
    print(printer, &results);
    let end = End::of_operations(results.iter().map(|(_, result)| result.as_ref()));
    if end != End::GOOD {
        printer.hint(
            "What to do next: put right what is named above, then give the same command again; what is stored is not read \
             again.",
        );
    }
    Ok(end)
}

/// A backup that holds nothing because nothing was wanted is whole, and hardly what somebody wanted.
fn complain_of_patterns(printer: &Printer, vault: &VaultName, operation: &Operation) {
    let count = |name: &str| operation.counts.get(name).copied().unwrap_or_default();
    let is_empty = ["keys", "secrets", "certificates"].iter().all(|kind| count(kind) == 0);
    if is_empty && count("filteredOut") > 0 {
        printer.complain(format!(
            "{vault}: the backup holds nothing, because BACKUP_ITEMS leaves out all that is there ({}). Correct the \
             patterns, and back the vault up again.",
            counted(count("filteredOut"), "item")
        ));
    }
}

fn print(printer: &Printer, results: &[(VaultName, Result<Operation>)]) {
    if printer.json_by_vault(results, |_, operation| json!(json::operation(operation))) {
        return;
    }
    let mut table = table(&["Vault", "Result", "Backup", "Items", "Read", "Unchanged", "Stale", "Missing"]);
    for (vault, result) in results {
        let Ok(operation) = result else {
            table.add_row([Cell::from(vault.as_str()), status(Status::Failed)]);
            continue;
        };
        let count = |name: &str| operation.counts.get(name).copied().unwrap_or_default();
        let items = count("keys") + count("secrets") + count("certificates");
        let result = if count("notNeeded") > 0 { "Not needed".into() } else { status(operation.status) };
        let backup = operation.backup_id.as_ref().map_or("", BackupId::as_str);
        let mut row = vec![vault.as_str().into(), result, backup.into()];
        row.extend([items, count("read"), count("carriedOver")].map(|count| count.to_string().into()));
        row.extend([count("stale"), count("missing")].map(Cell::none_is_good));
        table.add_row(row);
    }
    printer.table(table);
    for (vault, result) in results {
        match result {
            Ok(operation) => {
                printer.troubles(operation);
                complain_of_patterns(printer, vault, operation);
                if operation.counts.contains_key(jobs::GUARD_DELETED) {
                    printer.complain(format!("{vault}: {}", operation.message.as_deref().unwrap_or_default()));
                }
            }
            Err(error) => printer.complain(format!("{vault}: {}", error.chain())),
        }
    }
}
