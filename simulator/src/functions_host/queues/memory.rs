//! Queues of this process, with visibility, dequeue counts and pop receipts like those of Azure Storage.

use super::{Arrivals, Message};
use crate::functions_host::{Error, Result};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

/// How long Azure Storage keeps a message by default.
const TIME_TO_LIVE: Duration = Duration::from_secs(7 * 86_400);

/// Queues in memory; clones are the same queues.
#[derive(Clone, Default)]
pub struct MemoryQueues {
    queues: Arc<Mutex<HashMap<String, Vec<Stored>>>>,
    arrivals: Arc<Arrivals>,
}

struct Stored {
    message: Message,
    visible_at: Instant,
}

impl MemoryQueues {
    pub(super) fn arrivals(&self) -> Arc<Arrivals> {
        self.arrivals.clone()
    }

    pub(super) fn send(&self, queue: &str, body: &str) {
        let now = OffsetDateTime::now_utc();
        let message = Message {
            id: Uuid::new_v4().to_string(),
            pop_receipt: String::new(),
            dequeue_count: 0,
            inserted_on: now,
            expires_on: now + TIME_TO_LIVE,
            next_visible_on: now,
            body: body.to_owned(),
        };
        self.queues().entry(queue.to_owned()).or_default().push(Stored { message, visible_at: Instant::now() });
    }

    pub(super) fn receive(&self, queue: &str, count: usize, lease: Duration) -> Vec<Message> {
        let now = Instant::now();
        let mut queues = self.queues();
        let visible = queues.get_mut(queue).into_iter().flatten().filter(|stored| stored.visible_at <= now);
        visible
            .take(count)
            .map(|stored| {
                stored.message.dequeue_count += 1;
                stored.hide(lease);
                stored.message.clone()
            })
            .collect()
    }

    pub(super) fn hide(&self, queue: &str, message: &mut Message, hidden: Duration) -> Result<()> {
        let mut queues = self.queues();
        let stored = queues.get_mut(queue).into_iter().flatten().find(|stored| stored.is(message));
        let stored = stored.ok_or_else(|| gone(queue, message))?;
        stored.hide(hidden);
        message.pop_receipt.clone_from(&stored.message.pop_receipt);
        message.next_visible_on = stored.message.next_visible_on;
        Ok(())
    }

    pub(super) fn delete(&self, queue: &str, message: &Message) -> Result<()> {
        let mut queues = self.queues();
        let stored = queues.entry(queue.to_owned()).or_default();
        let position = stored.iter().position(|stored| stored.is(message)).ok_or_else(|| gone(queue, message))?;
        stored.remove(position);
        Ok(())
    }

    pub(super) fn peek(&self, queue: &str) -> Vec<String> {
        self.queues().get(queue).into_iter().flatten().map(|stored| stored.message.body.clone()).collect()
    }

    pub(super) fn count(&self, queue: &str) -> usize {
        self.queues().get(queue).map_or(0, Vec::len)
    }

    /// The time until the next message becomes visible; `None` in an empty queue.
    pub(super) fn until_visible(&self, queue: &str) -> Option<Duration> {
        let now = Instant::now();
        self.queues().get(queue)?.iter().map(|stored| stored.visible_at.saturating_duration_since(now)).min()
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<String, Vec<Stored>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored {
    fn hide(&mut self, hidden: Duration) {
        self.visible_at = Instant::now() + hidden;
        self.message.next_visible_on = OffsetDateTime::now_utc() + hidden;
        self.message.pop_receipt = Uuid::new_v4().simple().to_string();
    }

    fn is(&self, message: &Message) -> bool {
        self.message.id == message.id && self.message.pop_receipt == message.pop_receipt
    }
}

fn gone(queue: &str, message: &Message) -> Error {
    Error::new(format!("message {} of {queue} is gone or was delivered again meanwhile", message.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_received_message_is_hidden_until_its_lease_ends() {
        let memory = MemoryQueues::default();
        memory.send("jobs", "a");
        let lease = Duration::from_secs(600);
        let first = memory.receive("jobs", 16, lease).remove(0);
        assert_eq!((first.dequeue_count, memory.receive("jobs", 16, lease).len()), (1, 0));
        assert_eq!(memory.until_visible("jobs"), Some(lease));
        tokio::time::advance(lease).await;
        let second = memory.receive("jobs", 16, lease).remove(0);
        assert_eq!((second.id == first.id, second.dequeue_count), (true, 2));
        assert!(memory.delete("jobs", &first).is_err(), "an old pop receipt deletes nothing");
        memory.delete("jobs", &second).unwrap();
        assert_eq!(memory.count("jobs"), 0);
    }
}
