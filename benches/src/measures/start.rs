//! From the start of the process to its first answer: what the first invocation after a scale-out waits for.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Stdio,
    time::{Duration, Instant},
};

use super::jobs::turns;
use crate::{
    Result, Setup,
    client::tool,
    process::Program,
    report::{Report, table},
    series::Series,
};

/// What product.md asks for, in milliseconds.
const TARGET: f64 = 30.0;

/// Longer than any of them takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn run(setup: &Setup, report: &mut Report) -> Result<()> {
    let script = |name: &str| setup.peers.join(name).display().to_string();
    let handlers = [
        ("keyvault-backup", handler(setup)),
        ("Node.js, `node:http` alone", Program::new("node", &[&script("handler.mjs")])),
        ("Python, `http.server` alone", Program::new(setup.peers.join("python/bin/python"), &[&script("handler.py")])),
    ];
    let rounds = setup.rounds() * 4;
    let mut series = [const { Vec::new() }; 3];
    for round in 0..rounds {
        for index in turns(&[0, 1, 2], round) {
            series[index].push(first_answer(&handlers[index].1)?.as_secs_f64() * 1e3);
        }
    }
    let series = series.map(|figures| {
        let mut series = Series::default();
        figures.into_iter().for_each(|figure| series.push(figure));
        series
    });
    let rows = handlers.iter().zip(&series).map(|((name, _), milliseconds)| {
        vec![(*name).to_owned(), milliseconds.to_string(), format!("{} ×", milliseconds.over(&series[0]))]
    });
    let table = table(&["", "milliseconds", "to ours"], rows);
    report.section("start", &format!("{rounds} starts each, in turns; median (least–most):\n\n{table}"));
    let measured = format!("{} ms", series[0]);
    report.verdict("cold start, process to first answer", "30 ms", measured, series[0].median() <= TARGET);
    Ok(())
}

/// This program's handler, with settings as in production: none of it may be slow.
pub(super) fn handler(setup: &Setup) -> Program {
    tool(setup, &["serve"], "https://contosobackups.blob.core.windows.net/backups")
        .set("BACKUP_VAULTS", "contoso-prod")
        .set("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")
        .set("IDENTITY_HEADER", "x")
}

/// Starts a handler and asks it until it answers.
pub(super) fn first_answer(handler: &Program) -> Result<Duration> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut command = std::process::Command::new(&handler.path);
    command.args(&handler.arguments).env_clear().envs(&handler.environment);
    command.env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut process = command.spawn()?;
    let answered = loop {
        if let Some(true) = ask(port) {
            break Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE {
            break Err(format!("{} does not answer.", handler.path.display()).into());
        }
        std::thread::sleep(Duration::from_micros(100));
    };
    process.kill()?;
    process.wait()?;
    answered
}

/// The host's probe; `None` while nobody listens.
fn ask(port: u16) -> Option<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).ok()?;
    Some(&answer == b"HTTP/1.1 200 OK" || &answer == b"HTTP/1.0 200 OK")
}
