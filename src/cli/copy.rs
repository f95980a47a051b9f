//! `keyvault-backup copy`.

use std::sync::Arc;

use clap::Args;

use super::{
    known_vaults,
    manual::Manual,
    print::{Cell, End, Printer, Work, table},
};
use crate::{
    config::{
        Settings,
        connect::{Connections, Role},
    },
    copy::{self, Copy as Copied, Fate, Report},
    error::{Error, ErrorKind, Result},
    json,
    model::{VaultName, counted, size, were},
    report::{Progress, Status},
    repository::{Repository, Selector},
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("What is missing on a disk", "keyvault-backup copy --to file:///mnt/copy --dry-run"),
        ("The newest backup of a vault", "keyvault-backup copy contoso-prod --to file:///mnt/copy --backup latest"),
        (
            "Everything, into another storage account",
            "keyvault-backup copy --to https://contosocopies.blob.core.windows.net/keyvault-backups",
        ),
        (
            "Back again, after a disaster",
            "keyvault-backup copy --from file:///mnt/copy --to https://contoso.blob.core.windows.net/backups",
        ),
        ("Check the copy", "keyvault-backup verify --backup-store-url file:///mnt/copy"),
    ],
    exits: &[
        (0, "everything is in the target, or was only shown"),
        (1, "it failed: another backup of the same name is in the target"),
        (2, ""),
        (3, "some of the backups were copied, others are damaged, or were asked for and removed meanwhile"),
        (4, "there is no backup in the source, or not the one that was asked for"),
        (5, "a backup, a prune or another copy is at work on the vault in the target, or the storage is out of reach"),
        (6, ""),
        (7, "no backup that was to be copied is sound"),
        (130, ""),
    ],
};

/// Copy backups to another place, such as a disk: only what is missing there.
///
/// For a copy that no fire, no attacker and no mistake in Azure reaches. Every blob is checked on the way by its hash,
/// and a backup exists in the target when all it needs is there. Nothing is replaced or removed, and nothing is changed
/// in the source. Stopped in the midst of it, it goes on where it was when the command is given again. The copy is a
/// repository: every command works on it with --backup-store-url.
#[derive(Debug, Args)]
pub(super) struct Copy {
    /// Names or URIs of vaults [default: all that have backups in the source].
    #[arg(value_name = "VAULT")]
    vaults: Vec<String>,
    /// Where backups are copied from: the URL of a container or a folder [default: BACKUP_STORE_URL].
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Where they are copied to: the URL of a container that exists, or of a folder. Its state is kept beside it, under
    /// the same name with -state added.
    #[arg(long, value_name = "URL")]
    to: String,
    /// Copy this backup of each vault only: latest, an id, a label or a time. Can be repeated.
    #[arg(long, value_name = "BACKUP")]
    backup: Vec<Selector>,
    /// Show what is missing in the target, and copy nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A vault, and what came of it.
type Row = (VaultName, Result<Report>);

impl Copy {
    /// The source is a repository like any other, with its state beside it unless the settings are about that one.
    pub(super) fn choose_source(&self, settings: &mut Settings) {
        if let Some(from) = &self.from
            && settings.backup_store_url.as_ref() != Some(from)
        {
            settings.backup_store_url = Some(from.clone());
            settings.backup_store_flag = Some("--from");
            settings.state_store_url = None;
        }
    }

    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let target = connections.other_repository("--to", &self.to, Role::Backup)?;
        let source = connections.repository(Role::Backup)?;
        let vaults = self.vaults(connections, &source).await?;
        printer.when_stopped(
            "What was copied stays, and every backup in the target is whole. Give the same command again: it copies only \
             what is missing.",
        );
        let mut rows: Vec<Row> = Vec::new();
        for vault in vaults {
            let result = self.copy(&source, &target, &vault, connections.config().concurrency, printer).await;
            rows.push((vault, result));
        }
        if !printer.json_by_vault(&rows, |_, report| json::copy(report, self.dry_run)) {
            print(printer, &rows, self.dry_run);
        }
        Ok(End::of_all(rows.iter().map(|(_, result)| match result {
            Ok(report) => match report.status() {
                Status::Succeeded => End::GOOD,
                Status::PartiallySucceeded => End::IN_PART,
                _ if report.count(Fate::Damaged) == 0 => End::NOT_FOUND,
                _ => End::DAMAGED,
            },
            Err(error) => End::of_errors(std::slice::from_ref(error)),
        })))
    }

    async fn vaults(&self, connections: &Connections, source: &Repository) -> Result<Vec<VaultName>> {
        if !self.vaults.is_empty() {
            return known_vaults(connections, source, &self.vaults).await;
        }
        let vaults = source.vaults().await?;
        if vaults.is_empty() {
            let message = format!("There is no backup in {}, so there is nothing to copy.", source.describe());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(vaults)
    }

    async fn copy(
        &self,
        source: &Repository,
        target: &Repository,
        vault: &VaultName,
        concurrency: usize,
        printer: &Printer,
    ) -> Result<Report> {
        if self.dry_run {
            let _bar = printer.wait(format!("Looking for what is missing of {vault}"));
            return copy::plan(source, target, vault, &self.backup).await;
        }
        let progress = Arc::new(Progress::default());
        let bar = printer.begin(Work {
            title: format!("Copying {vault}"),
            kind: "copy",
            operation: None,
            vault,
            progress: &progress,
            pacing: None,
        });
        let copied = copy::run(source, target, vault, &self.backup, concurrency, &progress).await;
        bar.finish();
        match copied? {
            Copied::Done(report) => Ok(report),
            Copied::Busy => {
                let message = format!(
                    "A backup, a prune or another copy is at work on vault {vault} in {}. Try again when it has ended; a \
                     run that died gives way within half a minute.",
                    target.describe()
                );
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }
}

fn print(printer: &Printer, rows: &[Row], is_dry_run: bool) {
    let mut table = if is_dry_run {
        table(&["Vault", "Backups", "There", "To copy", "Damaged", "Blobs", "Size"])
    } else {
        table(&["Vault", "Backups", "There", "Copied", "Damaged", "Blobs", "Size"])
    };
    for (vault, result) in rows {
        let Ok(report) = result else {
            table.add_row([Cell::from(vault.as_str()), Cell::bad("Failed")]);
            continue;
        };
        let (blobs, bytes) = report.total();
        let copied = [Fate::Missing, Fate::Incomplete, Fate::Copied, Fate::Completed].map(|fate| report.count(fate));
        let (backups, there) = (report.backups.len(), report.count(Fate::Present));
        let mut row: Vec<Cell> = vec![vault.as_str().into()];
        row.extend([backups, there, copied.iter().sum()].map(|count| count.to_string().into()));
        let damaged = report.count(Fate::Damaged);
        row.push(if damaged > 0 { Cell::bad(damaged) } else { "0".into() });
        row.extend([blobs.to_string().into(), size(bytes).to_string().into()]);
        table.add_row(row);
    }
    printer.table(table);
    for (vault, result) in rows {
        match result {
            Ok(report) => complain(printer, report),
            Err(error) => printer.complain(format!("{vault}: {}", error.chain())),
        }
    }
}

fn complain(printer: &Printer, report: &Report) {
    let Report { vault, damage, more_damage, .. } = report;
    for damage in damage {
        printer.complain(format!("{vault}: {} {}", damage.message, needed_by(damage)));
    }
    if *more_damage > 0 {
        printer.complain(format!("{vault}: there is damage in {}.", counted(*more_damage, "more place")));
    }
    match report.count(Fate::Removed) {
        0 => (),
        removed => {
            let backups = counted(removed as u64, "backup");
            printer.complain(format!("{vault}: {backups} {} removed from the source meanwhile.", were(removed as u64)));
        }
    }
}

fn needed_by(damage: &copy::Damage) -> String {
    match &damage.backups[..] {
        [only] => format!("Backup {only} is not copied."),
        [newest, .., oldest] => {
            format!("{} backups are not copied, from {oldest} to {newest}.", damage.backups.len())
        }
        [] => String::new(),
    }
}
