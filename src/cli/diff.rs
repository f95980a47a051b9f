//! `keyvault-backup diff`.

use clap::Args;

use super::{
    name,
    print::{End, Printer, table},
};
use crate::{
    app::{App, Row},
    config::connect::{Connections, Role},
    diff::Change,
    error::Result,
    jobs::{self, Against, Comparison},
    json,
    model::{BackupId, VaultName},
    repository::{BackupRef, Selector, manifest::Header},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keyvault-backup diff contoso-prod                    (the newest backup with the one before it)\n  \
    keyvault-backup diff contoso-prod before-upgrade     (what changed until the newest backup)\n  \
    keyvault-backup diff contoso-prod --live             (what changed since the newest backup)\n  \
    keyvault-backup diff contoso-prod --with contoso-dr --live\n\n\
    Exit code 0: no difference. 1: something differs. 3: something could not be compared.")]
pub(super) struct Diff {
    /// The vault.
    vault: String,
    /// The first backup: latest, an id, a label or a time [default: the one before the second; the newest with --live
    /// or --with].
    from: Option<String>,
    /// The second backup [default: the newest].
    #[arg(conflicts_with = "live")]
    to: Option<String>,
    /// Compare with the vault as it is now instead of a second backup.
    #[arg(long)]
    live: bool,
    /// The vault of the second backup, or the one of --live [default: the same].
    #[arg(long, value_name = "VAULT")]
    with: Option<String>,
}

impl Diff {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Backup)?;
        let vault = name(connections, &self.vault)?;
        let other = self.with.as_deref().map_or(Ok(vault.clone()), |other| name(connections, other))?;
        let against = match &self.to {
            _ if self.live => Against::Vault(other.clone()),
            Some(to) => Against::Backup(repository.find(&other, &to.parse()?).await?),
            None => Against::Backup(jobs::newest_backup(&repository, &other, None).await?),
        };
        let before = match &against {
            Against::Backup(BackupRef { vault: of, id, .. }) if *of == vault => Some(id),
            _ => None,
        };
        let from = match &self.from {
            Some(from) => repository.find(&vault, &from.parse()?).await?,
            None => jobs::newest_backup(&repository, &vault, before).await?,
        };
        let comparison = jobs::compare(connections, &from, &against).await?;
        print(printer, &comparison);
        Ok(End::of_diff(&comparison.diff))
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let vault = app.name(&self.vault)?;
        let other = self.with.as_deref().map_or(Ok(vault.clone()), |other| app.name(other))?;
        let to = match &self.to {
            _ if self.live => None,
            Some(to) => Some(find(app, &other, to).await?),
            None => Some(newest(app, &other, None).await?),
        };
        let from = match &self.from {
            Some(from) => find(app, &vault, from).await?,
            None => newest(app, &vault, to.as_ref().filter(|_| other == vault)).await?,
        };
        let comparison = app.compare(&vault, &from, to.as_ref(), &other).await?;
        print(printer, &comparison);
        Ok(End::of_diff(&comparison.diff))
    }
}

async fn find(app: &App, vault: &VaultName, backup: &str) -> Result<BackupId> {
    let selector: Selector = backup.parse()?;
    Ok(app.header(vault, &selector.to_string()).await?.backup_id)
}

/// What [`jobs::newest_backup`] chooses.
async fn newest(app: &App, vault: &VaultName, before: Option<&BackupId>) -> Result<BackupId> {
    let rows = app.backups(vault).await?.rows;
    let readable = |(backup, header): &&Row| header.is_ok() && jobs::may_be_meant(backup, before);
    match (rows.iter().find(readable), before) {
        (Some((backup, _)), _) => Ok(backup.id.clone()),
        (None, Some(before)) => Err(jobs::nothing_before(vault, before)),
        (None, None) => find(app, vault, "latest").await,
    }
}

fn print(printer: &Printer, comparison: &Comparison) {
    let Comparison { from, to, to_vault, diff } = comparison;
    if printer.is_json() {
        printer.json(&json::comparison(comparison, &diff.differences));
        return;
    }
    if !diff.differences.is_empty() {
        let mut table = table(&["Item", "Change", "Attributes"]);
        for difference in &diff.differences {
            let changes: Vec<&str> = difference.changes.iter().map(|change| change.as_str()).collect();
            table.add_row([difference.item.to_string(), changes.join(", "), difference.fields.join(", ")]);
        }
        printer.line(table);
    }
    let counts = Change::ALL.map(|change| (diff.count(change), change));
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, change)| match change {
        Change::Attributes => format!("{count} with other attributes, "),
        _ => format!("{count} {}, ", change.as_str()),
    });
    let to = to.as_deref().map_or_else(|| format!("vault {to_vault} as it is now"), describe);
    printer.line(format!("From {} to {to}: {}{} the same.", describe(from), counts.collect::<String>(), diff.same));
    if diff.filtered_out > 0 {
        printer.line(format!("{} more are in the patterns of one side only.", diff.filtered_out));
    }
    if diff.not_compared > 0 {
        printer.complain(format!("{} items could not be compared:", diff.not_compared));
    }
    diff.failures.iter().for_each(|failure| printer.complain(&failure.reason));
}

fn describe(header: &Header) -> String {
    let label = header.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    format!("backup {}{label} of vault {}", header.backup_id, header.vault)
}
