//! Many vaults, backed up by several instances of the app that share one queue.
//!
//! For each number of instances it starts so many Functions hosts with a handler process each, lets one of them fire
//! the timer, and measures until every vault is done. Vaults, identities and hosts are simulated; queues and blobs are
//! Azurite's; the handler is the real program. What came of it is read from outside: from the blobs as `docs/format.md`
//! describes them, from Key Vault's own log, in which every instance has an identity of its own, and from the queues.
//! Prints one line of JSON; ends with an error when anything is not as it must be.
//!
//! This executable is the handler too, unless `--handler` names another: called with a command of `keyvault-backup`,
//! such as `serve`, it is `keyvault-backup`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it reports on the terminal")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it arranges the outside that the program meets"
)]

mod cloud;
mod proof;

use std::{error::Error, ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use futures::future::try_join_all;
use keyvault_backup::cli;
use serde_json::{Value, json};
use simulator::functions_host::{Host, HostOptions};
use tokio::time::Instant;

use self::{
    cloud::{Cloud, Place},
    proof::Proof,
};

/// Every failure ends the program with a sentence.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The time between two looks at how far the instances are.
const LOOK: Duration = Duration::from_millis(20);

/// A run without an end in sight is ended: nothing here takes longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// Backs many simulated vaults up with several instances of the app, and checks and measures what they do.
#[derive(Parser)]
#[command(name = "fleet", max_term_width = 100)]
struct Arguments {
    /// How many vaults there are.
    #[arg(long, default_value_t = 200)]
    vaults: usize,
    /// How many keys, secrets and certificates each vault holds.
    #[arg(long, default_value_t = 20)]
    items: usize,
    /// Numbers of instances, one run for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4])]
    instances: Vec<usize>,
    /// The time each request to a vault takes.
    #[arg(long, default_value_t = 20)]
    latency_ms: u64,
    /// The setting BACKUP_REQUESTS_PER_SECOND of the app.
    #[arg(long, default_value_t = 20.0)]
    requests_per_second: f64,
    /// Another handler than this executable itself.
    #[arg(long)]
    handler: Option<PathBuf>,
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let is_command = |first: OsString| !first.to_string_lossy().starts_with('-');
    if std::env::args_os().nth(1).is_some_and(is_command) {
        return runtime.block_on(cli::run(std::env::args_os()));
    }
    let arguments = Arguments::parse();
    // Whichever comes first: what is dropped then takes the handlers with it.
    runtime.block_on(async {
        tokio::select! {
            ending = measure(&arguments) => match ending {
                Ok(report) => {
                    println!("{report}");
                    ExitCode::SUCCESS
                }
                Err(error) => failed(&*error),
            },
            _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
        }
    })
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("The fleet failed: {error}");
    ExitCode::FAILURE
}

/// One run for each number of instances.
async fn measure(arguments: &Arguments) -> Result<Value> {
    let most = arguments.instances.iter().copied().max().unwrap_or_default();
    let cloud =
        Cloud::open(arguments.vaults, arguments.items, most, Duration::from_millis(arguments.latency_ms)).await?;
    let mut runs = Vec::new();
    let mut alone = None;
    for &instances in &arguments.instances {
        let run = run(arguments, &cloud, instances).await?;
        let per_second = arguments.vaults as f64 / run.seconds;
        if instances == 1 {
            alone = Some(per_second);
        }
        runs.push(json!({
            "instances": instances,
            "seconds": rounded(run.seconds),
            "vaultsPerMinute": rounded(per_second * 60.0),
            "itemsPerSecond": rounded(per_second * arguments.items as f64),
            "timesOneInstance": alone.map(|alone| rounded(per_second / alone)),
            "vaultsOfEachInstance": run.shares,
            "failedInvocations": run.failures,
            "found": run.proof.json(),
        }));
        eprintln!("{instances} instances: {:.1} s for {} vaults", run.seconds, arguments.vaults);
    }
    Ok(json!({
        "vaults": arguments.vaults,
        "itemsOfEachVault": arguments.items,
        "latencyMilliseconds": arguments.latency_ms,
        "requestsPerSecond": arguments.requests_per_second,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "optimized": !cfg!(debug_assertions),
        "runs": runs,
    }))
}

/// What one run has shown.
struct Run {
    seconds: f64,
    shares: Vec<usize>,
    failures: usize,
    proof: Proof,
}

async fn run(arguments: &Arguments, cloud: &Cloud, instances: usize) -> Result<Run> {
    cloud.vaults.reset_log();
    let place = cloud.place().await?;
    let hosts = try_join_all((0..instances).map(|number| start(arguments, cloud, &place, number))).await?;
    let begun = Instant::now();
    if let Some(error) = hosts[0].fire("BackupTimer").await?.error {
        return Err(format!("BackupTimer failed: {error}").into());
    }
    let took = tokio::time::timeout(LONGEST, finished(&hosts, arguments.vaults, begun)).await??;
    let shares = hosts.iter().map(backed_up).collect();
    let failures = hosts.iter().map(failures).sum();
    for host in &hosts {
        // Nothing may be left, hidden messages included.
        host.wait_idle(Duration::from_secs(60)).await?;
    }
    let poisoned = hosts[0].queue_messages(&format!("{}-poison", place.queue)).await?;
    if !poisoned.is_empty() {
        return Err(format!("{} messages are in the poison queue", poisoned.len()).into());
    }
    let proof = Proof::gather(cloud, &place, arguments.items).await?;
    proof.check(arguments.vaults, failures)?;
    for host in hosts {
        host.stop().await;
    }
    Ok(Run { seconds: took.as_secs_f64(), shares, failures, proof })
}

/// One instance of the app.
async fn start(arguments: &Arguments, cloud: &Cloud, place: &Place, number: usize) -> Result<Host> {
    let mut options = HostOptions::new(env!("CARGO_MANIFEST_DIR"));
    options.handler = Some(match &arguments.handler {
        Some(handler) => handler.clone(),
        None => std::env::current_exe()?,
    });
    options.settings = cloud.settings(place, number)?;
    options.settings.insert("BACKUP_REQUESTS_PER_SECOND".to_owned(), arguments.requests_per_second.to_string());
    options.queues = cloud.queues()?;
    Ok(Host::start(options).await?)
}

/// Waits until so many messages have been dealt with; the time since `begun`.
async fn finished(hosts: &[Host], vaults: usize, begun: Instant) -> Result<Duration> {
    loop {
        let took = begun.elapsed();
        let mut done = 0;
        for host in hosts {
            if let Some(why) = host.stopped() {
                return Err(format!("a Functions host stopped: {why}").into());
            }
            done += backed_up(host);
        }
        if done >= vaults {
            return Ok(took);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many vaults an instance has backed up.
fn backed_up(host: &Host) -> usize {
    let invocations = host.invocations();
    invocations.iter().filter(|it| it.function == "BackupWorker" && it.succeeded()).count()
}

/// How many invocations of an instance failed; what the handler said about it goes to standard error. The queue has
/// delivered their messages again.
fn failures(host: &Host) -> usize {
    let failed = host.invocations().iter().filter(|invocation| !invocation.succeeded()).count();
    if failed > 0 {
        let complaint = |line: &String| line.contains(r#""level":"ERROR""#) || line.contains(r#""level":"WARN""#);
        host.logs().into_iter().map(|line| line.message).filter(complaint).for_each(|line| eprintln!("{line}"));
    }
    failed
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
