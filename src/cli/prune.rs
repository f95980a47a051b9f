//! `keyvault-backup prune`.

use clap::Args;
use indicatif::HumanBytes;
use serde_json::Value;
use uuid::Uuid;

use super::{
    now,
    print::{End, Printer, table},
    vaults,
};
use crate::{
    app::App,
    config::connect::Connections,
    error::{Error, ErrorKind, Result},
    jobs, json,
    model::VaultName,
    prune::{Plan, Prune as Pruned, Report},
    repository::Selector,
};

#[derive(Debug, Args)]
#[command(
    after_help = "What is never removed: the newest backup and the newest complete one; the last copy of an item \
    that may still be in the vault; anything while the guard is up.\n\n\
    Examples:\n  \
    keyvault-backup prune --backup-keep daily=35,monthly=12 --dry-run\n  \
    keyvault-backup prune contoso-prod\n  \
    keyvault-backup prune contoso-prod --remove before-upgrade"
)]
pub(super) struct Prune {
    /// Names or URIs of vaults [default: all of BACKUP_VAULTS].
    vaults: Vec<String>,
    /// Show what would be removed, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Remove this backup of the vault, by id or label, and no other: the policy is left aside. Can be repeated.
    #[arg(long, value_name = "BACKUP")]
    remove: Vec<Selector>,
}

/// What came of one vault, as [`json::prune`] describes it.
type Row = (VaultName, Result<Value>);

impl Prune {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        if !self.remove.is_empty() && self.vaults.len() != 1 {
            let message = "Backups are removed by name from one vault at a time: name the vault before --remove.";
            return Err(Error::invalid("remove", message));
        }
        let mut rows: Vec<Row> = Vec::new();
        for vault in vaults(connections, &self.vaults)? {
            let result = self.prune(connections, &vault).await;
            rows.push((vault, result.map(|(plan, report)| json::prune(&plan, report.as_ref()))));
        }
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
        let mut vaults = self.vaults.iter().map(|vault| app.name(vault)).collect::<Result<Vec<_>>>()?;
        if vaults.is_empty() {
            vaults = app.vaults(&[]).await?.into_iter().filter(|row| row.in_scope).map(|row| row.vault).collect();
        }
        let mut rows: Vec<Row> = Vec::new();
        for vault in vaults {
            let result = app.plan_prune(&vault).await;
            rows.push((vault, result));
        }
        Ok(told(printer, &rows))
    }

    async fn prune(&self, connections: &Connections, vault: &VaultName) -> Result<(Plan, Option<Report>)> {
        if self.dry_run {
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
        reasons.collect::<Vec<_>>().join(", ")
    };
    let is_dry_run = body["dryRun"] == true;
    let mut table = table(&["Backup", "Label", "Result", "Action", "Why"]);
    for row in backups(body) {
        let action =
            if is_dry_run && row["action"] == "remove" { "would be removed".into() } else { text(row, "action") };
        table.add_row([text(row, "id"), text(row, "label"), text(row, "result"), action, reasons(row)]);
    }
    printer.line(format!("Vault {vault}"));
    printer.line(table);
    if is_dry_run {
        printer.line(format!(
            "This would remove {} backups and {} item blobs ({}).",
            backups(body).filter(|row| row["action"] == "remove").count(),
            body["unnamedBlobs"]["remove"],
            HumanBytes(body["unnamedBlobs"]["bytes"].as_u64().unwrap_or_default())
        ));
    } else {
        printer.line(text(body, "message"));
    }
    for row in refused(body) {
        printer.complain(format!("Backup {} of vault {vault} stays: {}.", text(row, "id"), reasons(row)));
    }
}
