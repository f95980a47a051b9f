//! `keyvault-backup restore`.

use std::{sync::Arc, time::Duration};

use clap::Args;
use indicatif::HumanDuration;
use serde_json::json;
use uuid::Uuid;

use super::{
    listing, name, now,
    print::{End, Printer},
};
use crate::{
    config::connect::{Connections, Role},
    error::{Error, ErrorKind, Result},
    jobs::{self, RestoreRequest},
    json,
    operation::{Attempts, abandoned},
    report::{ItemReport, Progress},
    repository::operation::{Operation, OperationKind},
    restore::{Action, OnConflict, OnDeleted, Plan, Step},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keyvault-backup restore contoso-prod --to contoso-dr --dry-run\n  \
    keyvault-backup restore contoso-prod --to contoso-prod --items secrets/db-password\n  \
    keyvault-backup restore contoso-prod --to contoso-dr --backup 2026-11-21T02:00:00Z")]
pub(super) struct Restore {
    /// The vault whose backup it is.
    vault: String,
    /// The vault to restore into; RESTORE_TARGET_VAULTS must name it.
    #[arg(long, value_name = "VAULT")]
    to: String,
    /// latest, an id, a label, or a time: then the newest backup that was complete at that time.
    #[arg(long, default_value = "latest")]
    backup: String,
    /// Patterns of items such as secrets/db-* or !keys/tmp-* [default: all].
    #[arg(long, value_name = "PATTERN", num_args = 1.., value_delimiter = ',')]
    items: Vec<String>,
    /// When another item or version of that name is in the target: skip it, fail before anything is restored, or
    /// replace it after keeping a safety copy.
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    on_conflict: OnConflict,
    /// When the name is held by a deleted item: recover it, fail before anything is restored, or purge it after
    /// keeping a safety copy.
    #[arg(long, value_name = "WHAT", default_value = "recover")]
    on_deleted: OnDeleted,
    /// Show what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// The id of an interrupted restore, to go on with it.
    #[arg(long, value_name = "ID")]
    resume: Option<Uuid>,
    /// Show every item, also when they are many.
    #[arg(long)]
    all_rows: bool,
}

impl Restore {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let Self { vault, to, backup, items, on_conflict, on_deleted, dry_run, resume, all_rows } = self;
        let (vault, target_vault) = (name(connections, &vault)?, name(connections, &to)?);
        let request = RestoreRequest { vault, backup, target_vault, items, on_conflict, on_deleted };
        restore(connections, request, dry_run, resume, all_rows, printer).await
    }
}

async fn restore(
    connections: &Connections,
    request: RestoreRequest,
    dry_run: bool,
    resume: Option<Uuid>,
    all_rows: bool,
    printer: &Printer,
) -> Result<End> {
    connections.config().check_restore_target(&request.target_vault)?;
    let warnings = jobs::restore_warnings(connections, &request).await;
    if dry_run {
        let plan = jobs::plan_restore(connections, &request).await?;
        print_plan(printer, &plan, &warnings, all_rows)?;
        warnings.iter().for_each(|warning| printer.complain(warning));
        return Ok(End::GOOD);
    }
    // That is a mistake of the command, not an operation that fails.
    jobs::check_restore(connections, &request).await?;
    warnings.iter().for_each(|warning| printer.complain(warning));
    let repository = connections.repository(Role::Restore)?;
    let now = now();
    let mut operation = Operation::new(
        resume.unwrap_or_else(Uuid::new_v4),
        OperationKind::Restore,
        request.vault.clone(),
        json!(request),
        now,
    );
    operation.target_vault = Some(request.target_vault.clone());
    if let Some(known) = repository.create_operation(&operation).await? {
        if known.request != operation.request {
            let message = format!("Operation {} is not this restore. Repeat the command that began it.", operation.id);
            return Err(Error::invalid("--resume", message));
        }
        operation = known;
    }
    if !operation.status.is_final() || abandoned::is_given_up(&operation) {
        let id = operation.id;
        let progress = Arc::new(Progress::default());
        let bar = printer.progress(&format!("Restoring into {}", request.target_vault), &progress);
        let work = jobs::restore(connections, operation, Attempts::Last, &progress, now);
        let result = tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => {
                let message = format!(
                    "Stopped. What was restored stays; go on with the same command and --resume {id}."
                );
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        };
        bar.finish();
        operation = result?;
    }
    print(printer, &operation, all_rows)?;
    Ok(End::of_operations([Ok(&operation)]))
}

fn print(printer: &Printer, operation: &Operation, all_rows: bool) -> Result<()> {
    if printer.is_json() {
        return printer.json_body(&json::operation(operation));
    }
    let rows = operation.items.iter().map(|report| {
        let ItemReport { item, outcome, version, problem } = report?;
        let row = [item.to_string(), outcome.as_str().to_owned(), version.map(String::from).unwrap_or_default()];
        Ok((!outcome.is_good() || problem.is_some(), row))
    });
    listing::print(printer, ["Item", "Result", "Version"], operation.items.len(), rows, all_rows)?;
    printer.line(format!("{}: {}", operation.status, operation.message.as_deref().unwrap_or_default()));
    printer.troubles(operation);
    Ok(())
}

fn print_plan(printer: &Printer, plan: &Plan, warnings: &[String], all_rows: bool) -> Result<()> {
    if printer.is_json() {
        return printer.json_body(&json::plan(plan, warnings)?);
    }
    let rows = plan.steps.iter().map(|step| {
        let Step { item, action, version, reason } = step?;
        let is_plain = matches!(action, Action::Restore | Action::AlreadyPresent) && reason.is_none();
        let row = [item.to_string(), action.as_str().to_owned(), version.into(), reason.unwrap_or_default()];
        Ok((!is_plain, row))
    });
    listing::print(printer, ["Item", "Action", "Version", "Why"], plan.steps.len(), rows, all_rows)?;
    let counts = plan.counts()?;
    let count = |action| counts.get(&action).copied().unwrap_or_default();
    printer.line(format!(
        "Backup {} of vault {} into vault {}: {} to restore, {} to recover, {} to replace, {} present, {} skipped, {} blocked. \
         It takes about {}. Nothing was changed.",
        plan.backup_id,
        plan.vault,
        plan.target_vault,
        count(Action::Restore),
        count(Action::Recover),
        count(Action::Replace),
        count(Action::AlreadyPresent),
        count(Action::Skip),
        count(Action::Blocked),
        HumanDuration(Duration::from_secs(plan.estimated_seconds))
    ));
    Ok(())
}
