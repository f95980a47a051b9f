//! `keyvault-backup restore`.

use std::{sync::Arc, time::Duration};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use indicatif::HumanDuration;
use serde_json::json;
use uuid::Uuid;

use super::{
    listing,
    manual::Manual,
    name, now, operation_id,
    print::{Cell, End, Printer, Work},
    remote,
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::{Error, Result},
    jobs::{self, RestoreRequest},
    json,
    model::spoken,
    operation::{Attempts, abandoned},
    report::Progress,
    repository::operation::{Operation, OperationKind},
    restore::{Action, OnConflict, OnDeleted, Plan, Step},
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("See what would be done", "keyvault-backup restore contoso-prod --to contoso-dr --dry-run"),
        ("A whole vault into another one", "keyvault-backup restore contoso-prod --to contoso-dr"),
        (
            "One deleted secret, back where it was",
            "keyvault-backup restore contoso-prod --to contoso-prod --items secrets/db-password",
        ),
        ("As it was at a time", "keyvault-backup restore contoso-prod --to contoso-dr --backup 2026-11-21T02:00:00Z"),
        (
            "Some of a labelled backup",
            "keyvault-backup restore contoso-prod --to contoso-dr --backup before-upgrade --items 'keys/*'",
        ),
        (
            "As the backup has it, in a script, where nobody can be asked",
            "keyvault-backup restore contoso-prod --to contoso-dr --on-conflict replace --yes",
        ),
    ],
    exits: &[
        (0, "everything is there, or with --dry-run the plan was shown"),
        (1, "nothing was restored: something is in the way, or the vault refuses for good"),
        (2, ""),
        (3, "restored in part: something was skipped, is blocked or failed"),
        (4, "the backup was not found"),
        (5, ""),
        (6, "RESTORE_TARGET_VAULTS does not name the target, or the identity is unknown or may not do this"),
        (7, ""),
        (130, ""),
    ],
};

/// Restore a backup into a vault.
///
/// It makes a plan first, and looks at every item after it was restored. What is there already in the version of the
/// backup is left alone, so giving the command again does no harm. The target is the same vault or another one of the
/// same subscription and geography; Key Vault opens a backup nowhere else. In an emergency, docs/emergency.md says on one
/// page what to type.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The vault whose backup it is.
    vault: String,
    /// The vault to restore into; RESTORE_TARGET_VAULTS must name it.
    #[arg(long, value_name = "VAULT", help_heading = "What and where")]
    to: String,
    /// latest, an id, a label, or a time or date (UTC): then the newest backup that was complete then.
    #[arg(long, default_value = "latest", help_heading = "What and where")]
    backup: String,
    /// Patterns of items such as secrets/db-* or !keys/tmp-* [default: all].
    #[arg(long, value_name = "PATTERN", num_args = 1.., value_delimiter = ',', help_heading = "What and where")]
    items: Vec<String>,
    /// When another item or version of that name is in the target: skip it, fail before anything is restored, or
    /// replace it after keeping a safety copy.
    #[arg(long, value_name = "WHAT", default_value = "skip", help_heading = "When a name is taken")]
    #[arg(value_parser = PossibleValuesParser::new(["skip", "fail", "replace"]).try_map(|word| word.parse::<OnConflict>()))]
    on_conflict: OnConflict,
    /// When the name is held by a deleted item: recover it, fail before anything is restored, or purge it after
    /// keeping a safety copy.
    #[arg(long, value_name = "WHAT", default_value = "recover", help_heading = "When a name is taken")]
    #[arg(value_parser = PossibleValuesParser::new(["recover", "fail", "purge"]).try_map(|word| word.parse::<OnDeleted>()))]
    on_deleted: OnDeleted,
    /// Show what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking. A script needs it to replace or purge: where nobody can be asked, that is refused.
    #[arg(long, short)]
    yes: bool,
    /// The id of an interrupted restore, to go on with it.
    #[arg(long, value_name = "ID", value_parser = operation_id)]
    resume: Option<Uuid>,
    /// Show every item, also when they are many.
    #[arg(long)]
    all_rows: bool,
}

impl Restore {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let Self { vault, to, backup, items, on_conflict, on_deleted, dry_run, yes, resume, all_rows } = self;
        let (vault, target_vault) = (name(connections, &vault)?, name(connections, &to)?);
        let request = RestoreRequest { vault, backup, target_vault, items, on_conflict, on_deleted };
        if dry_run {
            show_plan(connections, &request, all_rows, printer).await
        } else {
            restore(connections, request, yes, resume, all_rows, printer).await
        }
    }

    /// With `--resume` it finds the restore that was started under that id; the app goes on with it by itself.
    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let Self { vault, to, backup, items, on_conflict, on_deleted, dry_run, yes, resume, all_rows } = self;
        let (vault, target_vault) = (app.name(&vault)?, app.name(&to)?);
        let request = RestoreRequest { vault, backup, target_vault, items, on_conflict, on_deleted };
        if dry_run {
            let warnings = warnings_by(app, &request).await;
            print_plan(printer, &plan_by(app, &request, printer).await?, &warnings, all_rows)?;
            warnings.iter().for_each(|warning| printer.complain(warning));
            return Ok(End::GOOD);
        }
        needs_yes(&request, yes, printer)?;
        let warn = async || warnings_by(app, &request).await.iter().for_each(|warning| printer.complain(warning));
        let asks = !yes && printer.can_ask();
        if asks {
            // The app makes a plan of its own; what it finds then may differ from what is shown here.
            let plan = plan_by(app, &request, printer).await?;
            warn().await;
            if changes_something(&plan)? && !printer.confirm(&summary(&plan)?, "Restore?").await {
                return Ok(printer.declined());
            }
        }
        let started = app.restore(resume.unwrap_or_else(Uuid::new_v4), &request).await?;
        if !asks {
            // Only the app can say whether there is such a backup, and by then it has begun.
            warn().await;
        }
        let (operation, _) = remote::follow_one(app, started, "Restoring into", printer).await?;
        finish(printer, &operation, all_rows)
    }
}

async fn restore(
    connections: &Connections,
    request: RestoreRequest,
    yes: bool,
    resume: Option<Uuid>,
    all_rows: bool,
    printer: &Printer,
) -> Result<End> {
    connections.config().check_restore_target(&request.target_vault)?;
    needs_yes(&request, yes, printer)?;
    let repository = connections.repository(Role::Restore)?;
    // That is a mistake of the command, not an operation that fails.
    jobs::check_restore(connections, &request).await?;
    jobs::restore_warnings(connections, &request).await.iter().for_each(|warning| printer.complain(warning));
    let mut agreed = None;
    if !yes && printer.can_ask() {
        let plan = plan(connections, &request, printer).await?;
        if changes_something(&plan)? && !printer.confirm(&summary(&plan)?, "Restore?").await {
            return Ok(printer.declined());
        }
        agreed = Some(plan);
    }
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
        printer.when_stopped(format!("What was restored stays; go on with the same command and --resume {id}."));
        let bar = printer.begin(Work {
            title: format!("Restoring into {}", request.target_vault),
            kind: OperationKind::Restore.as_str(),
            operation: Some(id),
            vault: &request.target_vault,
            progress: &progress,
            pacing: Some(connections.pacing(&request.target_vault)),
        });
        let result = jobs::restore(connections, operation, agreed, Attempts::Last, &progress, now).await;
        bar.finish();
        operation = result?;
    }
    finish(printer, &operation, all_rows)
}

/// What only adds items needs nobody's yes where nobody can be asked: an unattended recovery must not stand still.
fn needs_yes(request: &RestoreRequest, yes: bool, printer: &Printer) -> Result<()> {
    let takes_away = request.on_conflict == OnConflict::Replace || request.on_deleted == OnDeleted::Purge;
    printer.needs_yes(yes || !takes_away, "This restore may delete and purge items of the target vault")
}

fn finish(printer: &Printer, operation: &Operation, all_rows: bool) -> Result<End> {
    print(printer, operation, all_rows)?;
    let end = End::of_operations([Ok(operation)]);
    if end != End::GOOD {
        printer.hint(
            "What to do next: put right what is named above, then give the same command again: what is in place is \
             recognised and left alone. --dry-run shows what is left to do; --on-conflict replace replaces what holds a \
             name, after a safety copy.",
        );
    }
    Ok(end)
}

async fn show_plan(
    connections: &Connections,
    request: &RestoreRequest,
    all_rows: bool,
    printer: &Printer,
) -> Result<End> {
    connections.config().check_restore_target(&request.target_vault)?;
    let warnings = jobs::restore_warnings(connections, request).await;
    print_plan(printer, &plan(connections, request, printer).await?, &warnings, all_rows)?;
    warnings.iter().for_each(|warning| printer.complain(warning));
    Ok(End::GOOD)
}

async fn plan(connections: &Connections, request: &RestoreRequest, printer: &Printer) -> Result<Plan> {
    let bar = printer.wait(format!("Looking at vault {}", request.target_vault));
    let plan = jobs::plan_restore(connections, request).await;
    bar.finish();
    plan
}

async fn plan_by(app: &App, request: &RestoreRequest, printer: &Printer) -> Result<Plan> {
    let bar = printer.wait(format!("Looking at vault {}", request.target_vault));
    let plan = app.plan_restore(request).await;
    bar.finish();
    plan
}

/// What a person should know before a restore by the app: its guard is up no more once somebody has acknowledged it.
async fn warnings_by(app: &App, request: &RestoreRequest) -> Vec<String> {
    let look = async {
        let (header, damaged) = app.header(&request.vault, &request.backup).await?;
        let guard = match &header.guard {
            Some(guard) => app.guard(&request.vault).await?.filter(|up| guard.tripped_by == up.tripped_by),
            None => None,
        };
        Ok::<_, Error>(jobs::warnings(&header, guard.as_ref(), damaged))
    };
    look.await.unwrap_or_default()
}

fn print(printer: &Printer, operation: &Operation, all_rows: bool) -> Result<()> {
    if printer.is_json() {
        return printer.json_body(&json::operation(operation));
    }
    listing::outcomes(printer, &operation.items, all_rows)?;
    let message = operation.message.as_deref().unwrap_or_default();
    let is_told_below = operation.all_problems().any(|problem| problem.message.starts_with(message));
    printer.line(match is_told_below {
        true => format!("{}.", operation.status),
        false => format!("{}: {message}", operation.status),
    });
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
        let row = [item.to_string().into(), cell(action), version.as_ref().into(), reason.unwrap_or_default().into()];
        Ok((!is_plain, row))
    });
    listing::print(printer, ["Item", "Action", "Version", "Why"], plan.steps.len(), rows, all_rows)?;
    printer.line(format!("{} Nothing was changed.", describe(plan)?));
    Ok(())
}

/// What somebody must know before saying yes: what is changed is named, everything else counted.
fn summary(plan: &Plan) -> Result<Vec<String>> {
    const MOST: usize = 10;
    let mut lines = vec![describe(plan)?];
    for (action, what) in [
        (Action::Restore, "To restore"),
        (Action::Recover, "To recover"),
        (Action::Replace, "To replace, after a safety copy"),
        (Action::Blocked, "Blocked"),
    ] {
        let (mut items, mut more) = (Vec::new(), 0_u64);
        for step in plan.steps.iter() {
            match step? {
                step if step.action != action => (),
                step if items.len() < MOST => items.push(step.item.to_string()),
                _ => more += 1,
            }
        }
        if !items.is_empty() {
            let more = if more > 0 { format!(" and {more} more; --dry-run shows all") } else { String::new() };
            lines.push(format!("{what}: {}{more}.", items.join(", ")));
        }
    }
    Ok(lines)
}

fn cell(action: Action) -> Cell {
    let words = spoken(action.as_str());
    match action {
        Action::Replace | Action::Skip => Cell::doubtful(words),
        Action::Blocked => Cell::bad(words),
        Action::Restore | Action::Recover | Action::AlreadyPresent => words.into(),
    }
}

fn describe(plan: &Plan) -> Result<String> {
    const WORDS: [(Action, &str); 6] = [
        (Action::Restore, "to restore"),
        (Action::Recover, "to recover"),
        (Action::Replace, "to replace"),
        (Action::AlreadyPresent, "already present"),
        (Action::Skip, "skipped"),
        (Action::Blocked, "blocked"),
    ];
    let counts = plan.counts()?;
    let parts = WORDS.iter().filter_map(|(action, words)| Some(format!("{} {words}", counts.get(action)?)));
    let what = match parts.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "it holds no items".to_owned(),
        some if !changes_something(plan)? => some,
        some => format!("{some}. It takes about {}", HumanDuration(Duration::from_secs(plan.estimated_seconds))),
    };
    Ok(format!("Backup {} of vault {} into vault {}: {what}.", plan.backup_id, plan.vault, plan.target_vault))
}

fn changes_something(plan: &Plan) -> Result<bool> {
    let counts = plan.counts()?;
    Ok([Action::Restore, Action::Recover, Action::Replace].iter().any(|action| counts.contains_key(action)))
}
