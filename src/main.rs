//! The program: parse, configure, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(keyvault_backup::cli::run(std::env::args_os())),
        Err(_) => ExitCode::FAILURE,
    }
}
