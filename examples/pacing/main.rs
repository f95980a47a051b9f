//! Draws how the pace of one vault finds the quota, alone and next to its applications: `docs/images/pacing.svg`.
//!
//! The pacing and the clients are the program's own, the vault is the simulator's, and time is virtual, so that the
//! picture is the same each time, and five minutes take some seconds.

#![allow(clippy::disallowed_methods, reason = "it reads and writes its picture")]

mod picture;
mod run;

use std::{error::Error, fs, path::PathBuf};

use clap::Parser;
use simulator::key_vault::Window;

use self::run::{Scenario, Second};

/// Where the picture is kept.
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images/pacing.svg");

/// Draws how the pace of one vault finds the quota, alone and next to its applications.
#[derive(Parser)]
struct Arguments {
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = PICTURE)]
    svg: PathBuf,
    /// Where the numbers go, second by second.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let series = series();
    fs::write(arguments.svg, picture::draw(&series)?)?;
    if let Some(csv) = arguments.csv {
        fs::write(csv, table(&series))?;
    }
    Ok(())
}

/// A minute alone, a minute and a half next to applications that take three quarters of the quota, and alone again.
fn series() -> Vec<Second> {
    let scenario = Scenario {
        requests_per_second: 1_000.0,
        seconds: 300,
        window: Window::Fixed,
        retry_after: None,
        capacity: None,
        production: |second| if (60..150).contains(&second) { 300 } else { 0 },
    };
    fastrand::seed(7);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be made").block_on(run::play(&scenario))
}

fn table(series: &[Second]) -> String {
    let mut table = "second,allowed,sent,refused,production,productionRefused\n".to_owned();
    for (second, it) in (1..).zip(series) {
        let Second { allowed, sent, refused, production, production_refused } = it;
        table += &format!("{second},{allowed:.1},{sent},{refused},{production},{production_refused}\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_in_the_documents_is_the_one_this_draws() {
        let series = series();
        assert!(table(&series).lines().count() > 300);
        let kept = fs::read_to_string(PICTURE).unwrap();
        let same = kept == picture::draw(&series).unwrap();
        assert!(
            same,
            "the pacing has changed: run `cargo run --release --example pacing` and look at docs/images/pacing.svg"
        );
    }
}
