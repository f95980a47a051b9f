//! Measures `keyvault-backup` beside what a user would pick instead: scripts with Microsoft's own SDKs.
//!
//! The unmodified release binary and the scripts of `peers` do the same jobs in the same simulated Azure, in turns. What
//! the emulators can do at most is measured first, by [`load`]. `scripts/bench.sh` installs what this needs and starts it;
//! `docs/benchmarks.md` says what came out.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a terminal")]

mod azure;
mod client;
mod load;
mod machine;
mod measures;
mod plot;
mod process;
mod report;
mod sdk;
mod series;

use std::{
    error::Error,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};

use crate::{measures::Measure, report::Report};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Measures keyvault-backup beside scripts that do the same.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    setup: Setup,
}

#[derive(Subcommand)]
enum Part {
    /// Runs a program and writes down what it cost.
    #[command(hide = true)]
    Launch {
        report: PathBuf,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Sends the requests of a job and does nothing else.
    #[command(hide = true)]
    Load(load::Args),
    /// Does the same with the official Rust SDK and nothing else.
    #[command(hide = true)]
    Sdk(load::Args),
}

/// What is measured, with what.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Setup {
    /// Fewer items and fewer runs: under five minutes.
    #[arg(long)]
    quick: bool,
    /// Measures these alone.
    #[arg(long, value_enum)]
    only: Vec<Measure>,
    /// How often each client runs, in turns with the others [default: 5; 3 when quick].
    #[arg(long)]
    rounds: Option<usize>,
    /// Numbers of items for memory and time [default: 1000,10000,50000,100000; quick: without 50000].
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    /// The release binary.
    #[arg(long, default_value = "target/bench/keyvault-backup")]
    program: PathBuf,
    /// The same with symbols, for the profile.
    #[arg(long)]
    symbols: Option<PathBuf>,
    /// The same built with HTTP/2, to compare.
    #[arg(long)]
    http2: Option<PathBuf>,
    /// A folder with the program built in several ways, to compare.
    #[arg(long)]
    builds: Option<PathBuf>,
    /// Where scripts/bench.sh installed the scripts and what they need.
    #[arg(long, default_value = "target/tools/bench")]
    peers: PathBuf,
    /// Writes tables and plots into the `docs` folder given.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

impl Setup {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 }).max(1)
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.part {
        Some(Part::Launch { report, program, arguments }) => process::launch(&report, &program, &arguments),
        Some(Part::Load(args)) => runtime()?.block_on(load::run(args)).map(|()| ExitCode::SUCCESS),
        // On one thread, as keyvault-backup does it.
        Some(Part::Sdk(args)) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(sdk::run(args)).map(|()| ExitCode::SUCCESS)
        }
        None => runtime()?.block_on(measure(&arguments.setup)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

async fn measure(setup: &Setup) -> Result<ExitCode> {
    let start = Instant::now();
    let mut report = Report::new(setup.quick);
    println!("{}", machine::describe());
    for measure in measures::chosen(setup) {
        let begun = Instant::now();
        // What cannot be measured is a miss, and loses nothing of an hour's other figures.
        if let Err(error) = measure.run(setup, &mut report).await {
            report.verdict(&format!("{measure:?}"), "measured", error.to_string(), false);
        }
        eprintln!("({measure:?}: {})", seconds(begun.elapsed()));
    }
    if let Some(docs) = &setup.write {
        report.write(docs)?;
    }
    let good = report.print_verdicts();
    println!("\n{} in all.", seconds(start.elapsed()));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Arguments, ExitCode, run};

    #[test]
    fn a_target_that_is_missed_ends_in_a_failure() {
        let arguments = ["bench", "--only", "builds", "--builds", "/nothing/is/here"];
        let code = run(Arguments::parse_from(arguments)).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    }
}
