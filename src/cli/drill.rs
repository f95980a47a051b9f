//! `keyvault-backup drill`.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::{
    manual::Manual,
    name, now,
    print::{End, Printer, Work, duration, table},
    remote,
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::{Error, Result},
    jobs::{self, DrillRequest},
    json,
    operation::Attempts,
    report::Progress,
    repository::{
        Selector,
        operation::{Operation, OperationKind},
    },
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("The newest backup, all of it", "keyvault-backup drill contoso-prod --into contoso-drill"),
        ("Fifty of its items, into DRILL_VAULT", "keyvault-backup drill contoso-prod --sample 50"),
        (
            "How long a recovery takes, for a script",
            "keyvault-backup drill contoso-prod --yes --output json | jq .drill.recoverySeconds",
        ),
    ],
    exits: &[
        (0, "every item came back as it was backed up"),
        (1, "it failed: the drill vault is not empty, or nothing came back"),
        (2, ""),
        (3, "some items did not come back, or could not be removed again"),
        (4, "the backup was not found"),
        (5, ""),
        (6, ""),
        (7, ""),
        (130, ""),
    ],
};

/// Restore the newest backup into an empty vault, compare, and remove it there again.
///
/// The proof that backups can be restored, and how long that takes. The vault holds nothing else; what the drill
/// restores there it deletes and purges, and nothing more. The evidence is kept as an operation.
#[derive(Debug, Args)]
pub(super) struct Drill {
    /// The vault whose backup it is.
    vault: String,
    /// latest, an id, a label, or a time or date (UTC): then the newest backup that was complete then.
    #[arg(long, default_value = "latest")]
    backup: String,
    /// An empty vault that holds nothing else. What is restored there is deleted and purged again
    /// [default: DRILL_VAULT].
    #[arg(long, value_name = "VAULT")]
    into: Option<String>,
    /// How many items, chosen at random [default: DRILL_SAMPLE, else all].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Do it without asking. A script needs it: where nobody can be asked, it is refused.
    #[arg(long, short)]
    yes: bool,
}

impl Drill {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let vault = name(connections, &self.vault)?;
        let into = self.into.as_deref().map(|into| name(connections, into)).transpose()?;
        let into = into.or_else(|| connections.config().drill_vault.clone());
        let target = jobs::check_drill_vault(connections, into.as_ref())?.clone();
        printer.needs_yes(self.yes, &format!("A drill deletes and purges what it has restored into vault {target}"))?;
        let repository = connections.repository(Role::Restore)?;
        // A backup that does not exist is a mistake of the command, not an operation that fails.
        let backup = repository.find_named(&vault, &self.backup).await?;
        if !self.yes {
            let items = repository.header(&backup).await?.counts.items();
            let sample = self.sample.map(|size| size as usize).or(connections.config().drill_sample);
            let items = match sample {
                Some(sample) if (sample as u64) < items => format!("{sample} of {items} items are"),
                _ if items == 1 => "its only item is".to_owned(),
                _ => format!("all {items} items are"),
            };
            let summary = format!(
                "Backup {backup} of vault {vault}: {items} restored into vault {target}, compared, and deleted and \
                 purged there again. A drill refuses a vault that holds anything else."
            );
            if !printer.confirm(&[summary], "Drill?").await {
                return Ok(printer.declined());
            }
        }

        let now = now();
        let request = DrillRequest { backup: self.backup, sample: self.sample.map(|size| size as usize) };
        let mut operation = Operation::new(Uuid::new_v4(), OperationKind::Drill, vault, json!(request), now);
        operation.target_vault = Some(target.clone());
        repository.create_operation(&operation).await?;
        let progress = Arc::new(Progress::default());
        printer.when_stopped(format!(
            "What was restored may still be in vault {target}; the next drill into it removes that first."
        ));
        let bar = printer.begin(Work {
            title: format!("Drilling in {target}"),
            kind: OperationKind::Drill.as_str(),
            operation: Some(operation.id),
            vault: &target,
            progress: &progress,
            pacing: Some(connections.pacing(&target)),
        });
        let result = jobs::drill(connections, operation, Attempts::Last, &progress, now).await;
        bar.finish();
        let operation = result?;
        print(printer, &operation)?;
        let end = End::of_operations([Ok(&operation)]);
        if end != End::GOOD {
            printer.hint(
                "What to do next: put right what is named above, then drill again: what this drill may have left is removed \
                 first.",
            );
        }
        Ok(end)
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        if self.into.is_some() {
            let message = "The app drills in its own DRILL_VAULT and nowhere else, because a drill deletes what it has \
                           restored. Leave --into out, or run the command without --app.";
            return Err(Error::invalid("into", message));
        }
        printer.needs_yes(self.yes, "A drill deletes and purges what it has restored into the app's drill vault")?;
        let vault = app.name(&self.vault)?;
        if !self.yes {
            let summary = format!(
                "Backup {} of vault {vault} is restored into the app's DRILL_VAULT, all of it or a sample, compared, and \
                 deleted and purged there again. A drill refuses a vault that holds anything else.",
                self.backup
            );
            if !printer.confirm(&[summary], "Drill?").await {
                return Ok(printer.declined());
            }
        }
        let selector: Selector = self.backup.parse()?;
        let request = DrillRequest { backup: selector.to_string(), sample: self.sample.map(|size| size as usize) };
        let started = app.drill(&vault, &request).await?;
        let (operation, _) = remote::follow_one(app, started, "Drilling with", printer).await?;
        print(printer, &operation)?;
        Ok(End::of_operations([Ok(&operation)]))
    }
}

fn print(printer: &Printer, operation: &Operation) -> Result<()> {
    if printer.is_json() {
        return printer.json_body(&json::operation(operation));
    }
    if let Some(measured) = &operation.drill {
        let mut table = table(&["Step", "Time"]);
        let steps = [
            ("Plan", measured.plan_seconds),
            ("Restore", measured.restore_seconds),
            ("Compare", measured.compare_seconds),
            ("Clean up", measured.clean_up_seconds),
        ];
        for (step, seconds) in steps {
            table.add_row([step.to_owned(), duration(seconds)]);
        }
        printer.table(table);
    }
    printer.line(format!("{}: {}", operation.status, operation.message.as_deref().unwrap_or_default()));
    printer.troubles(operation);
    Ok(())
}
