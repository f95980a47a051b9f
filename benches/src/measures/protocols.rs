//! HTTP/1.1 or HTTP/2 with the vault (decision 0029), and how often connections are made.

use std::env;

use simulator::proxy::Protocols;

use super::jobs::turns;
use crate::{
    Result, Setup,
    azure::{Azure, Storage},
    client::tool,
    process::{Cost, Program},
    report::{Report, table_of_turns},
    series::{Series, grouped},
};

const VAULT: &str = "contoso-prod";
const ITEMS: usize = 2_000;

pub(super) async fn run(setup: &Setup, report: &mut Report) -> Result<()> {
    let azure = Azure::start(Protocols::Both).await?;
    azure.add_vault(VAULT, ITEMS);
    let url = format!("https://{VAULT}.vault.azure.net");
    let me = env::current_exe()?;
    let load = |more: &[&str]| {
        let arguments = [&["load", "backup", &url, "https://127.0.0.1/", "--vault-only"], more].concat();
        Program::new(&me, &arguments).set_all(azure.tokens())
    };
    let mut who = vec![
        ("bare load generator, HTTP/1.1, 16 connections", Who::Load(load(&[]))),
        ("bare load generator, HTTP/2, one connection", Who::Load(load(&["--http2"]))),
        ("keyvault-backup, HTTP/1.1, backup into a folder", Who::Tool(setup.clone())),
    ];
    if let Some(program) = &setup.http2 {
        let setup = Setup { program: program.clone(), ..setup.clone() };
        who.push(("keyvault-backup built with HTTP/2, backup into a folder", Who::Tool(setup)));
    }
    let mut seen: Vec<[Series; 4]> = who.iter().map(|_| Default::default()).collect();
    let order: Vec<usize> = (0..who.len()).collect();
    let server = || nix_cpu();
    for round in 0..setup.rounds() {
        for index in turns(&order, round) {
            let (before, cpu) = (azure.counters.read()[0], server()?);
            let cost = who[index].1.run(&azure).await?;
            let (connections, cpu) = (azure.counters.read()[0] - before, server()? - cpu);
            let figures = [cost.wall, cost.cpu * 1e3 / ITEMS as f64, cpu * 1e3 / ITEMS as f64, connections as f64];
            Series::push_each(&mut seen[index], figures);
        }
    }
    azure.check()?;
    let rows = who.iter().zip(&seen).map(|((name, _), figures)| Series::row([(*name).to_owned()], figures));
    let head = ["", "seconds", "CPU ms per item, client", "CPU ms per item, simulator", "connections"];
    let what = format!("All items of a vault of {}, the requests to the vault alone", grouped(ITEMS as i64));
    report.section("protocols", &table_of_turns(&what, setup.rounds(), &head, rows));
    // Once with the storage too, whose requests go through the proxy for this.
    let container = azure.create_container(Storage::Counted).await?;
    let before = azure.counters.read();
    azure.client(tool(setup, &["backup", VAULT, "--full"], &container.url)).run().await?;
    let after = azure.counters.read();
    let [connections, key_vault, storage] = [0, 1, 2].map(|index| grouped((after[index] - before[index]) as i64));
    report.section(
        "connections",
        &format!(
            "A full backup of {} items makes {connections} connections for {key_vault} requests to the vault and \
             {storage} to the storage.",
            grouped(ITEMS as i64)
        ),
    );
    Ok(())
}

enum Who {
    Load(Program),
    Tool(Setup),
}

impl Who {
    async fn run(&self, azure: &Azure) -> Result<Cost> {
        match self {
            Self::Load(program) => Ok(azure.client(program.clone()).run().await?.0),
            Self::Tool(setup) => {
                let folder = tempfile::tempdir()?;
                let store = format!("file://{}/backups", folder.path().display());
                Ok(azure.client(tool(setup, &["backup", VAULT, "--full"], &store)).run().await?.0)
            }
        }
    }
}

/// Seconds of processor that this process, with the simulator in it, has used so far.
fn nix_cpu() -> Result<f64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}
