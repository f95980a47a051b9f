//! Timers and their retries.

use crate::app::{App, LIMIT};
use serde_json::json;
use simulator::functions_host::{Host, HostOptions, ScheduleStatus};
use std::time::Duration;

fn with_orders(app: &App, orders: &serde_json::Value) -> HostOptions {
    let mut options = app.options();
    options.settings.insert("ORDERS".into(), orders.to_string());
    options
}

#[tokio::test]
async fn a_failed_timer_is_retried_as_its_policy_says() {
    let app = App::new();
    let mut options = with_orders(&app, &json!({"status": 500}));
    options.timings.timer_retry_delay = Some(Duration::from_millis(1));
    let host = Host::start(options).await.unwrap();
    let last = host.fire("Tick").await.unwrap();
    assert_eq!((last.retry_count, last.succeeded()), (2, false));
    let retries: Vec<_> = host.invocations().iter().map(|i| i.retry_count).collect();
    assert_eq!(retries, [0, 1, 2]);
    let told = |line: &str| line.contains(r#""RetryCount":2"#) && line.contains(r#""MaxRetryCount":2"#);
    host.wait_for_log(LIMIT, |line| told(&line.message)).await.unwrap();
}

#[tokio::test]
async fn the_schedule_fires_the_timer() {
    let app = App::new();
    let mut options = app.options();
    options.run_schedules = true;
    let host = Host::start(options).await.unwrap();
    let all = host.wait_for_invocations(LIMIT, 2).await.unwrap();
    assert!(all.iter().all(|i| i.function == "Tick" && i.succeeded()), "{all:?}");
}

#[tokio::test]
async fn the_schedule_status_knows_the_last_run_or_can_be_null() {
    let app = App::new();
    let host = app.start().await;
    for _ in 0..2 {
        host.fire("Tick").await.unwrap();
    }
    let lasts = |line: &str| line.contains(r#""Last":""#) && !line.contains("0001-01-01");
    host.wait_for_log(LIMIT, |line| lasts(&line.message)).await.unwrap();

    let mut options = app.options();
    options.schedule_status = ScheduleStatus::Null;
    let host = Host::start(options).await.unwrap();
    host.fire("Tick").await.unwrap();
    host.wait_for_log(LIMIT, |line| line.message.contains(r#""ScheduleStatus":null"#)).await.unwrap();
}

#[tokio::test]
async fn only_timers_can_be_fired() {
    let app = App::new();
    let host = app.start().await;
    assert!(host.fire("Job").await.unwrap_err().to_string().contains("no timer trigger"));
}
