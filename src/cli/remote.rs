//! Waiting at a terminal for what the deployed app does.

use std::sync::Arc;

use futures::{StreamExt as _, stream};

use super::print::{Printer, Work};
use crate::{
    app::{App, Started},
    error::{Error, ErrorKind, Result},
    model::VaultName,
    report::Progress,
    repository::{findings::Findings, operation::Operation},
};

/// Operations looked at together.
const AT_ONCE: usize = 8;

/// What became of the operation of each vault, and what a verification found.
pub(super) type Followed = Vec<(VaultName, Result<(Operation, Option<Findings>)>)>;

/// Follows what was started for each vault to its end, with a bar for each. Ctrl-C ends the following, not what is
/// followed.
pub(super) async fn follow(
    app: &App,
    started: Vec<(VaultName, Result<Started>)>,
    doing: &str,
    printer: &Printer,
) -> Result<Followed> {
    let ids: Vec<String> =
        started.iter().filter_map(|(_, started)| Some(started.as_ref().ok()?.operation.id.to_string())).collect();
    let which = if let [only] = &ids[..] { format!(" {only}") } else { String::new() };
    printer.when_stopped(format!(
        "{} goes on with it; see how it stands with the same --app and: keyvault-backup operations{which}",
        app.describe().replacen("the ", "The ", 1)
    ));
    let work = stream::iter(started).map(|(vault, started)| async {
        let result = match started {
            Ok(started) => {
                let progress = Arc::new(Progress::default());
                let Operation { id, kind, target_vault, .. } = &started.operation;
                let into = target_vault.as_ref().unwrap_or(&vault);
                let bar = printer.begin(Work {
                    title: format!("{doing} {into}"),
                    kind: kind.as_str(),
                    operation: Some(*id),
                    vault: into,
                    progress: &progress,
                    pacing: None,
                });
                let result = app.follow(started, &progress).await;
                bar.finish();
                result
            }
            Err(error) => Err(error),
        };
        (vault, result)
    });
    Ok(work.buffered(AT_ONCE).collect().await)
}

/// The same for one operation.
pub(super) async fn follow_one(
    app: &App,
    started: Started,
    doing: &str,
    printer: &Printer,
) -> Result<(Operation, Option<Findings>)> {
    let vault = started.operation.vault.clone();
    let mut followed = follow(app, vec![(vault, Ok(started))], doing, printer).await?;
    match followed.pop() {
        Some((_, result)) => result,
        None => Err(Error::new(ErrorKind::Internal, "Nothing was followed.")),
    }
}
