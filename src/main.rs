//! The program: parse, configure, run, exit code.

use std::{io::Write as _, process::ExitCode};

/// One thread: what bounds this program are the quotas of vaults, which it reaches with a tenth of a processor. A second
/// thread would have them wake each other for every answer, which costs a fifth more (decision 0036).
fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(keyvault_backup::cli::run(std::env::args_os()));
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
