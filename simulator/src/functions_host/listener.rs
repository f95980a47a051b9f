//! The queue listener: batches, leases, redelivery and the poison queue.

use super::{
    Core,
    function_json::Function,
    handler::State,
    invocation::{self, Call},
    logs::{HOST, Level},
    payload::Payload,
    queues::Message,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// How the next message of a queue is delivered twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// Again after it was handled with success, as when the host dies before it can delete the message.
    InTurn,
    /// While it is being handled, as when the lease of a long run could not be renewed.
    AtOnce,
}

/// Handles the messages of one queue for one function until the task is aborted.
pub(super) async fn listen(core: Arc<Core>, function: Arc<Function>, binding: String, queue: String) {
    Arc::new(Listener { core, function, binding, queue }).run().await;
}

struct Listener {
    core: Arc<Core>,
    function: Arc<Function>,
    binding: String,
    queue: String,
}

impl Listener {
    async fn run(self: Arc<Self>) {
        let core = &self.core;
        let options = &core.queue_options;
        let mut arrivals = core.queues.arrivals(&self.queue);
        let running = watch::Sender::new(0_usize);
        let mut tasks = JoinSet::new();
        let mut empty_polls = 0;
        loop {
            // A new batch is fetched once so few are left, hence at most batchSize + newBatchThreshold run at a time.
            let _ = running.subscribe().wait_for(|count| *count <= options.new_batch_threshold).await;
            let _ = core.handler.state().wait_for(|state| !matches!(state, State::Stopped(_))).await;
            while tasks.try_join_next().is_some() {}
            arrivals.borrow_and_update();
            let received = core.queues.receive(&self.queue, options.batch_size, core.timings.queue_lease).await;
            let messages = received.unwrap_or_else(|e| {
                self.complain(e.to_string());
                Vec::new()
            });
            if messages.is_empty() {
                core.queues.wait(&self.queue, &mut arrivals, empty_polls).await;
                empty_polls += 1;
                continue;
            }
            empty_polls = 0;
            for message in messages {
                let (listener, running, busy) = (self.clone(), running.clone(), core.busy());
                running.send_modify(|count| *count += 1);
                tasks.spawn(async move {
                    listener.handle(message).await;
                    running.send_modify(|count| *count -= 1);
                    drop(busy);
                });
            }
        }
    }

    async fn handle(&self, mut message: Message) {
        let Self { core, queue, .. } = self;
        let limit = core.queue_options.max_dequeue_count;
        let Some(text) = core.queues.decode(&message.body) else {
            self.complain(format!("message {} of {queue} is not base64, as messageEncoding wants", message.id));
            return self.poison(&message).await;
        };
        if message.dequeue_count > limit {
            return self.poison(&message).await;
        }
        let twice = core.take_twice(queue);
        let succeeded = if twice == Some(Twice::AtOnce) {
            let copy = Message { dequeue_count: message.dequeue_count + 1, ..message.clone() };
            tokio::join!(self.run_leased(&mut message, &text), self.invoke(&copy, &text)).0
        } else {
            self.run_leased(&mut message, &text).await
        };
        let outcome = if succeeded && twice == Some(Twice::InTurn) {
            core.queues.hide(queue, &mut message, Duration::ZERO).await
        } else if succeeded {
            core.queues.delete(queue, &message).await
        } else if message.dequeue_count >= limit {
            return self.poison(&message).await;
        } else {
            core.queues.hide(queue, &mut message, core.visibility_timeout).await
        };
        if let Err(e) = outcome {
            self.complain(e.to_string());
        }
    }

    /// Runs the function while renewing the lease of the message at half its time.
    async fn run_leased(&self, message: &mut Message, text: &str) -> bool {
        let lease = self.core.timings.queue_lease;
        let delivered = message.clone();
        let mut run = std::pin::pin!(self.invoke(&delivered, text));
        loop {
            tokio::select! {
                succeeded = &mut run => return succeeded,
                () = tokio::time::sleep(lease / 2) => {
                    if let Err(e) = self.core.queues.hide(&self.queue, message, lease).await {
                        self.complain(e.to_string());
                    }
                }
            }
        }
    }

    async fn invoke(&self, message: &Message, text: &str) -> bool {
        let payload = Payload::queue(&self.binding, message, text);
        let dequeue_count = Some(message.dequeue_count);
        let call = Call { function: &self.function, payload: &payload, dequeue_count, retry: None };
        invocation::run(&self.core, call).await.0.succeeded()
    }

    /// Moves the message to `<queue>-poison` as it is stored.
    async fn poison(&self, message: &Message) {
        let Self { core, queue, .. } = self;
        let poison = format!("{queue}-poison");
        self.complain(format!(
            "message {} of {queue} was delivered {} times and goes to {poison}",
            message.id, message.dequeue_count
        ));
        let moved = async {
            core.queues.send_as_is(&poison, &message.body).await?;
            core.queues.delete(queue, message).await
        };
        if let Err(e) = moved.await {
            self.complain(e.to_string());
        }
    }

    fn complain(&self, sentence: String) {
        self.core.log.add(Level::Error, HOST, sentence);
    }
}
