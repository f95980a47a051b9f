//! The program `simulator soak`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a terminal program; this is its output")]

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use super::{Options, Scenario, StoreKind, crash_points, soak};

/// Runs keyvault-backup through random faults and SIGKILLs, and checks that nothing is lost
#[derive(clap::Args)]
#[command(
    after_help = "The last line of output is JSON. The exit code is 1 when something was lost or claimed falsely.\n\n\
    Examples:\n  \
    simulator soak --program target/release/keyvault-backup --seconds 300\n  \
    simulator soak --program target/release/keyvault-backup --seed 42 --rounds 17 --store local\n  \
    simulator soak --program target/release/keyvault-backup --crash-points"
)]
pub struct Args {
    /// The binary to run, unmodified
    #[arg(long)]
    program: PathBuf,
    /// When to begin no further round; the stores share the time
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Rounds, or crash points of one command, on each store at most
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    rounds: u64,
    /// Makes the same choices again [default: chosen at random]
    #[arg(long)]
    seed: Option<u32>,
    /// Where the backups are kept
    #[arg(long, default_value = "both")]
    store: Stores,
    /// Kill each command after each of its requests, instead of rounds at random
    #[arg(long)]
    crash_points: bool,
    /// Keep everything here [default: a temporary folder, which stays when something was found]
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Stores {
    Local,
    Azurite,
    Both,
}

/// Runs the program.
///
/// # Errors
/// When the world cannot be set up: Azurite is missing, say.
pub async fn run(args: Args) -> io::Result<ExitCode> {
    let scratch = tempfile::Builder::new().prefix("keyvault-soak-").tempdir()?;
    let options = Options {
        program: args.program,
        seed: args.seed.unwrap_or_else(rand::random).into(),
        stores: match args.store {
            Stores::Local => vec![StoreKind::Local],
            Stores::Azurite => vec![StoreKind::Azurite],
            Stores::Both => vec![StoreKind::Local, StoreKind::Azurite],
        },
        time: Duration::from_secs(args.seconds),
        rounds: args.rounds,
        folder: args.folder.unwrap_or_else(|| scratch.path().to_owned()),
    };
    println!("seed {}, in {}", options.seed, options.folder.display());
    let verdict =
        if args.crash_points { crash_points(&options, &Scenario::ALL).await? } else { soak(&options).await? };
    for (place, finding) in &verdict.findings {
        eprintln!("{place}: {finding}");
    }
    println!(
        "{} commands, {} of them killed; {} backups restored and compared.",
        verdict.commands, verdict.kills, verdict.proofs
    );
    let code = if verdict.is_good() {
        ExitCode::SUCCESS
    } else {
        if options.folder == scratch.path() {
            let _ = scratch.keep();
        }
        eprintln!("Seed {}. What happened is in {} (commands.log).", options.seed, options.folder.display());
        ExitCode::FAILURE
    };
    println!("{}", verdict.json());
    Ok(code)
}
