//! Runs a client and says what it cost.
//!
//! Between this program and the client stands a small process of the same executable: the system adds the memory of
//! whoever starts a process to the peak of that process, and this one holds the whole simulated Azure.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Instant,
};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::Result;

/// A client as it is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// What a run cost the client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of all its processors, in user and system mode.
    pub(crate) cpu: f64,
    /// The most memory that was resident, in bytes.
    pub(crate) peak: u64,
}

impl Program {
    pub(crate) fn new(path: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let kept = ["PATH", "HOME", "LD_LIBRARY_PATH"];
        let environment = kept.iter().filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?))).collect();
        Self { path: path.into(), arguments: arguments.iter().map(ToString::to_string).collect(), environment }
    }

    pub(crate) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn set_all<'a>(self, settings: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        settings.into_iter().fold(self, |program, (name, value)| program.set(name, value))
    }

    /// Runs it to its end: what it cost, and what it printed.
    ///
    /// # Errors
    /// When it cannot be started or does not end well; with what it said.
    pub(crate) async fn run(&self) -> Result<(Cost, String)> {
        let report = tempfile::NamedTempFile::new()?;
        let mut command = tokio::process::Command::new(env::current_exe()?);
        command.arg("launch").arg(report.path()).arg(&self.path).args(&self.arguments);
        command.env_clear().envs(&self.environment).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said: String = String::from_utf8_lossy(&output.stderr).chars().take(4000).collect();
            let printed: String = stdout.chars().take(2000).collect();
            return Err(format!(
                "{} {} ended with {}. It said: {said} {printed}",
                self.path.display(),
                self.arguments.join(" "),
                output.status
            )
            .into());
        }
        Ok((serde_json::from_slice(&fs::read(report.path())?)?, stdout))
    }
}

/// The small process: runs the program and writes its [`Cost`] to `report`.
pub(crate) fn launch(report: &Path, program: &Path, arguments: &[String]) -> Result<ExitCode> {
    let start = Instant::now();
    let status = std::process::Command::new(program).args(arguments).status().map_err(|error| {
        io::Error::new(error.kind(), format!("{} could not be started: {error}.", program.display()))
    })?;
    let wall = start.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    // Linux counts in KiB.
    let peak = u64::try_from(usage.max_rss()).unwrap_or_default() * 1024;
    fs::write(report, serde_json::to_vec(&Cost { wall, cpu, peak })?)?;
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}
