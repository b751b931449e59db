//! `dopq queue`, `dopq lock`, `dopq unlock`.

use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use clap::Args;
use dopq_common::api::{LockRequest, Queue, QueueEntry, REASON_WIDTH};

use super::context::Context;
use super::filter::Filter;
use super::jobs;
use super::list::{self, Look, Remark, Watch};
use crate::client::QueueFilter;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, clean, duration, local_times};
use crate::output::{Column, Table};

/// Arguments of `dopq queue`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// Show at most this many
    #[arg(long, short = 'n', default_value_t = 1000, value_name = "NUMBER")]
    limit: usize,
    #[command(flatten)]
    watch: Watch,
}

/// Shows the queue in order.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let filter = QueueFilter {
        user: arguments.filter.user(&client).await?,
        labels: arguments.filter.labels().to_vec(),
    };
    let look = Look {
        tables: |queue: &Queue, now| vec![table(queue, now)],
        names: |queue| {
            let entries = queue.entries.iter();
            entries.map(|entry| entry.id.to_string()).collect()
        },
    };
    list::show(context, arguments.watch, &look, async || {
        let queue = client.queue(&filter, arguments.limit.max(1)).await;
        let queue = queue.map_err(Failure::call("read the queue"))?;
        let remarks = remarks(&queue);
        Ok((queue, remarks))
    })
    .await
}

fn remarks(queue: &Queue) -> Vec<Remark> {
    let lock = queue.lock.as_deref().map(|lock| {
        let lock = local_times(&clean(lock), &Local);
        Remark::Warning(format!("the queue is locked, no jobs start: {lock}"))
    });
    let shown = queue.entries.len();
    let rest = match queue.next {
        _ if shown == 0 => Some("no jobs wait".to_owned()),
        Some(_) => Some(format!("{shown} shown, there are more; raise --limit")),
        None => None,
    };
    lock.into_iter().chain(rest.map(Remark::Note)).collect()
}

fn table(queue: &Queue, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::number("#"),
        Column::number("ID"),
        Column::text("NAME").at_least(10),
        Column::text("USER"),
        Column::number("GPUS"),
        Column::number("WAITS"),
        Column::number("STARTS IN"),
        Column::new("CLASS").spare(),
        Column::number("PRIO").spare(),
        Column::number("PENALTY").spare(),
        Column::text("REASON").at_least(REASON_WIDTH),
    ]);
    for entry in &queue.entries {
        table.row([
            entry.position.to_string().into(),
            entry.id.to_string().into(),
            (&entry.name).into(),
            (&entry.user).into(),
            jobs::gpus(entry.num_gpus, entry.gpu_milli).into(),
            age(entry.since, now).into(),
            jobs::short_start(entry.expected_start.as_ref(), now).into(),
            (&entry.class).into(),
            entry.priority.to_string().into(),
            format!("{:.4}", entry.penalty).into(),
            reason(entry).into(),
        ]);
    }
    table
}

fn reason(entry: &QueueEntry) -> String {
    let reason = entry.reason_short.as_ref().unwrap_or(&entry.reason);
    let reason = local_times(reason, &Local);
    match &entry.array {
        Some(array) => format!(
            "{reason}; array {}: {}",
            jobs::array(array),
            jobs::tally(array)
        ),
        None => reason,
    }
}

/// Arguments of `dopq lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArguments {
    /// The reason, shown to everybody
    reason: String,
    /// How long, such as 30m or 2h
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
        "queue locked for {}; running jobs continue; to unlock: dopq unlock",
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
    context.output.note("queue unlocked");
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
                 "priority": 0, "num_gpus": 1, "gpu_milli": 500, "since": "2026-11-24T05:00:00Z",
                 "reason": "the queue waits for job 7", "reason_short": "behind anna's job 7"}
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
        #  ID  NAME           USER  GPUS  WAITS  STARTS IN  CLASS   PRIO  PENALTY  REASON
        1   7  train          anna     2    30s        now  normal     5   0.0000  2 GPUs needed, 1 free
        2   5  evil\u{1b}[2J  bert   0.5     2h    unknown  nice       0   1.3679  behind anna's job 7
        ");
    }

    #[test]
    fn the_queue_fits_80_columns() {
        let entry = |position: u64, more: &str| {
            serde_json::json!({
                "position": position, "id": 123_456, "name": "llama-70b-instruct-finetune-with-lora",
                "user": "alexandra.von-der-mayer", "penalty": 12.345_678, "class": "normal", "priority": -10,
                "num_gpus": 8, "gpu_milli": 1000, "since": "2026-11-23T05:00:00Z",
                "reason": "a whole sentence that goes on for much longer than any table is wide",
                "reason_short": more,
                "expected_start": {"p50": "2026-11-25T07:00:00Z", "p90": "2026-11-26T07:40:00Z"}
            })
        };
        let queue: Queue = serde_json::from_value(serde_json::json!({
            "version": 1, "lock": null,
            "entries": [entry(1, "6 of 8 GPUs free"), entry(100, "behind job 123456")]
        }))
        .unwrap();
        let text = table(&queue, "2026-11-24T07:00:00Z".parse().unwrap()).render_at_80();
        for part in ["6 of 8 GPUs free", "behind job 123456", "STARTS IN", " 1d "] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
