//! `keyvault-backup show`.

use clap::Args;
use indicatif::HumanBytes;

use super::{
    listing, name,
    print::{End, Printer},
};
use crate::{
    config::connect::{Connections, Role},
    error::Result,
    json,
    repository::{Selector, manifest::Manifest},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keyvault-backup show contoso-prod\n  \
    keyvault-backup show contoso-prod before-upgrade --output json")]
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
        let selector: Selector = self.backup.parse()?;
        let backup = repository.find(&name(connections, &self.vault)?, &selector).await?;
        print(printer, &repository.open(&backup).await?, self.all_rows)?;
        Ok(End::GOOD)
    }
}

fn print(printer: &Printer, manifest: &Manifest, all_rows: bool) -> Result<()> {
    let Manifest { header, items } = manifest;
    if printer.is_json() {
        return printer.json_body(&json::backup(header, items));
    }
    let rows = items.iter().map(|item| {
        let item = item?;
        let row = [
            item.id.to_string(),
            item.version.to_string(),
            item.versions.to_string(),
            if item.attributes.enabled { "yes".into() } else { "no".into() },
            item.attributes.updated.to_string(),
            HumanBytes(item.size).to_string(),
            item.stale.as_ref().map(|stale| stale.code.clone()).unwrap_or_default(),
        ];
        Ok((item.stale.is_some(), row))
    });
    let header_row = ["Item", "Version", "Versions", "Enabled", "Updated", "Size", "Stale"];
    listing::print(printer, header_row, items.len(), rows, all_rows)?;
    printer.line(format!(
        "Backup {} of vault {}, {}, finished {}: {} keys, {} secrets, {} certificates; {} managed items are held by \
         their certificates.",
        header.backup_id,
        header.vault,
        header.status,
        header.finished_at,
        header.counts.keys,
        header.counts.secrets,
        header.counts.certificates,
        header.counts.managed_skipped
    ));
    if let Some(guard) = &header.guard {
        printer.line(format!("The guard was up since backup {}: {guard}.", guard.tripped_by));
    }
    for failure in &header.failures {
        printer.complain(&failure.reason);
    }
    Ok(())
}
