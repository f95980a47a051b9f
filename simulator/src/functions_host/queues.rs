//! The queues behind triggers and outputs: in memory, or real Azure Storage queues (Azurite).

mod memory;
mod storage;

use super::{Error, Result, host_json::QueueOptions};
use base64::{Engine as _, engine::general_purpose::STANDARD};
pub use memory::MemoryQueues;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use storage::Storage;
pub use storage::StorageQueues;
use time::OffsetDateTime;
use tokio::sync::watch;

/// The most bytes one encoded message may have (learn: scalability-targets for queues, 64 KiB).
const MESSAGE_LIMIT: usize = 64 * 1024;
/// The shortest wait between two polls of a storage queue; it doubles while the queue stays empty.
const SHORTEST_POLL: Duration = Duration::from_millis(100);

/// Which queues the host uses.
#[derive(Default)]
pub enum Queues {
    /// Queues of this process, gone with the host.
    #[default]
    InMemory,
    /// Queues of this process that outlive the host, or that several hosts share as instances of one app do.
    Shared(MemoryQueues),
    /// Azure Storage queues.
    Storage(StorageQueues),
}

/// One delivery of a message.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) pop_receipt: String,
    /// How often the message was delivered, this time included.
    pub(super) dequeue_count: u32,
    pub(super) inserted_on: OffsetDateTime,
    pub(super) expires_on: OffsetDateTime,
    pub(super) next_visible_on: OffsetDateTime,
    /// The text as stored, so encoded when `messageEncoding` says so.
    pub(super) body: String,
}

/// All queues of the host, with the encoding of `messageEncoding`.
pub(super) struct QueueService {
    backend: Backend,
    base64: bool,
    longest_poll: Duration,
    arrivals: Arc<Arrivals>,
}

/// Counts what was put into each queue, to wake its listeners at once.
#[derive(Default)]
struct Arrivals(Mutex<HashMap<String, watch::Sender<u64>>>);

impl Arrivals {
    fn with<T>(&self, queue: &str, act: impl FnOnce(&watch::Sender<u64>) -> T) -> T {
        let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(arrivals.entry(queue.to_owned()).or_default())
    }
}

enum Backend {
    Memory(MemoryQueues),
    Storage(Storage),
}

impl QueueService {
    pub(super) fn new(queues: Queues, options: &QueueOptions) -> Result<Self> {
        let memory = |memory: MemoryQueues| (memory.arrivals(), Backend::Memory(memory));
        let (arrivals, backend) = match queues {
            Queues::InMemory => memory(MemoryQueues::default()),
            Queues::Shared(shared) => memory(shared),
            Queues::Storage(storage) => (Arc::default(), Backend::Storage(Storage::new(storage)?)),
        };
        Ok(Self { backend, base64: options.base64, longest_poll: options.max_polling_interval, arrivals })
    }

    /// Encodes bytes as the host does and puts them at the end of a queue, which is created if need be.
    pub(super) async fn send(&self, queue: &str, bytes: &[u8]) -> Result<()> {
        let body = match self.base64 {
            true => STANDARD.encode(bytes),
            false => String::from_utf8(bytes.to_vec()).map_err(|_| {
                Error::new(format!("a message to {queue} is no UTF-8 text; with messageEncoding none it must be"))
            })?,
        };
        self.send_as_is(queue, &body).await
    }

    /// Puts a message at the end of a queue as another client would: without encoding it.
    pub(super) async fn send_as_is(&self, queue: &str, body: &str) -> Result<()> {
        if body.len() > MESSAGE_LIMIT {
            return Err(Error::new(format!(
                "a message to {queue} has {} bytes after encoding; a queue takes at most {MESSAGE_LIMIT}",
                body.len()
            )));
        }
        match &self.backend {
            Backend::Memory(memory) => memory.send(queue, body),
            Backend::Storage(storage) => storage.send(queue, body).await?,
        }
        self.wake(queue);
        Ok(())
    }

    /// The text of a delivered message; `None` if it is not in the encoding of `messageEncoding`.
    pub(super) fn decode(&self, body: &str) -> Option<String> {
        match self.base64 {
            true => STANDARD.decode(body).ok().and_then(|bytes| String::from_utf8(bytes).ok()),
            false => Some(body.to_owned()),
        }
    }

    /// Takes up to `count` visible messages and hides them for `lease`.
    pub(super) async fn receive(&self, queue: &str, count: usize, lease: Duration) -> Result<Vec<Message>> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.receive(queue, count, lease)),
            Backend::Storage(storage) => storage.receive(queue, count, lease).await,
        }
    }

    /// Hides a delivered message for `hidden` from now on (renewal, or release after a failure).
    pub(super) async fn hide(&self, queue: &str, message: &mut Message, hidden: Duration) -> Result<()> {
        match &self.backend {
            Backend::Memory(memory) => memory.hide(queue, message, hidden)?,
            Backend::Storage(storage) => storage.hide(queue, message, hidden).await?,
        }
        self.wake(queue);
        Ok(())
    }

    /// Removes a delivered message for good.
    pub(super) async fn delete(&self, queue: &str, message: &Message) -> Result<()> {
        match &self.backend {
            Backend::Memory(memory) => memory.delete(queue, message),
            Backend::Storage(storage) => storage.delete(queue, message).await,
        }
    }

    /// The stored texts, oldest first. Storage queues show at most 32, and only visible ones.
    pub(super) async fn peek(&self, queue: &str) -> Result<Vec<String>> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.peek(queue)),
            Backend::Storage(storage) => storage.peek(queue).await,
        }
    }

    /// How many messages a queue holds, hidden ones included.
    pub(super) async fn count(&self, queue: &str) -> Result<usize> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.count(queue)),
            Backend::Storage(storage) => storage.count(queue).await,
        }
    }

    pub(super) fn arrivals(&self, queue: &str) -> watch::Receiver<u64> {
        self.arrivals.with(queue, watch::Sender::subscribe)
    }

    fn wake(&self, queue: &str) {
        self.arrivals.with(queue, |counter| counter.send_modify(|count| *count += 1));
    }

    /// Returns when looking into the queue may be worth it: something arrived, a hidden message becomes visible, or
    /// (storage queues) it is time for the next poll after `empty_polls` polls without a message.
    pub(super) async fn wait(&self, queue: &str, arrivals: &mut watch::Receiver<u64>, empty_polls: u32) {
        let pause = match &self.backend {
            Backend::Memory(memory) => memory.until_visible(queue),
            Backend::Storage(_) => {
                let doubled = SHORTEST_POLL.saturating_mul(2u32.saturating_pow(empty_polls.min(20)));
                Some(doubled.min(self.longest_poll))
            }
        };
        let timer = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            _ = arrivals.changed() => {}
        }
    }
}
