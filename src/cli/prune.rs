//! `keyvault-backup prune`.

use clap::Args;
use serde_json::Value;
use uuid::Uuid;

use super::{
    known_rows, known_vaults,
    manual::Manual,
    now,
    print::{Cell, End, Printer, table},
    vaults,
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    coverage::Coverage,
    error::{Error, ErrorKind, Result},
    jobs, json,
    model::{VaultName, counted, size},
    prune::{Plan, Prune as Pruned, Report},
    repository::Selector,
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        (
            "See what a policy would remove, and why the rest stays",
            "keyvault-backup prune --backup-keep daily=35,monthly=12 --dry-run",
        ),
        ("One vault, by the policy in BACKUP_KEEP", "keyvault-backup prune contoso-prod"),
        ("One backup by its label", "keyvault-backup prune contoso-prod --remove before-upgrade"),
        ("In a script, where nobody can be asked", "keyvault-backup prune --yes"),
    ],
    exits: &[
        (0, "what the policy does not keep was removed, or with --dry-run shown"),
        (2, ""),
        (3, "in part: what was named with --remove stays, or some of the vaults failed"),
        (4, "the backup named with --remove was not found"),
        (5, ""),
        (6, ""),
        (7, ""),
        (130, ""),
    ],
};

/// Remove the backups that the retention policy does not keep.
///
/// The app does it after each backup when BACKUP_KEEP is set; by hand it is for trying a policy out and for removing a
/// backup by name. Never removed are the newest backup and the newest complete one, the last copy of an item that may
/// still be in the vault, and anything while the guard is up.
#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Names or URIs of vaults [default: all of BACKUP_VAULTS].
    #[arg(value_name = "VAULT")]
    vaults: Vec<String>,
    /// Show what would be removed, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Remove this backup of the vault, by id or label, and no other: the policy is left aside. Can be repeated.
    #[arg(long, value_name = "BACKUP")]
    remove: Vec<Selector>,
    /// Do it without asking. A script needs it: where nobody can be asked, it is refused.
    #[arg(long, short)]
    yes: bool,
}

/// What was decided for one vault, and what was done, if anything.
type Done = Result<(Plan, Option<Report>)>;

/// What came of one vault, as [`json::prune`] describes it.
type Row = (VaultName, Result<Value>);

impl Prune {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        if !self.remove.is_empty() && self.vaults.len() != 1 {
            let message = "Backups are removed by name from one vault at a time: name the vault before --remove.";
            return Err(Error::invalid("remove", message));
        }
        printer.needs_yes(self.yes || self.dry_run, "A prune removes backups")?;
        let vaults = match &self.vaults[..] {
            [] => vaults(connections, &[])?,
            named => known_vaults(connections, &connections.repository(Role::Prune)?, named).await?,
        };
        let rows = if self.dry_run || self.yes {
            self.each(connections, &vaults, self.dry_run, printer).await
        } else {
            let planned = self.each(connections, &vaults, true, printer).await;
            let summary: Vec<String> = planned.iter().filter_map(summary).collect();
            if summary.is_empty() {
                // Nothing is to go, or nothing can be said: what there is to tell is told, and there is nothing to ask.
                planned
            } else if printer.confirm(&summary, "Remove them?").await {
                self.each(connections, &vaults, false, printer).await
            } else {
                return Ok(printer.declined());
            }
        };
        let rows: Vec<Row> = rows
            .into_iter()
            .map(|(vault, result)| (vault, result.map(|(plan, report)| json::prune(&plan, report.as_ref()))))
            .collect();
        Ok(told(printer, &rows))
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        if !self.remove.is_empty() || !self.dry_run {
            let message = "The app removes backups after each backup of a vault, as its BACKUP_KEEP says, and never on \
                           request: a function key must not be enough to destroy backups. With --app, give --dry-run to \
                           see what it would remove; to remove by name, run the command without --app, with rights of \
                           your own.";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let known = known_rows(app, &self.vaults).await?.into_iter();
        let are_named = !self.vaults.is_empty();
        let mut rows: Vec<Row> = Vec::new();
        for Coverage { vault, .. } in known.filter(|row| are_named || row.in_scope) {
            let result = app.plan_prune(&vault).await;
            rows.push((vault, result));
        }
        Ok(told(printer, &rows))
    }

    /// One vault after the other.
    async fn each(
        &self,
        connections: &Connections,
        vaults: &[VaultName],
        dry_run: bool,
        printer: &Printer,
    ) -> Vec<(VaultName, Done)> {
        let mut rows = Vec::new();
        if !dry_run {
            printer.when_stopped(
                "What was removed is gone, and every backup that is listed is whole. Give the same command again: it \
                 removes the rest.",
            );
        }
        for vault in vaults {
            let doing = if dry_run { "Looking at the backups of" } else { "Pruning" };
            let bar = printer.wait(format!("{doing} {vault}"));
            let result = self.prune(connections, vault, dry_run).await;
            bar.finish();
            rows.push((vault.clone(), result));
        }
        rows
    }

    async fn prune(&self, connections: &Connections, vault: &VaultName, dry_run: bool) -> Done {
        if dry_run {
            return Ok((jobs::plan_prune(connections, vault, &self.remove, now()).await?, None));
        }
        match jobs::prune(connections, vault, &self.remove, Uuid::new_v4(), now()).await? {
            Pruned::Done(plan, report) => Ok((*plan, Some(report))),
            Pruned::Busy => {
                let message = format!(
                    "A backup or another prune is at work on vault {vault}. Try again when it has ended; a run that died \
                     gives way within half a minute."
                );
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }
}

/// What would be removed from a vault, if anything.
fn summary((vault, result): &(VaultName, Done)) -> Option<String> {
    let plan = &result.as_ref().ok()?.0;
    let removed: Vec<String> = plan.removed().map(|row| row.backup.to_string()).collect();
    let blobs = format!("{} ({})", counted(plan.unnamed.blobs, "item blob"), size(plan.unnamed.bytes));
    match removed.len() {
        0 if plan.unnamed.blobs == 0 => None,
        0 => Some(format!("Vault {vault}: {blobs} that no backup needs.")),
        count => Some(format!(
            "Vault {vault}: {count} of {} and {blobs}: {}.",
            counted(plan.backups.len() as u64, "backup"),
            removed.join(", ")
        )),
    }
}

/// Prints what came of all vaults, and says what it comes to.
fn told(printer: &Printer, rows: &[Row]) -> End {
    if !printer.json_by_vault(rows, |_, body| body.clone()) {
        rows.iter().for_each(|row| print(printer, row));
    }
    End::of_all(rows.iter().map(|(_, result)| match result {
        Ok(body) if refused(body).next().is_some() => End::IN_PART,
        Ok(_) => End::GOOD,
        Err(error) => End::of_errors(std::slice::from_ref(error)),
    }))
}

fn backups(body: &Value) -> impl Iterator<Item = &Value> {
    body["backups"].as_array().into_iter().flatten()
}

/// The backups that somebody wanted to go and that stay for a reason a person can do something about.
fn refused(body: &Value) -> impl Iterator<Item = &Value> {
    backups(body).filter(|row| row["refused"] == true)
}

fn print(printer: &Printer, (vault, result): &Row) {
    let body = match result {
        Ok(body) => body,
        Err(error) => return printer.complain(format!("{vault}: {}", error.chain())),
    };
    if backups(body).next().is_none() {
        return printer.line(format!("There is no backup of vault {vault}."));
    }
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let reasons = |row: &Value| {
        let reasons = row["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        if reasons.is_empty() { "no rule keeps it".to_owned() } else { reasons }
    };
    let is_dry_run = body["dryRun"] == true;
    let mut table = table(&["Backup", "Label", "Result", "Action", "Why"]);
    for row in backups(body) {
        let action = match (row["action"] == "remove", is_dry_run) {
            (true, true) => Cell::doubtful("remove"),
            (true, false) => Cell::doubtful("removed"),
            (false, true) => "keep".into(),
            (false, false) => "kept".into(),
        };
        let quality = match &text(row, "result")[..] {
            sound @ "Succeeded" => Cell::good(sound),
            lacking @ "Incomplete" => Cell::doubtful(lacking),
            other => Cell::bad(other),
        };
        table.add_row([text(row, "id").into(), text(row, "label").into(), quality, action, reasons(row).into()]);
    }
    printer.line(format!("Vault {vault}"));
    printer.table(table);
    if is_dry_run {
        let number = |field: &str| body["unnamedBlobs"][field].as_u64().unwrap_or_default();
        printer.line(format!(
            "This would remove {} and {} ({}).",
            counted(backups(body).filter(|row| row["action"] == "remove").count() as u64, "backup"),
            counted(number("remove"), "item blob"),
            size(number("bytes"))
        ));
    } else {
        printer.line(text(body, "message"));
    }
    for row in refused(body) {
        printer.complain(format!("Backup {} of vault {vault} stays: {}.", text(row, "id"), reasons(row)));
    }
}
