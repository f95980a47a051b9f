//! The program: parse, configure, run, exit code.

use std::{io::Write as _, panic, process::ExitCode};

use tokio::runtime::{Builder, LocalOptions};

/// One thread: what bounds this program are the quotas of vaults, which it reaches with a tenth of a processor. A second
/// thread would have them wake each other for every answer, which costs a fifth more (decision 0036).
fn main() -> ExitCode {
    match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => {
            // As a task: the future that is blocked on is woken through the kernel, also from its own thread.
            let run = runtime.spawn_local(keyvault_backup::cli::run(std::env::args_os()));
            let code = runtime.block_on(run).unwrap_or_else(|stopped| panic::resume_unwind(stopped.into_panic()));
            // Dropping it would wait for files and names that a dead disk or network never gives. What is written to
            // files can be broken off anywhere.
            runtime.shutdown_background();
            code
        }
        Err(cause) => {
            let _ = writeln!(std::io::stderr(), "Error: Could not start: {cause}. Check the limits of this user.");
            ExitCode::FAILURE
        }
    }
}
