//! `keyvault-backup operations`.

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    listing,
    manual::Manual,
    now, operation_id,
    print::{Cell, End, Printer, Work, status, table},
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::Result,
    json,
    model::counted,
    operation::abandoned::seen_at,
    report::Progress,
    repository::operation::Operation,
};

/// How often an operation is looked at: its record is written as often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("The newest operations", "keyvault-backup operations"),
        ("One of them, with its items", "keyvault-backup operations 0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01"),
        ("Wait until it has ended", "keyvault-backup operations 0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01 --follow"),
    ],
    exits: &[
        (0, "what was asked for was shown; of one operation: everything was done, or it goes on"),
        (1, "the operation failed"),
        (2, ""),
        (3, "the operation was done in part"),
        (4, "there is no operation of that id"),
        (5, ""),
        (6, ""),
        (7, ""),
        (130, ""),
    ],
};

/// Show what was started, and how it stands.
///
/// Backups, restores, verifications and drills leave a record, whoever started them: the timer, the HTTP API or a
/// command. Without an id it lists the newest ones.
#[derive(Debug, Args)]
pub(super) struct Operations {
    /// The id of one operation, to see its items [default: the newest operations].
    #[arg(value_name = "ID", value_parser = operation_id)]
    id: Option<Uuid>,
    /// How many of the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    newest: u16,
    /// Wait until it has ended.
    #[arg(long, requires = "id")]
    follow: bool,
    /// Show every item, also when they are many.
    #[arg(long, requires = "id")]
    all_rows: bool,
}

impl Operations {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Restore)?;
        let Some(id) = self.id else {
            let (operations, _) = repository.operations(None, usize::from(self.newest)).await?;
            let now = now();
            let operations: Vec<Operation> = operations.into_iter().map(|operation| seen_at(operation, now)).collect();
            print_all(printer, &operations);
            return Ok(End::GOOD);
        };
        let look = async || Ok(seen_at(repository.operation(id).await?, now()));
        self.show(look, printer).await
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let Some(id) = self.id else {
            print_all(printer, &app.operations(usize::from(self.newest)).await?);
            return Ok(End::GOOD);
        };
        self.show(async || app.operation(id).await.map(|(operation, _)| operation), printer).await
    }

    async fn show(&self, look: impl AsyncFn() -> Result<Operation>, printer: &Printer) -> Result<End> {
        let mut operation = look().await?;
        if self.follow && !operation.status.is_final() {
            let progress = Arc::new(Progress::default());
            printer.when_stopped(format!("It goes on. See how it stands: keyvault-backup operations {}", operation.id));
            let bar = printer.begin(Work {
                title: format!("Following {} of {}", operation.kind.as_str(), operation.vault),
                kind: operation.kind.as_str(),
                operation: Some(operation.id),
                vault: &operation.vault,
                progress: &progress,
                pacing: None,
            });
            while !operation.status.is_final() {
                progress.show(operation.progress);
                tokio::time::sleep(LOOK_EVERY).await;
                operation = look().await?;
            }
            bar.finish();
        }
        print(printer, &operation, self.all_rows)?;
        // One that goes on has not failed.
        Ok(if operation.status.is_final() { End::of_operations([Ok(&operation)]) } else { End::GOOD })
    }
}

fn print_all(printer: &Printer, operations: &[Operation]) {
    if printer.is_json() {
        let value: Vec<Value> = operations.iter().map(json::operation_summary).collect();
        printer.json(&json!({ "value": value }));
        return;
    }
    if operations.is_empty() {
        printer.line("There are no operations yet. Begin with: keyvault-backup backup VAULT");
        return;
    }
    let mut table = table(&["Operation", "What", "Vault", "Status", "Items", "Asked for"]);
    for operation in operations {
        let Operation { id, kind, status: stands, progress, created_at, .. } = operation;
        table.add_row([
            Cell::from(id.to_string()),
            kind.as_str().into(),
            vaults(operation).into(),
            status(*stands),
            format!("{} of {}", progress.done, progress.total).into(),
            printer.time(*created_at).into(),
        ]);
    }
    printer.table(table);
}

fn vaults(operation: &Operation) -> String {
    match &operation.target_vault {
        Some(target) => format!("{} → {target}", operation.vault),
        None => operation.vault.to_string(),
    }
}

fn print(printer: &Printer, operation: &Operation, all_rows: bool) -> Result<()> {
    if printer.is_json() {
        return printer.json_body(&json::operation(operation));
    }
    listing::outcomes(printer, &operation.items, all_rows)?;
    let Operation { kind, status, progress, created_at, .. } = operation;
    let message = operation.message.as_deref().unwrap_or("Nothing is known of its end yet.");
    printer.line(format!(
        "{status}: {} of {}, asked for at {}, {} of {} dealt with. {message}",
        kind.as_str(),
        vaults(operation),
        printer.time(*created_at),
        progress.done,
        counted(progress.total, "item")
    ));
    printer.troubles(operation);
    Ok(())
}
