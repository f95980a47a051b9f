//! Timers: the schedule, the schedule status, and the retry policy.

use super::{
    Core,
    function_json::{Function, Trigger},
    invocation::{self, Call, Invocation},
    logs::{HOST, Level},
    payload::{Payload, RetryContext, ScheduleStatus, TimerTimes},
    schedule::Schedule,
};
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;

/// Fires a timer by its schedule until the task is aborted. Ticks that fall into a run are skipped.
pub(super) async fn tick(core: Arc<Core>, function: Arc<Function>) {
    let Trigger::Timer { schedule, run_on_startup, .. } = &function.trigger else { return };
    if *run_on_startup {
        fire(&core, &function, false).await;
    }
    while let Some(next) = schedule.after(OffsetDateTime::now_utc()) {
        core.log.add(
            Level::Information,
            HOST,
            format!("timer {} fires next at {}", function.name, schedule.show_next()),
        );
        // In steps, so that a suspended machine does not oversleep.
        while let Ok(left) = Duration::try_from(next - OffsetDateTime::now_utc())
            && !left.is_zero()
        {
            tokio::time::sleep(left.min(Duration::from_secs(30))).await;
        }
        fire(&core, &function, false).await;
    }
}

/// Runs a timer function now, and again as its retry policy says. Gives the last attempt.
pub(super) async fn fire(core: &Core, function: &Function, past_due: bool) -> Option<Invocation> {
    let Trigger::Timer { binding, schedule, use_monitor, .. } = &function.trigger else { return None };
    let _busy = core.busy();
    let started = OffsetDateTime::now_utc();
    let times = use_monitor.then(|| times(core, function, schedule, started)).flatten();
    let status = if *use_monitor { core.schedule_status } else { ScheduleStatus::Null };
    let payload = Payload::timer(binding, status, times, past_due);
    let mut context = function.retry.as_ref().map(|retry| RetryContext {
        retry_count: 0,
        max_retry_count: retry.max_retry_count,
        error: None,
    });
    loop {
        let call = Call { function, payload: &payload, dequeue_count: None, retry: context.as_ref() };
        let invocation = invocation::run(core, call).await.0;
        let again = match (&function.retry, &mut context) {
            (Some(retry), Some(context))
                if !invocation.succeeded() && retry.max_retry_count.is_none_or(|max| context.retry_count < max) =>
            {
                context.retry_count += 1;
                context.error.clone_from(&invocation.error);
                core.timings.timer_retry_delay.unwrap_or_else(|| retry.delay(context.retry_count))
            }
            _ => {
                core.timer_ran(&function.name, started);
                return Some(invocation);
            }
        };
        tokio::time::sleep(again).await;
    }
}

fn times(core: &Core, function: &Function, schedule: &Schedule, now: OffsetDateTime) -> Option<TimerTimes> {
    Some(TimerTimes { last: core.last_run(&function.name), next: schedule.after(now)? })
}
