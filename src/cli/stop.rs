//! Ctrl-C, and SIGTERM from whoever ends processes.

use std::{process, thread, time::Duration};

use tokio::{runtime::Builder, sync::oneshot};

use super::print::{self, STOPPED};

/// A terminal sends the signal first, and then throws away what was written to it and not yet shown.
const TERMINAL_IS_READY: Duration = Duration::from_millis(50);

/// Waits until somebody asks this command to stop. Who asks again does not wait for the end: then the process ends at
/// once, which no stored backup minds.
///
/// It is listened to from this call on, not from the first poll: a bar can be seen before that.
pub(super) fn requested() -> impl Future<Output = ()> {
    let mut signals = Signals::listen();
    async move {
        signals.next().await;
        let (listen, listens) = oneshot::channel();
        // Without a thread the first request is honoured all the same.
        let _ = thread::Builder::new().spawn(|| end_at_next(listen));
        // From here on two requests are two, however fast they follow each other.
        let _ = listens.await;
    }
}

/// Ends the process at the next request. On a thread and a runtime of its own: a disk or a network that hangs holds the
/// other one up until the very end, which is when somebody asks a second time.
fn end_at_next(listen: oneshot::Sender<()>) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let mut signals = Signals::listen();
        let _ = listen.send(());
        signals.next().await;
        tokio::time::sleep(TERMINAL_IS_READY).await;
        print::ended_at_once();
        #[allow(clippy::disallowed_methods, reason = "the second request is not to wait for anything")]
        process::exit(STOPPED.into());
    });
}

#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // One that cannot be listened to ends the process by itself.
        Self(
            [SignalKind::interrupt(), SignalKind::terminate()]
                .into_iter()
                .filter_map(|kind| signal(kind).ok())
                .collect(),
        )
    }

    async fn next(&mut self) {
        let waits: Vec<_> = self.0.iter_mut().map(|signal| Box::pin(signal.recv())).collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(waits).await;
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
