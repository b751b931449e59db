//! `dopq queue`, `dopq lock`, `dopq unlock`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use dopq_common::api::{LockRequest, Queue, QueueEntry};

use super::context::Context;
use super::jobs;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, duration};
use crate::output::{Column, Table};

/// Shows the queue in order.
pub(crate) async fn run(context: &Context) -> Result<u8, Failure> {
    let queue = context
        .client()?
        .queue()
        .await
        .map_err(Failure::call("read the queue"))?;
    let now = context.now();
    context.output.show(
        &queue,
        |queue| table(queue, now),
        |queue| {
            queue
                .entries
                .iter()
                .map(|entry| entry.id.to_string())
                .collect()
        },
    )?;
    if let Some(lock) = &queue.lock {
        context.output.warn(&format!(
            "the queue is locked, so nothing new starts: {}",
            crate::output::text::clean(lock)
        ));
    }
    if queue.entries.is_empty() {
        context.output.note("nothing waits");
    }
    Ok(exit::DONE)
}

fn table(queue: &Queue, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::number("#"),
        Column::number("ID"),
        Column::text("NAME"),
        Column::new("USER"),
        Column::number("PENALTY"),
        Column::new("CLASS").spare(),
        Column::number("PRIO").spare(),
        Column::number("GPUS").spare(),
        Column::number("WAITS"),
        Column::number("STARTS IN").spare(),
        Column::text("REASON"),
    ]);
    for entry in &queue.entries {
        table.row([
            entry.position.to_string().into(),
            entry.id.to_string().into(),
            (&entry.name).into(),
            (&entry.user).into(),
            format!("{:.4}", entry.penalty).into(),
            (&entry.class).into(),
            entry.priority.to_string().into(),
            entry.num_gpus.to_string().into(),
            age(entry.since, now).into(),
            entry
                .expected_start
                .map_or_else(String::new, |start| jobs::start_in_brief(&start, now))
                .into(),
            reason(entry).into(),
        ]);
    }
    table
}

fn reason(entry: &QueueEntry) -> String {
    match &entry.array {
        Some(array) => format!(
            "array {}: {}; {}",
            jobs::array(array),
            jobs::tally(array),
            entry.reason
        ),
        None => entry.reason.clone(),
    }
}

/// Arguments of `dopq lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArguments {
    /// Why, for everybody who asks
    reason: String,
    /// After this time it ends by itself, such as 30m or 2h
    #[arg(long = "for", default_value = "1h", value_name = "TIME", value_parser = dopq_common::bundle::config::duration)]
    duration: Duration,
}

/// Locks the queue.
pub(crate) async fn lock(context: &Context, arguments: LockArguments) -> Result<u8, Failure> {
    let request = LockRequest {
        reason: arguments.reason,
        for_seconds: arguments.duration.as_secs().max(1),
    };
    context
        .client()?
        .lock(&request)
        .await
        .map_err(Failure::call("lock the queue"))?;
    context.output.note(&format!(
        "locked for {}; jobs that run go on; dopq unlock ends it",
        duration(arguments.duration)
    ));
    Ok(exit::DONE)
}

/// Unlocks the queue.
pub(crate) async fn unlock(context: &Context) -> Result<u8, Failure> {
    context
        .client()?
        .unlock()
        .await
        .map_err(Failure::call("unlock the queue"))?;
    context.output.note("unlocked");
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Screen;

    #[test]
    fn the_queue_shows_order_penalty_and_reason() {
        let queue: Queue = serde_json::from_value(serde_json::json!({
            "version": 1, "lock": null,
            "entries": [
                {"position": 1, "id": 7, "name": "train", "user": "anna", "penalty": 0.0, "class": "normal",
                 "priority": 5, "num_gpus": 2, "since": "2026-11-24T06:59:30Z", "reason": "2 GPUs needed, 1 free",
                 "expected_start": {"p50": "2026-11-24T07:00:00Z", "p90": "2026-11-24T07:40:00Z"}},
                {"position": 2, "id": 5, "name": "evil\u{1b}[2J", "user": "bert", "penalty": 1.36787944, "class": "nice",
                 "priority": 0, "num_gpus": 1, "since": "2026-11-24T05:00:00Z", "reason": "behind job 7"}
            ]
        }))
        .unwrap();
        let now = "2026-11-24T07:00:00Z".parse().unwrap();
        let pipe = Screen {
            terminal: false,
            width: None,
            colour: false,
        };
        insta::assert_snapshot!(table(&queue, now).render(&pipe), @r"
        #  ID  NAME           USER  PENALTY  CLASS   PRIO  GPUS  WAITS  STARTS IN  REASON
        1   7  train          anna   0.0000  normal     5     2    30s    now-40m  2 GPUs needed, 1 free
        2   5  evil\u{1b}[2J  bert   1.3679  nice       0     1     2h             behind job 7
        ");
    }
}
