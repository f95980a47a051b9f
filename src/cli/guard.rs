//! `keyvault-backup guard`.

use clap::{Args, Subcommand};
use futures::{StreamExt as _, stream};
use serde_json::json;

use super::{
    known_vaults,
    manual::Manual,
    name, now,
    print::{Cell, End, Printer, table},
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    coverage::{self, Cause, Coverage},
    error::Result,
    jobs, json,
    model::{BackupId, VaultName},
    repository::{Repository, guard::Acknowledgement, manifest},
};

/// Vaults looked at together.
const VAULTS_AT_ONCE: usize = 8;

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("All vaults", "keyvault-backup guard"),
        ("One vault", "keyvault-backup guard contoso-prod"),
        ("What is gone", "keyvault-backup diff contoso-prod"),
    ],
    exits: &[
        (0, "the guard is up nowhere"),
        (2, ""),
        (3, "the guard is up: look at the vault, then acknowledge or restore; or some vaults could not be looked at"),
        (5, ""),
        (6, ""),
        (7, "whether it is up cannot be told: the newest backup is damaged, or from a newer release"),
        (130, ""),
    ],
};

pub(super) const ACKNOWLEDGE: Manual = Manual {
    examples: &[
        ("It was meant", "keyvault-backup guard acknowledge contoso-prod --reason \"moved to contoso-new\""),
        ("In a script, where nobody can be asked", "keyvault-backup guard acknowledge contoso-prod --yes"),
    ],
    exits: &[
        (0, "the guard is down"),
        (1, "another backup than that of --backup tripped it"),
        (2, ""),
        (4, "the guard is not up, or the vault has no backup"),
        (5, ""),
        (6, ""),
        (7, ""),
        (130, ""),
    ],
};

/// Show or acknowledge what tripped the guard against mass deletion.
///
/// The guard is up after too many items of a vault vanished or were disabled at once. While it is up, no backup of that
/// vault is removed, so that there is time to look.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Guard {
    #[command(subcommand)]
    action: Option<Action>,
    /// Names or URIs of vaults [default: all of BACKUP_VAULTS, and all that have backups].
    #[arg(value_name = "VAULT")]
    vaults: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    Acknowledge(Acknowledge),
}

/// Say that what tripped the guard was meant.
///
/// From then on backups are removed again as BACKUP_KEEP says. Who said so, when and why is kept beside the backups.
#[derive(Debug, Args)]
struct Acknowledge {
    /// The vault.
    vault: String,
    /// Why, for those who ask later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only if it was this backup that tripped it.
    #[arg(long, value_name = "ID")]
    backup: Option<BackupId>,
    /// Who says so.
    #[arg(
        long,
        env = "USER",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "somebody at the command line"
    )]
    by: String,
    /// Do it without asking. A script needs it: where nobody can be asked, it is refused.
    #[arg(long, short)]
    yes: bool,
}

impl Guard {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Restore)?;
        if let Some(Action::Acknowledge(command)) = self.action {
            return command.run(connections, &repository, printer).await;
        }
        let vaults = if self.vaults.is_empty() {
            coverage::vaults(&repository, &connections.config().vaults).await?
        } else {
            known_vaults(connections, &repository, &self.vaults).await?
        };
        let rows: Vec<Row> = stream::iter(vaults)
            .map(|vault| async {
                let guard = repository.guard(&vault).await;
                (vault, guard)
            })
            .buffered(VAULTS_AT_ONCE)
            .collect()
            .await;
        print(printer, &rows);
        Ok(End::of_attention(rows.into_iter().map(|(_, guard)| guard.map(|guard| guard.is_some()))))
    }
}

impl Guard {
    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        if let Some(Action::Acknowledge(command)) = self.action {
            return command.run_by(app, printer).await;
        }
        let vaults = self.vaults.iter().map(|vault| app.name(vault)).collect::<Result<Vec<_>>>()?;
        let rows: Vec<Row> = stream::iter(app.vaults(&vaults).await?)
            .map(|Coverage { vault, guard, attention, .. }| async move {
                // Something could not be looked at, and it may be this.
                let doubtful = guard.is_none() && attention.iter().any(|reason| reason.cause == Cause::Unknown);
                let guard = if doubtful { app.guard(&vault).await } else { Ok(guard) };
                (vault, guard)
            })
            .buffered(VAULTS_AT_ONCE)
            .collect()
            .await;
        print(printer, &rows);
        Ok(End::of_attention(rows.into_iter().map(|(_, guard)| guard.map(|guard| guard.is_some()))))
    }
}

type Row = (VaultName, Result<Option<manifest::Guard>>);

impl Acknowledge {
    async fn run(self, connections: &Connections, repository: &Repository, printer: &Printer) -> Result<End> {
        let vault = name(connections, &self.vault)?;
        let Self { reason, backup, by, yes, .. } = self;
        printer.needs_yes(yes, CONSEQUENCE)?;
        known_vaults(connections, repository, &[self.vault]).await?;
        if !yes
            && let Some(guard) = repository.guard(&vault).await?
            && !printer.confirm(&[summary(&vault, &guard)], "Was that meant?").await
        {
            return Ok(printer.declined());
        }
        let said = jobs::acknowledge_guard(repository, &vault, backup.as_ref(), &by, reason.as_deref(), now()).await?;
        print_word(printer, &vault, &said);
        Ok(End::GOOD)
    }

    async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let vault = app.name(&self.vault)?;
        let Self { reason, backup, by, yes, .. } = self;
        printer.needs_yes(yes, CONSEQUENCE)?;
        let guard = app.guard(&vault).await?;
        if !yes
            && let Some(guard) = &guard
            && !printer.confirm(&[summary(&vault, guard)], "Was that meant?").await
        {
            return Ok(printer.declined());
        }
        let backup = match backup {
            Some(backup) => backup,
            None => guard.map(|guard| guard.tripped_by).ok_or_else(|| jobs::no_guard(&vault))?,
        };
        let said = app.acknowledge_guard(&vault, &backup, &by, reason.as_deref()).await?;
        print_word(printer, &vault, &said);
        Ok(End::GOOD)
    }
}

/// What a yes leads to.
const CONSEQUENCE: &str = "Acknowledging what tripped the guard lets backups be removed again";

fn summary(vault: &VaultName, guard: &manifest::Guard) -> String {
    format!(
        "The guard of vault {vault} is up since backup {}: {guard}. With it down, backups are removed again as BACKUP_KEEP \
         says, in the end also those that hold what was lost.",
        guard.tripped_by
    )
}

fn print_word(printer: &Printer, vault: &VaultName, said: &Acknowledgement) {
    if printer.is_json() {
        printer.json(&json::acknowledgement(said));
        return;
    }
    printer.line(format!(
        "The guard of vault {vault} is down: {} acknowledged at {} that {}.",
        said.acknowledged_by,
        printer.time(said.acknowledged_at),
        said.guard
    ));
}

fn print(printer: &Printer, rows: &[Row]) {
    if printer.json_by_vault(rows, |vault, guard| json!({ "vault": vault, "guard": guard.as_ref().map(json::guard) })) {
        return;
    }
    let mut table = table(&["Vault", "Guard", "Tripped by", "Compared with", "Items", "Deleted", "Disabled"]);
    for (vault, guard) in rows {
        match guard {
            Ok(Some(guard)) => table.add_row([
                vault.as_str().into(),
                Cell::bad("up"),
                guard.tripped_by.as_str().into(),
                guard.compared_with.as_str().into(),
                guard.items.to_string().into(),
                guard.deleted.to_string().into(),
                guard.disabled.to_string().into(),
            ]),
            Ok(None) => table.add_row([vault.as_str().into(), Cell::good("down")]),
            Err(_) => table.add_row([vault.as_str().into(), Cell::doubtful("unknown")]),
        };
    }
    printer.table(table);
    for (_, guard) in rows {
        if let Err(error) = guard {
            printer.complain(error.chain());
        }
    }
}
