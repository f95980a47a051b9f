//! `keyvault-backup restore`.

use std::{sync::Arc, time::Duration};

use clap::Args;
use indicatif::HumanDuration;
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
    jobs::{self, RestoreRequest},
    json,
    model::BackupId,
    operation::{Attempts, abandoned},
    report::Progress,
    repository::{
        Repository,
        manifest::{Guard, Header},
        operation::{Operation, OperationKind},
    },
    restore::{Action, OnConflict, OnDeleted, Plan},
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
}

impl Restore {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let Self { vault, to, backup, items, on_conflict, on_deleted, dry_run, resume } = self;
        let (vault, target_vault) = (name(connections, &vault)?, name(connections, &to)?);
        let request = RestoreRequest { vault, backup, target_vault, items, on_conflict, on_deleted };
        restore(connections, request, dry_run, resume, printer).await
    }

    /// With `--resume` it finds the restore that was started under that id; the app goes on with it by itself.
    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let Self { vault, to, backup, items, on_conflict, on_deleted, dry_run, resume } = self;
        let (vault, target_vault) = (app.name(&vault)?, app.name(&to)?);
        let request = RestoreRequest { vault, backup, target_vault, items, on_conflict, on_deleted };
        if dry_run {
            print_plan(printer, &app.plan_restore(&request).await?);
            warn_of_losses_by(app, &request, printer).await;
            return Ok(End::GOOD);
        }
        let started = app.restore(resume.unwrap_or_else(Uuid::new_v4), &request).await?;
        warn_of_losses_by(app, &request, printer).await;
        let (operation, _) = remote::follow_one(app, started, "Restoring into", printer).await?;
        print(printer, &operation);
        Ok(End::of_operations([Ok(&operation)]))
    }
}

async fn restore(
    connections: &Connections,
    request: RestoreRequest,
    dry_run: bool,
    resume: Option<Uuid>,
    printer: &Printer,
) -> Result<End> {
    connections.config().check_restore_target(&request.target_vault)?;
    let repository = connections.repository(Role::Restore)?;
    if dry_run {
        let plan = jobs::plan_restore(connections, &request).await?;
        print_plan(printer, &plan);
        warn_of_losses(&repository, &request, printer).await;
        return Ok(End::GOOD);
    }
    // That is a mistake of the command, not an operation that fails.
    jobs::check_restore(connections, &request).await?;
    warn_of_losses(&repository, &request, printer).await;
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
    print(printer, &operation);
    Ok(End::of_operations([Ok(&operation)]))
}

/// After a disaster, `latest` is a backup of what was left: says so, and which one holds what is gone. Why a backup cannot
/// be read is told by the restore itself.
async fn warn_of_losses(repository: &Repository, request: &RestoreRequest, printer: &Printer) {
    let look = async {
        let header = repository.header(&repository.find(&request.vault, &request.backup.parse()?).await?).await?;
        let Some(guard) = header.guard else { return Ok(None) };
        let meant = repository.is_acknowledged(&request.vault, &guard).await?;
        Ok::<_, Error>((!meant).then_some((header.backup_id, guard)))
    };
    if let Ok(Some((backup, guard))) = look.await {
        tell_of_losses(&backup, &guard, printer);
    }
}

/// The same of a backup that the app restores: its guard is up no more once somebody has acknowledged it.
async fn warn_of_losses_by(app: &App, request: &RestoreRequest, printer: &Printer) {
    let look = async {
        let header = app.header(&request.vault, &request.backup).await?;
        let up = if header.guard.is_some() { app.guard(&request.vault).await? } else { None };
        Ok::<_, Error>((header, up))
    };
    if let Ok((Header { backup_id, guard: Some(guard), .. }, Some(up))) = look.await
        && guard.tripped_by == up.tripped_by
    {
        tell_of_losses(&backup_id, &guard, printer);
    }
}

fn tell_of_losses(backup: &BackupId, guard: &Guard, printer: &Printer) {
    let before = &guard.compared_with;
    printer.complain(format!(
        "The guard is up in backup {backup}: {guard}. To bring back what was there before, give --backup {before}."
    ));
}

fn print(printer: &Printer, operation: &Operation) {
    if printer.is_json() {
        printer.json(&json::operation(operation));
        return;
    }
    let mut table = table(&["Item", "Result", "Version"]);
    for report in &operation.items {
        let version = report.version.as_deref().unwrap_or_default();
        table.add_row([&report.item.to_string(), report.outcome.as_str(), version]);
    }
    if !operation.items.is_empty() {
        printer.line(table);
    }
    printer.line(format!("{}: {}", operation.status, operation.message.as_deref().unwrap_or_default()));
    printer.troubles(operation);
}

fn print_plan(printer: &Printer, plan: &Plan) {
    if printer.is_json() {
        printer.json(&json::plan(plan));
        return;
    }
    let mut table = table(&["Item", "Action", "Version", "Why"]);
    for step in &plan.steps {
        let why = step.reason.as_deref().unwrap_or_default();
        table.add_row([&step.item.to_string(), step.action.as_str(), &step.version, why]);
    }
    printer.line(table);
    printer.line(format!(
        "Backup {} of vault {} into vault {}: {} to restore, {} to recover, {} to replace, {} present, {} skipped, {} blocked. \
         It takes about {}. Nothing was changed.",
        plan.backup_id,
        plan.vault,
        plan.target_vault,
        plan.count(Action::Restore),
        plan.count(Action::Recover),
        plan.count(Action::Replace),
        plan.count(Action::AlreadyPresent),
        plan.count(Action::Skip),
        plan.count(Action::Blocked),
        HumanDuration(Duration::from_secs(plan.estimated_seconds))
    ));
}
