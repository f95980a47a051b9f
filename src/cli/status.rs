//! `keyvault-backup status`.

use clap::Args;
use serde_json::{Value, json};

use super::{
    known_rows, known_vaults,
    manual::Manual,
    now,
    print::{Cell, End, Printer, status, table},
};
use crate::{
    app::App,
    config::connect::{Connections, Role},
    coverage::{self, Cause, Coverage, Terms},
    error::Result,
    json,
    model::spoken,
    repository::operation::Operation,
};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        ("All vaults", "keyvault-backup status"),
        ("One vault, with patience", "keyvault-backup status contoso-prod --status-max-age-hours 48"),
        (
            "Those that need a person, for a script",
            "keyvault-backup status --output json | jq '.value[] | select(.attention != [])'",
        ),
    ],
    exits: &[
        (0, "every vault is well protected"),
        (2, ""),
        (3, "a vault needs a person: its newest good backup is too old or missing, the guard is up, or a check failed"),
        (5, ""),
        (6, ""),
        (130, ""),
    ],
};

/// Show how well each vault is protected.
///
/// For every morning, and for monitoring: how old the newest good backup of each vault is, what is stale or missing in
/// it, how the last backup, verification and drill ended, and whether the guard is up. It asks the storage only, and
/// changes nothing.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Names or URIs of vaults [default: all of BACKUP_VAULTS, and all that have backups].
    #[arg(value_name = "VAULT")]
    vaults: Vec<String>,
}

impl Status {
    pub(super) async fn run(self, connections: &Connections, printer: &Printer) -> Result<End> {
        let repository = connections.repository(Role::Restore)?;
        let config = connections.config();
        let terms = Terms {
            scope: config.vaults.clone(),
            // Who names a vault, or has no scope set, wants to hear of it all the same.
            expect_all: config.vaults.is_empty() || !self.vaults.is_empty(),
            max_age: config.max_age,
            now: now(),
        };
        let bar = printer.wait(format!("Reading {}", repository.describe()));
        let vaults = if self.vaults.is_empty() {
            coverage::vaults(&repository, &terms.scope).await?
        } else {
            known_vaults(connections, &repository, &self.vaults).await?
        };
        let rows = coverage::look(&repository, vaults, &terms).await;
        bar.finish();
        print(printer, &repository.describe(), &rows);
        Ok(End::of_attention(rows.iter().map(|row| Ok(!row.attention.is_empty()))))
    }

    pub(super) async fn run_by(self, app: &App, printer: &Printer) -> Result<End> {
        let rows = known_rows(app, &self.vaults).await?;
        print(printer, &app.describe(), &rows);
        Ok(End::of_attention(rows.iter().map(|row| Ok(!row.attention.is_empty()))))
    }
}

fn print(printer: &Printer, place: &str, rows: &[Coverage]) {
    if printer.is_json() {
        let value: Vec<Value> = rows.iter().map(json::coverage).collect();
        printer.json(&json!({ "value": value }));
        return;
    }
    if rows.is_empty() {
        printer.line(format!("No vault is in scope, and there is no backup in {place}. Set BACKUP_VAULTS."));
        return;
    }
    let mut table = table(&[
        "Vault",
        "In scope",
        "Newest good backup",
        "Age",
        "Stale",
        "Missing",
        "Last run",
        "Verified",
        "Drill",
        "Attention",
    ]);
    for row in rows {
        let counts = row.newest.as_ref().and_then(|(_, header)| header.as_ref().ok()).map(|header| header.counts);
        let number = |number: Option<u64>| number.map_or_else(|| "".into(), Cell::none_is_good);
        let has = |cause| row.attention.iter().any(|reason| reason.cause == cause);
        let mut causes: Vec<String> = row.attention.iter().map(|reason| spoken(reason.cause.as_str())).collect();
        causes.dedup();
        table.add_row([
            row.vault.as_str().into(),
            if row.in_scope { "yes" } else { "no" }.into(),
            row.newest_good.as_ref().map_or_else(|| Cell::bad("none"), |good| good.backup_id.as_str().into()),
            match row.age.map(age) {
                Some(age) if has(Cause::TooOld) => Cell::bad(age),
                age => age.unwrap_or_default().into(),
            },
            number(counts.map(|counts| counts.stale)),
            number(counts.map(|counts| counts.missing)),
            outcome(printer, row.last_backup.as_ref()),
            outcome(printer, row.last_verify.as_ref()),
            outcome(printer, row.last_drill.as_ref()),
            if causes.is_empty() { Cell::good("ok") } else { Cell::bad(causes.join(", ")) },
        ]);
    }
    printer.table(table);
    for row in rows {
        row.attention.iter().for_each(|reason| printer.complain(&reason.message));
        complain_of_items(printer, row);
    }
}

/// What is stale or missing, and why; not when the newest backup is the reason that was just told.
fn complain_of_items(printer: &Printer, row: &Coverage) {
    let Some((backup, Ok(header))) = &row.newest else { return };
    let told = |reason: &str| {
        row.attention.iter().any(|known| known.cause != Cause::GuardUp && known.message.contains(reason))
    };
    for failure in header.failures.iter().take(json::MOST_FAILURES).filter(|failure| !told(&failure.reason)) {
        printer.complain(format!("{}: {}", row.vault, failure.reason));
    }
    let more = header.failures.len().saturating_sub(json::MOST_FAILURES) + row.more_failures;
    if more > 0 {
        printer.complain(format!(
            "{}: {more} more; see them all with: keyvault-backup show {} {}",
            row.vault, row.vault, backup.id
        ));
    }
}

fn age(seconds: u64) -> String {
    match seconds / 3600 {
        0 => format!("{} min", seconds / 60),
        hours @ 1..=72 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}

/// How it ended and, below that, on which day.
fn outcome(printer: &Printer, operation: Option<&Operation>) -> Cell {
    let Some(last) = operation else { return "never".into() };
    let ended = printer.time(last.finished_at.unwrap_or(last.updated_at));
    status(last.status).with_line(ended.split('T').next().unwrap_or_default())
}
