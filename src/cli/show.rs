//! `keyvault-backup show`.

use clap::Args;
use indicatif::HumanBytes;

use super::{
    name,
    print::{End, Printer, table},
};
use crate::{
    app::App,
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
}

impl Show {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Restore)?;
        let selector: Selector = self.backup.parse()?;
        let backup = repository.find(&name(connections, &self.vault)?, &selector).await?;
        print(printer, &repository.open(&backup).await?);
        Ok(End::GOOD)
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let selector: Selector = self.backup.parse()?;
        print(printer, &app.backup(&app.name(&self.vault)?, &selector.to_string()).await?);
        Ok(End::GOOD)
    }
}

fn print(printer: &Printer, manifest: &Manifest) {
    let Manifest { header, items } = manifest;
    if printer.is_json() {
        printer.json(&json::backup(header, items));
        return;
    }
    let mut table = table(&["Item", "Version", "Versions", "Enabled", "Updated", "Size", "Stale"]);
    for item in items {
        table.add_row([
            item.id.to_string(),
            item.version.to_string(),
            item.versions.to_string(),
            if item.attributes.enabled { "yes".into() } else { "no".into() },
            item.attributes.updated.to_string(),
            HumanBytes(item.size).to_string(),
            item.stale.as_ref().map(|stale| stale.code.clone()).unwrap_or_default(),
        ]);
    }
    printer.line(table);
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
}
