//! Delivery of queue messages.

use crate::app::{App, LIMIT, answer, run_job};
use serde_json::json;
use simulator::functions_host::{Host, MemoryQueues, Queues, Twice};
use std::time::Duration;

#[tokio::test]
async fn a_message_that_always_fails_goes_to_the_poison_queue_after_five_deliveries() {
    let app = App::new();
    let host = app.start().await;
    let message = json!({"status": 500}).to_string();
    host.enqueue("jobs", &message).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let counts: Vec<_> = host.invocations().iter().map(|i| i.dequeue_count.unwrap()).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5]);
    assert_eq!(host.queue_messages("jobs-poison").await.unwrap(), [message]);
}

#[tokio::test]
async fn a_message_that_is_not_base64_is_poison_at_once() {
    let app = App::new();
    let host = app.start().await;
    host.enqueue_as_is("jobs", "{\"plain\":1}").await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    assert!(host.invocations().is_empty());
    assert_eq!(host.queue_messages("jobs-poison").await.unwrap(), ["{\"plain\":1}"]);
}

#[tokio::test]
async fn a_message_can_be_delivered_twice_in_turn() {
    let app = App::new();
    let host = app.start().await;
    host.deliver_twice("jobs", Twice::InTurn);
    host.enqueue("jobs", &answer(&json!({"out": ["x"]}))).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let counts: Vec<_> = host.invocations().iter().map(|i| (i.dequeue_count, i.succeeded())).collect();
    assert_eq!(counts, [(Some(1), true), (Some(2), true)]);
    assert_eq!(host.queue_messages("results").await.unwrap(), ["x", "x"]);
}

#[tokio::test]
async fn a_message_can_be_delivered_twice_at_once() {
    let app = App::new();
    let host = app.start().await;
    host.deliver_twice("jobs", Twice::AtOnce);
    let gate = app.path("gate");
    host.enqueue("jobs", &json!({"wait": gate}).to_string()).await.unwrap();
    let both = |line: &str| line.starts_with("SEEN");
    host.wait_for_log(LIMIT, |_| host.logs().iter().filter(|line| both(&line.message)).count() == 2).await.unwrap();
    assert!(host.invocations().is_empty(), "both run");
    std::fs::write(gate, "").unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let mut counts: Vec<_> = host.invocations().iter().map(|i| i.dequeue_count.unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2]);
}

#[tokio::test]
async fn a_message_survives_the_kill_of_the_handler() {
    let app = App::new();
    let host = app.start().await;
    let gate = app.path("gate");
    host.enqueue("jobs", &json!({"wait": gate}).to_string()).await.unwrap();
    host.wait_for_log(LIMIT, |line| line.message.starts_with("SEEN")).await.unwrap();
    host.kill_handler().await;
    std::fs::write(gate, "").unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let outcomes: Vec<_> = host.invocations().iter().map(|i| (i.dequeue_count.unwrap(), i.succeeded())).collect();
    assert_eq!(outcomes, [(1, false), (2, true)]);
}

#[tokio::test]
async fn at_most_batch_size_plus_threshold_messages_are_handled_at_a_time() {
    let app = App::new();
    let host = app.start().await;
    let gate = app.path("gate");
    for _ in 0..10 {
        host.enqueue("jobs", &json!({"wait": gate}).to_string()).await.unwrap();
    }
    let arrived = || host.logs().iter().filter(|line| line.message.starts_with("SEEN")).count();
    // Two are fetched first; with two running, more than the threshold of one, nothing else is.
    host.wait_for_log(LIMIT, |_| arrived() == 2).await.unwrap();
    assert!(host.wait_for_log(Duration::from_millis(200), |_| arrived() > 2).await.is_err());
    std::fs::write(gate, "").unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(host.invocations().len(), 10);
}

#[tokio::test]
async fn the_lease_of_a_long_run_is_renewed() {
    let app = App::new();
    let mut options = app.options();
    options.timings.queue_lease = Duration::from_millis(800);
    let host = Host::start(options).await.unwrap();
    let gate = app.path("gate");
    host.enqueue("jobs", &json!({"wait": gate}).to_string()).await.unwrap();
    let arrived = || host.logs().iter().filter(|line| line.message.starts_with("SEEN")).count();
    assert!(host.wait_for_log(Duration::from_millis(1200), |_| arrived() > 1).await.is_err());
    std::fs::write(gate, "").unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(host.invocations().len(), 1);
}

#[tokio::test]
async fn a_failed_message_is_hidden_for_the_visibility_timeout() {
    let app = App::new();
    let mut options = app.options();
    options.timings.visibility_timeout = Some(Duration::from_secs(3600));
    let host = Host::start(options).await.unwrap();
    assert!(!run_job(&host, &json!({"status": 500}).to_string()).await.succeeded());
    assert!(host.wait_for_invocations(Duration::from_millis(200), 2).await.is_err());
    assert_eq!(host.queue_messages("jobs").await.unwrap().len(), 1);
    assert!(host.wait_idle(Duration::from_millis(50)).await.is_err(), "a hidden message still waits");
}

#[tokio::test]
async fn a_message_survives_the_loss_of_the_whole_instance() {
    let app = App::new();
    let queues = MemoryQueues::default();
    let instance = || async {
        let mut options = app.options();
        options.queues = Queues::Shared(queues.clone());
        options.timings.queue_lease = Duration::from_millis(800);
        Host::start(options).await.unwrap()
    };
    let first = instance().await;
    let gate = app.path("gate");
    first.enqueue("jobs", &json!({"wait": gate}).to_string()).await.unwrap();
    first.wait_for_log(LIMIT, |line| line.message.starts_with("SEEN")).await.unwrap();
    drop(first);
    std::fs::write(gate, "").unwrap();
    let second = instance().await;
    second.wait_idle(LIMIT).await.unwrap();
    let outcomes: Vec<_> = second.invocations().iter().map(|i| (i.dequeue_count.unwrap(), i.succeeded())).collect();
    assert_eq!(outcomes, [(2, true)]);
}

#[tokio::test]
async fn what_one_instance_queues_another_one_handles_too() {
    let app = App::new();
    let queues = MemoryQueues::default();
    let mut hosts = Vec::new();
    for _ in 0..2 {
        let mut options = app.options();
        options.queues = Queues::Shared(queues.clone());
        hosts.push(Host::start(options).await.unwrap());
    }
    let gate = app.path("gate");
    for _ in 0..4 {
        hosts[0].enqueue("jobs", &json!({"wait": gate}).to_string()).await.unwrap();
    }
    for host in &hosts {
        host.wait_for_log(LIMIT, |line| line.message.starts_with("SEEN")).await.unwrap();
    }
    std::fs::write(gate, "").unwrap();
    for host in &hosts {
        host.wait_idle(LIMIT).await.unwrap();
    }
    assert_eq!(hosts[0].invocations().len() + hosts[1].invocations().len(), 4);
}
