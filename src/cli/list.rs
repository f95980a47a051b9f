//! `keyvault-backup list`.

use std::collections::HashSet;

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    manual::Manual,
    name,
    print::{Cell, End, Printer, status, table},
};
use crate::{
    app::{App, Backups, Row},
    config::connect::{Connections, Role},
    error::Result,
    jobs, json,
    model::{BackupId, VaultName, counted, size},
    repository::{BackupRef, Repository, Selector, manifest::Header},
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("The vaults that have backups", "keyvault-backup list"),
        ("The backups of one vault, newest first", "keyvault-backup list contoso-prod"),
        (
            "The labels of a vault, for a script",
            "keyvault-backup list contoso-prod --output json | jq --raw-output '.value[].label // empty'",
        ),
    ],
    exits: &[
        (0, "everything was listed"),
        (2, ""),
        (4, "the vault has no backup"),
        (5, ""),
        (6, ""),
        (7, "a backup in the list is damaged, or from a newer release"),
        (130, ""),
    ],
};

/// List the vaults that have backups, or the backups of one vault.
///
/// To find out what can be restored. It asks the storage only, never a vault, and changes nothing.
#[derive(Debug, Args)]
pub(super) struct List {
    /// The vault [default: every vault that has backups].
    vault: Option<String>,
}

impl List {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Restore)?;
        match self.vault {
            Some(vault) => list_backups(&repository, &name(connections, &vault)?, printer).await,
            None => list_vaults(&repository, printer).await,
        }
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let Some(vault) = self.vault else {
            let vaults = app.vaults(&[]).await?.into_iter().filter(|row| row.backups > 0);
            let rows: Vec<_> = vaults.map(|row| (row.vault, row.backups, row.newest)).collect();
            print_vaults(printer, &app.describe(), &rows);
            return Ok(end_of_listing(rows.iter().filter_map(|(_, _, newest)| newest.as_ref())));
        };
        let vault = app.name(&vault)?;
        let Backups { rows, damaged, .. } = app.backups(&vault).await?;
        if rows.is_empty() {
            // Says which vaults there are.
            app.header(&vault, "latest").await?;
        }
        print_backups(printer, &vault, &rows, &damaged);
        Ok(end_of_listing(&rows))
    }
}

const UNREADABLE: &str = "Unreadable";

async fn list_vaults(repository: &Repository, printer: &Printer) -> Result<End> {
    let mut rows = Vec::new();
    let bar = printer.wait(format!("Reading {}", repository.describe()));
    for vault in repository.vaults().await? {
        let backups = repository.backups(&vault).await?;
        let newest = match backups.iter().rfind(|backup| !backup.is_safety_copy()) {
            Some(newest) => Some(read(repository, newest.clone()).await?),
            None => None,
        };
        rows.push((vault, backups.len(), newest));
    }
    bar.finish();
    print_vaults(printer, &repository.describe(), &rows);
    Ok(end_of_listing(rows.iter().filter_map(|(_, _, newest)| newest.as_ref())))
}

async fn list_backups(repository: &Repository, vault: &VaultName, printer: &Printer) -> Result<End> {
    let bar = printer.wait(format!("Reading the backups of {vault}"));
    let backups = repository.backups(vault).await?;
    if backups.is_empty() {
        // Says which vaults there are.
        repository.find(vault, &Selector::Latest).await?;
    }
    let newest_first = backups.into_iter().rev();
    let rows: Vec<Row> =
        stream::iter(newest_first).map(|backup| read(repository, backup)).buffered(8).try_collect().await?;
    let damaged = repository.damaged_backups(vault).await;
    bar.finish();
    print_backups(printer, vault, &rows, &damaged);
    Ok(end_of_listing(&rows))
}

/// A backup of a listing. One that is damaged, or from a newer release, must not hide the others.
async fn read(repository: &Repository, backup: BackupRef) -> Result<Row> {
    match repository.header(&backup).await {
        Err(error) if !error.kind().is_of_stored_data() => Err(error),
        header => Ok((backup, header)),
    }
}

fn end_of_listing<'a>(rows: impl IntoIterator<Item = &'a Row>) -> End {
    let unreadable = rows.into_iter().find_map(|(_, header)| header.as_ref().err());
    unreadable.map_or(End::GOOD, |error| End::of_errors(std::slice::from_ref(error)))
}

fn print_vaults(printer: &Printer, place: &str, rows: &[(VaultName, usize, Option<Row>)]) {
    if printer.is_json() {
        let value: Vec<Value> = rows
            .iter()
            .map(|(vault, backups, newest)| {
                let newest = newest.as_ref().map(|(backup, header)| json::backup_row(backup, header, false));
                json!({ "vault": vault, "backups": backups, "newest": newest })
            })
            .collect();
        printer.json(&json!({ "value": value }));
        return;
    }
    if rows.is_empty() {
        printer.line(format!(
            "There is no backup in {place}. If there should be one, check where BACKUP_STORE_URL leads. Else make one with: \
             keyvault-backup backup VAULT"
        ));
        return;
    }
    let mut table = table(&["Vault", "Backups", "Newest", "Began", "Result", "Items", "Size"]);
    for (vault, backups, newest) in rows {
        let mut row: Vec<Cell> = vec![vault.as_str().into(), backups.to_string().into()];
        match newest {
            Some((_, Ok(newest))) => row.extend(summary(printer, newest, false)),
            Some((backup, Err(_))) => row.extend(unreadable(printer, backup)),
            None => (),
        }
        table.add_row(row);
    }
    printer.table(table);
    rows.iter().filter_map(|(_, _, newest)| newest.as_ref()).for_each(|row| complain(printer, row));
}

/// The backups of a vault, in the order in which they come.
fn print_backups(printer: &Printer, vault: &VaultName, rows: &[Row], damaged: &HashSet<BackupId>) {
    let is_damaged = |backup: &BackupRef| damaged.contains(&backup.id);
    if printer.is_json() {
        let value: Vec<Value> =
            rows.iter().map(|(backup, header)| json::backup_row(backup, header, is_damaged(backup))).collect();
        printer.json(&json!({ "vault": vault, "value": value }));
        return;
    }
    let mut table = table(&["Backup", "Began", "Result", "Items", "Size", "Full", "Label"]);
    for (backup, header) in rows {
        let label = backup.label.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut row = match header {
            Ok(header) => summary(printer, header, is_damaged(backup)),
            Err(_) => [&unreadable(printer, backup)[..], &["".into(), "".into()]].concat(),
        };
        let full = header.as_ref().is_ok_and(|header| header.full);
        row.extend([if full { "yes" } else { "" }.into(), label.into()]);
        table.add_row(row);
    }
    printer.table(table);
    rows.iter().for_each(|row| complain(printer, row));
    let damaged = rows.iter().filter(|(backup, header)| header.is_ok() && is_damaged(backup)).count() as u64;
    if damaged > 0 {
        printer.complain(jobs::damage_in(vault, &counted(damaged, "backup")));
    }
}

fn complain(printer: &Printer, (_, header): &Row) {
    if let Err(error) = header {
        printer.complain(error.chain());
    }
}

fn summary(printer: &Printer, header: &Header, damaged: bool) -> Vec<Cell> {
    vec![
        header.backup_id.as_str().into(),
        printer.time(header.started_at).into(),
        if damaged { Cell::bad(format!("{}, damaged", header.status)) } else { status(header.status) },
        header.counts.items().to_string().into(),
        size(header.counts.bytes).to_string().into(),
    ]
}

fn unreadable(printer: &Printer, backup: &BackupRef) -> [Cell; 3] {
    [backup.id.as_str().into(), printer.time(backup.id.started()).into(), Cell::bad(UNREADABLE)]
}
