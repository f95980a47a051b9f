//! The program built in several ways: what each profile costs and gives (decision 0036).

use std::{fs, path::PathBuf};

use simulator::proxy::Protocols;

use super::{jobs::turns, start};
use crate::{
    Result, Setup,
    azure::{Azure, Storage},
    client::tool,
    report::{Report, table_of_turns},
    series::{Series, grouped, short},
};

const VAULT: &str = "contoso-prod";
const ITEMS: usize = 2_000;
const MIB: f64 = 1024.0 * 1024.0;

pub(super) async fn run(setup: &Setup, report: &mut Report) -> Result<()> {
    let folder = setup.builds.as_ref().ok_or("There is nothing to compare: run scripts/bench.sh --only builds.")?;
    let mut builds: Vec<PathBuf> = fs::read_dir(folder)?.map(|it| Ok(it?.path())).collect::<Result<_>>()?;
    builds.sort();
    let azure = Azure::start(Protocols::Both).await?;
    azure.add_vault(VAULT, ITEMS);
    let order: Vec<usize> = (0..builds.len()).collect();
    let mut seen: Vec<[Series; 3]> = builds.iter().map(|_| Default::default()).collect();
    // The first round warms the emulators up and counts for nothing.
    for round in 0..=setup.rounds() {
        for index in turns(&order, round) {
            let setup = Setup { program: builds[index].clone(), ..setup.clone() };
            let container = azure.create_container(Storage::Direct).await?;
            let backup = tool(&setup, &["backup", VAULT, "--full"], &container.url);
            let cost = azure.client(backup).run().await?.0;
            azure.delete_container(&container).await?;
            if round > 0 {
                let start = start::first_answer(&start::handler(&setup))?.as_secs_f64() * 1e3;
                Series::push_each(&mut seen[index], [start, cost.wall, cost.cpu * 1e3 / ITEMS as f64]);
            }
        }
    }
    azure.check()?;
    let mut rows = Vec::new();
    for (path, figures) in builds.iter().zip(&seen) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let size = short(fs::metadata(path)?.len() as f64 / MIB);
        rows.push(Series::row([format!("`{name}`"), size], figures));
    }
    let head = ["", "MiB", "cold start, ms", "seconds", "CPU ms per item"];
    let what = format!("Full backup of {} items", grouped(ITEMS as i64));
    report.section("builds", &table_of_turns(&what, setup.rounds(), &head, rows));
    Ok(())
}
