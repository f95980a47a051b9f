//! The simulator as programs, for tests of unmodified binaries and for trying things out by hand.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "these are programs for a terminal")]

mod programs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The Azure that keyvault-backup can be run against on one machine.
#[derive(Parser)]
#[command(name = "simulator", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Key Vaults under their production host names, a managed identity, and, if asked for, Azurite.
    Azure(programs::azure::Arguments),
    /// A Functions host that starts the handler of an app and calls its functions, like `func start`.
    Host(simulator::functions_host::program::Args),
    /// Runs keyvault-backup through random faults and SIGKILLs, and checks that nothing is lost.
    Soak(simulator::soak::program::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let good = |()| ExitCode::SUCCESS;
    let ended: Result<ExitCode, Box<dyn std::error::Error>> = match Arguments::parse().command {
        Command::Azure(arguments) => programs::azure::run(arguments).await.map(good).map_err(Into::into),
        Command::Host(arguments) => {
            simulator::functions_host::program::run(arguments).await.map(good).map_err(Into::into)
        }
        Command::Soak(arguments) => simulator::soak::program::run(arguments).await.map_err(Into::into),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("simulator: {error}");
            ExitCode::FAILURE
        }
    }
}
