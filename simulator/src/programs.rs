//! One module per program; `main.rs` chooses.

pub(crate) mod azure;

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns when somebody asks this process to end: Ctrl-C, SIGTERM, or a closed terminal.
pub(crate) async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}
