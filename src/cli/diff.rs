//! `keyvault-backup diff`.

use clap::Args;

use super::{
    listing,
    manual::Manual,
    name,
    print::{Cell, End, Printer},
};
use crate::{
    app::{App, Row},
    config::connect::{Connections, Role},
    diff::Change,
    error::Result,
    jobs::{self, Against, Comparison},
    json,
    model::{BackupId, VaultName, are, counted},
    repository::{BackupRef, Selector, manifest::Header},
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("What the newest backup changed", "keyvault-backup diff contoso-prod"),
        ("What changed between a backup and the newest one", "keyvault-backup diff contoso-prod before-upgrade"),
        ("What changed in the vault since the newest backup", "keyvault-backup diff contoso-prod --live"),
        ("Whether another vault holds the same", "keyvault-backup diff contoso-prod --with contoso-dr --live"),
    ],
    exits: &[
        (0, "nothing differs"),
        (1, "something differs"),
        (2, ""),
        (3, "something could not be compared"),
        (4, "a backup was not found"),
        (5, ""),
        (6, ""),
        (7, ""),
        (130, ""),
    ],
};

/// Show what differs between two backups, or a backup and the vault.
///
/// After an incident: what was rotated, disabled, deleted or added, and when. Before a restore: what it would bring
/// back. It compares names, versions, dates and tags, and changes nothing.
#[derive(Debug, Args)]
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
    /// Show every item that differs, also when they are many.
    #[arg(long)]
    all_rows: bool,
}

impl Diff {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Backup)?;
        let vault = name(connections, &self.vault)?;
        let other = self.with.as_deref().map_or(Ok(vault.clone()), |other| name(connections, other))?;
        let against = match &self.to {
            _ if self.live => Against::Vault(other.clone()),
            Some(to) => Against::Backup(repository.find_named(&other, to).await?),
            None => Against::Backup(jobs::newest_backup(&repository, &other, None).await?),
        };
        let before = match &against {
            Against::Backup(BackupRef { vault: of, id, .. }) if *of == vault => Some(id),
            _ => None,
        };
        let from = match &self.from {
            Some(from) => repository.find_named(&vault, from).await?,
            None => jobs::newest_backup(&repository, &vault, before).await?,
        };
        let bar = printer.wait(format!("Comparing backup {from}"));
        let comparison = jobs::compare(connections, &from, &against).await;
        bar.finish();
        let comparison = comparison?;
        print(printer, &comparison, self.all_rows)?;
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
        print(printer, &comparison, self.all_rows)?;
        Ok(End::of_diff(&comparison.diff))
    }
}

async fn find(app: &App, vault: &VaultName, backup: &str) -> Result<BackupId> {
    let selector: Selector = backup.parse()?;
    Ok(app.header(vault, &selector.to_string()).await?.0.backup_id)
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

fn print(printer: &Printer, comparison: &Comparison, all_rows: bool) -> Result<()> {
    let Comparison { from, to, to_vault, diff } = comparison;
    if printer.is_json() {
        return printer.json_body(&json::comparison(comparison));
    }
    let rows = diff.differences.iter().map(|difference| {
        let difference = difference?;
        let changes: Vec<&str> = difference.changes.iter().map(|change| change.as_str()).collect();
        Ok((true, [difference.item.to_string(), changes.join(", "), difference.fields.join(", ")].map(Cell::from)))
    });
    listing::print(printer, ["Item", "Change", "Attributes"], diff.differences.len(), rows, all_rows)?;
    let counts = Change::ALL.map(|change| (diff.count(change), change));
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, change)| match change {
        Change::Attributes => format!("{count} with other attributes, "),
        _ => format!("{count} {}, ", change.as_str()),
    });
    let to = to.as_deref().map_or_else(|| format!("vault {to_vault} as it is now"), describe);
    printer.line(format!("From {} to {to}: {}{} the same.", describe(from), counts.collect::<String>(), diff.same));
    if diff.filtered_out > 0 {
        printer.line(format!(
            "{} more {} in the patterns of one side only.",
            diff.filtered_out,
            are(diff.filtered_out)
        ));
    }
    if diff.not_compared > 0 {
        printer.complain(format!("{} could not be compared:", counted(diff.not_compared, "item")));
    }
    diff.failures.iter().for_each(|failure| printer.complain(&failure.reason));
    Ok(())
}

fn describe(header: &Header) -> String {
    let label = header.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    format!("backup {}{label} of vault {}", header.backup_id, header.vault)
}
