//! How much memory the real binary has at most. The system keeps the high-water mark of each process.

use std::{
    fs,
    io::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::io::AsyncReadExt as _;

use crate::local_azure::{BINARY, LIMIT, Settings};

pub(crate) const MIB: u64 = 1024 * 1024;

/// What a command came to.
pub(crate) struct Measured {
    pub(crate) stdout: String,
    pub(crate) took: Duration,
    /// The most memory it had, in bytes.
    pub(crate) peak: u64,
}

/// Runs a command that must succeed, with this environment and no other.
pub(crate) async fn measure(environment: &Settings, arguments: &[&str]) -> Measured {
    measure_to(0, environment, arguments).await
}

/// Runs a command that must end with this exit code.
pub(crate) async fn measure_to(code: i32, environment: &Settings, arguments: &[&str]) -> Measured {
    let start = Instant::now();
    let mut command = tokio::process::Command::new(BINARY);
    command.args(arguments).env_clear().envs(environment).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let mut out = child.stdout.take().unwrap();
    let ended = async {
        let mut text = String::new();
        out.read_to_string(&mut text).await.unwrap();
        (child.wait().await.unwrap(), text)
    };
    tokio::pin!(ended);
    // The mark is gone with the process, so it is looked at until then.
    let mut look = tokio::time::interval(Duration::from_millis(2));
    let mut peak = 0;
    let (status, stdout) = loop {
        tokio::select! {
            ended = &mut ended => break ended,
            _ = look.tick() => peak = peak.max(high_water(&status)),
        }
        assert!(start.elapsed() < 5 * LIMIT, "{arguments:?} does not end");
    };
    assert_eq!(status.code(), Some(code), "{arguments:?}: {stdout}");
    let took = start.elapsed();
    assert!(peak > MIB, "nothing was measured of {arguments:?}");
    Measured { stdout, took, peak }
}

/// `peaks` gives the most memory of each command, in bytes, on a vault of so many items: of 10,000 it is little more than
/// of 1,000.
pub(crate) async fn assert_hardly_grows(peaks: impl AsyncFn(usize) -> Vec<(String, u64)>) {
    let (few, many) = (peaks(1_000).await, peaks(10_000).await);
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        assert!(many < 64 * MIB, "{what}: {many} bytes");
        assert!(many < few + 16 * MIB, "{what}: {few} bytes for 1,000 items, {many} for 10,000");
    }
}

/// Says what was measured; the figures are for people, because times depend on the machine.
pub(crate) fn tell(what: &str, Measured { took, peak, .. }: &Measured) {
    let line = format!("{what}: {:.1} MiB at most, {:.2} s", *peak as f64 / MIB as f64, took.as_secs_f64());
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `VmHWM` in bytes; 0 when the process has ended.
fn high_water(status: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line =
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    line.unwrap_or_default() * 1024
}
