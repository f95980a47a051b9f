//! `keyvault-backup operations`.

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    now,
    print::{End, Printer, table},
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::Result,
    json,
    operation::abandoned::seen_at,
    report::Progress,
    repository::operation::Operation,
};

/// How often an operation is looked at: its record is written as often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keyvault-backup operations\n  \
    keyvault-backup operations 0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01\n  \
    keyvault-backup operations 0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01 --follow")]
pub(super) struct Operations {
    /// The id of one operation, to see its items [default: the newest operations].
    id: Option<Uuid>,
    /// How many of the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    newest: u16,
    /// Wait until it has ended.
    #[arg(long, requires = "id")]
    follow: bool,
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
            let bar =
                printer.progress(&format!("Following {} of {}", operation.kind.as_str(), operation.vault), &progress);
            while !operation.status.is_final() {
                progress.show(operation.progress);
                tokio::time::sleep(LOOK_EVERY).await;
                operation = look().await?;
            }
            bar.finish();
        }
        print(printer, &operation);
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
        let Operation { id, kind, status, progress, created_at, .. } = operation;
        table.add_row([
            id.to_string(),
            kind.as_str().to_owned(),
            vaults(operation),
            status.to_string(),
            format!("{} of {}", progress.done, progress.total),
            created_at.to_string(),
        ]);
    }
    printer.line(table);
}

fn vaults(operation: &Operation) -> String {
    match &operation.target_vault {
        Some(target) => format!("{} → {target}", operation.vault),
        None => operation.vault.to_string(),
    }
}

fn print(printer: &Printer, operation: &Operation) {
    if printer.is_json() {
        printer.json(&json::operation(operation));
        return;
    }
    if !operation.items.is_empty() {
        let mut table = table(&["Item", "Result", "Version"]);
        for report in &operation.items {
            let version = report.version.as_deref().unwrap_or_default();
            table.add_row([&report.item.to_string(), report.outcome.as_str(), version]);
        }
        printer.line(table);
    }
    let Operation { kind, status, progress, created_at, .. } = operation;
    let message = operation.message.as_deref().unwrap_or("Nothing is known of its end yet.");
    printer.line(format!(
        "{status}: {} of {}, asked for at {created_at}, {} of {} items dealt with. {message}",
        kind.as_str(),
        vaults(operation),
        progress.done,
        progress.total
    ));
    printer.troubles(operation);
}
