//! `keyvault-backup drill`.

use std::sync::Arc;

use clap::Args;
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
    jobs::{self, DrillRequest},
    json,
    operation::Attempts,
    report::Progress,
    repository::{
        Selector,
        operation::{Operation, OperationKind},
    },
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keyvault-backup drill contoso-prod --into contoso-drill\n  \
    keyvault-backup drill contoso-prod --sample 50        (into DRILL_VAULT)\n  \
    keyvault-backup drill contoso-prod --backup before-upgrade --output json")]
pub(super) struct Drill {
    /// The vault whose backup it is.
    vault: String,
    /// latest, an id, a label, or a time: then the newest backup that was complete at that time.
    #[arg(long, default_value = "latest")]
    backup: String,
    /// An empty vault that holds nothing else. What is restored there is deleted and purged again
    /// [default: DRILL_VAULT].
    #[arg(long, value_name = "VAULT")]
    into: Option<String>,
    /// How many items, chosen at random [default: DRILL_SAMPLE, else all].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
}

impl Drill {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let vault = name(connections, &self.vault)?;
        let into = self.into.as_deref().map(|into| name(connections, into)).transpose()?;
        let into = into.or_else(|| connections.config().drill_vault.clone());
        let target = jobs::check_drill_vault(connections, into.as_ref())?.clone();
        let repository = connections.repository(Role::Restore)?;
        // A backup that does not exist is a mistake of the command, not an operation that fails.
        let selector: Selector = self.backup.parse()?;
        repository.find(&vault, &selector).await?;

        let now = now();
        let request = DrillRequest { backup: self.backup, sample: self.sample.map(|size| size as usize) };
        let mut operation = Operation::new(Uuid::new_v4(), OperationKind::Drill, vault, json!(request), now);
        operation.target_vault = Some(target.clone());
        repository.create_operation(&operation).await?;
        let progress = Arc::new(Progress::default());
        let bar = printer.progress(&format!("Drilling in {target}"), &progress);
        let work = jobs::drill(connections, operation, Attempts::Last, &progress, now);
        let result = tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => {
                let message = format!(
                    "Stopped. What was restored may still be in vault {target}; the next drill into it removes that first."
                );
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        };
        bar.finish();
        let operation = result?;
        print(printer, &operation);
        Ok(End::of_operations([Ok(&operation)]))
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        if self.into.is_some() {
            let message = "The app drills in its own DRILL_VAULT and nowhere else, because a drill deletes what it has \
                           restored. Leave --into out, or run the command without --app.";
            return Err(Error::invalid("into", message));
        }
        let selector: Selector = self.backup.parse()?;
        let request = DrillRequest { backup: selector.to_string(), sample: self.sample.map(|size| size as usize) };
        let started = app.drill(&app.name(&self.vault)?, &request).await?;
        let (operation, _) = remote::follow_one(app, started, "Drilling with", printer).await?;
        print(printer, &operation);
        Ok(End::of_operations([Ok(&operation)]))
    }
}

fn print(printer: &Printer, operation: &Operation) {
    if printer.is_json() {
        printer.json(&json::operation(operation));
        return;
    }
    if let Some(measured) = &operation.drill {
        let mut table = table(&["Step", "Seconds"]);
        let steps = [
            ("Plan", measured.plan_seconds),
            ("Restore", measured.restore_seconds),
            ("Compare", measured.compare_seconds),
            ("Clean up", measured.clean_up_seconds),
        ];
        for (step, seconds) in steps {
            table.add_row([step.to_owned(), seconds.to_string()]);
        }
        printer.line(table);
    }
    printer.line(format!("{}: {}", operation.status, operation.message.as_deref().unwrap_or_default()));
    printer.troubles(operation);
}
