//! The Azure CLI and azd, which are asked for the sign-in of whoever runs this: a program that is not waited for any more is
//! ended, with all that it has started. `az` is a shell script around a hundred megabytes of Python, and whoever tries again
//! would have one more of them each time.

use std::{
    ffi::OsStr,
    io,
    process::{Output, Stdio},
};

use async_trait::async_trait;
use azure_identity::Executor;
use tokio::process::Command;

/// Runs a program as long as somebody waits for it.
#[derive(Debug)]
pub(super) struct Tool;

#[async_trait]
impl Executor for Tool {
    async fn run(&self, program: &OsStr, args: &[&OsStr]) -> io::Result<Output> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn()?;
        let id = child.id();
        let mut output = Box::pin(child.wait_with_output());
        // Dropped before the child, which is the leader of its group: nobody else can have that id yet.
        let mut group = Group(id);
        let output = output.as_mut().await;
        group.0 = None;
        output
    }
}

/// A program and all that it has started, ended when this is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(id) = self.0.and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?)) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}
