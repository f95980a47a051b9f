//! `keyvault-backup show`.

use clap::Args;

use super::{
    listing,
    manual::Manual,
    name,
    print::{Cell, End, Printer},
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    error::Result,
    jobs, json,
    model::{are, counted, size},
    repository::{Selector, manifest::Manifest},
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("The newest backup", "keyvault-backup show contoso-prod"),
        ("The one with that label", "keyvault-backup show contoso-prod before-upgrade"),
        (
            "What was not read anew, for a script",
            "keyvault-backup show contoso-prod --output json | jq '.items[] | select(.stale)'",
        ),
    ],
    exits: &[
        (0, "the backup was shown"),
        (2, ""),
        (4, "the backup was not found"),
        (5, ""),
        (6, ""),
        (7, ""),
        (130, ""),
    ],
};

/// Show a backup and its items.
///
/// To see what a restore could bring back, and what is stale or missing and why. It shows names, versions and dates;
/// values can be read by nobody but Key Vault. It asks the storage only, and changes nothing.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The vault.
    vault: String,
    /// latest, an id, a label or a time.
    #[arg(default_value = "latest")]
    backup: String,
    /// Show every item, also when they are many.
    #[arg(long)]
    all_rows: bool,
}

impl Show {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Restore)?;
        let backup = repository.find_named(&name(connections, &self.vault)?, &self.backup).await?;
        let damaged = repository.damaged_backups(&backup.vault).await.contains(&backup.id);
        print(printer, &repository.open(&backup).await?, damaged, self.all_rows)?;
        Ok(End::GOOD)
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let selector: Selector = self.backup.parse()?;
        let (manifest, damaged) = app.backup(&app.name(&self.vault)?, &selector.to_string()).await?;
        print(printer, &manifest, damaged, self.all_rows)?;
        Ok(End::GOOD)
    }
}

fn print(printer: &Printer, manifest: &Manifest, damaged: bool, all_rows: bool) -> Result<()> {
    let Manifest { header, items } = manifest;
    if printer.is_json() {
        return printer.json_body(&json::backup(header, items, damaged));
    }
    let rows = items.iter().map(|item| {
        let item = item?;
        let row = [
            item.id.to_string().into(),
            item.version.as_ref().into(),
            item.versions.to_string().into(),
            if item.attributes.enabled { "yes" } else { "no" }.into(),
            printer.time(item.attributes.updated).into(),
            size(item.size).to_string().into(),
            item.stale.as_ref().map_or_else(|| "".into(), |stale| Cell::doubtful(&stale.code)),
        ];
        Ok((item.stale.is_some(), row))
    });
    let header_row = ["Item", "Version", "Versions", "Enabled", "Updated", "Size", "Stale"];
    listing::print(printer, header_row, items.len(), rows, all_rows)?;
    printer.line(format!(
        "Backup {} of vault {}, {}, finished {}: {}, {}, {}; {} {} held by their \
         certificates.",
        header.backup_id,
        header.vault,
        header.status,
        printer.time(header.finished_at),
        counted(header.counts.keys, "key"),
        counted(header.counts.secrets, "secret"),
        counted(header.counts.certificates, "certificate"),
        counted(header.counts.managed_skipped, "managed item"),
        are(header.counts.managed_skipped)
    ));
    if let Some(guard) = &header.guard {
        printer.line(format!("The guard was up since backup {}: {guard}.", guard.tripped_by));
    }
    if damaged {
        printer.complain(jobs::damage_warning(header));
    }
    for failure in &header.failures {
        printer.complain(&failure.reason);
    }
    Ok(())
}
