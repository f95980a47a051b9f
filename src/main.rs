//! The program: parse, configure, run, exit code.

use std::process::ExitCode;

/// One thread: what bounds this program are the quotas of vaults, which it reaches with a tenth of a processor. A second
/// thread would have them wake each other for every answer, which costs a fifth more (decision 0036).
fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(keyvault_backup::cli::run(std::env::args_os())),
        Err(_) => ExitCode::FAILURE,
    }
}
