//! Standard error that takes nothing any more: the work goes on, and the command ends.

use std::{fs::File, process::Stdio};

use serde_json::Value;

use super::{SLOW, Terminal, WIDE, vault_of};
use crate::local_azure::{BINARY, LIMIT};

/// Stops the output of a terminal.
const CTRL_S: &str = "\x13";

#[tokio::test]
async fn a_pipe_of_progress_that_nobody_reads_holds_nothing_up() {
    let azure = vault_of(20).await;
    let (writer, reader) = tokio::net::unix::pipe::pipe().unwrap();
    writer.writable().await.unwrap();
    let mut filled = 0;
    while let Ok(written) = writer.try_write(&[b'\n'; 4096]) {
        filled += written;
    }
    assert!(filled >= 4096, "{filled}");
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["backup", "--progress", "json", "--output", "json"]).env_clear().envs(azure.settings());
    command.env(SLOW.0, SLOW.1).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(writer.into_blocking_fd().unwrap()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_succeeded(&ended.stdout);
    drop(reader);
}

#[tokio::test]
async fn a_terminal_that_is_stopped_holds_nothing_up() {
    let azure = vault_of(20).await;
    let path = azure.folder().join("result.json");
    let result = Some(File::create(&path).unwrap());
    let mut terminal = Terminal::start_with(&azure, &[SLOW], &["backup", "--output", "json"], WIDE, result);
    terminal.wait_for_done(1, 20).await;
    terminal.press(CTRL_S).await;
    let ended = tokio::time::timeout(LIMIT, terminal.child.wait()).await.expect("the command ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_succeeded(&std::fs::read(path).unwrap());
    while let Ok(bytes) = terminal.output.try_recv() {
        terminal.screen.process(&bytes);
    }
    assert!(terminal.shows().contains("Backing up"), "it was not stopped:\n{}", terminal.shows());
}

fn assert_succeeded(result: &[u8]) {
    let result: Value = serde_json::from_slice(result).unwrap();
    assert_eq!(result["value"][0]["status"], "Succeeded", "{result}");
}
