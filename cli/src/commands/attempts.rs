//! A job's attempts, as `dopq show` lists them.

use chrono::{DateTime, TimeZone, Utc};
use dopq_common::api::{Attempt, Job};

use crate::output::text::{between, instant};
use crate::output::{Cell, Column, Table, Tone};

/// So much of a GPU's UUID is shown; details and JSON have all of it.
const GPU_CHARS: usize = 12;

/// A line for each attempt.
pub(super) fn table<Z: TimeZone>(job: &Job, now: DateTime<Utc>, zone: &Z) -> Table
where
    Z::Offset: std::fmt::Display,
{
    let mut table = Table::new(&[
        Column::number("TRY"),
        Column::new("PLACED"),
        Column::text("NODE"),
        Column::text("GPUS").at_least(12),
        Column::number("RAN"),
        Column::text("CAUSE").at_least(9),
        Column::text("DETAIL").at_least(12),
    ])
    .wrapping();
    for attempt in &job.attempts {
        table.row([
            attempt.attempt.to_string().into(),
            instant(attempt.placed_at, zone).into(),
            (&attempt.worker).into(),
            gpus(attempt).into(),
            attempt
                .started_at
                .map_or_else(String::new, |at| {
                    between(at, attempt.ended_at.unwrap_or(now))
                })
                .into(),
            cause(attempt),
            (&attempt.detail).into(),
        ]);
    }
    table
}

fn gpus(attempt: &Attempt) -> String {
    let short = attempt.gpus.iter().map(|gpu| gpu.chars().take(GPU_CHARS));
    let short: Vec<String> = short.map(Iterator::collect).collect();
    short.join(" ")
}

fn cause(attempt: &Attempt) -> Cell {
    match attempt.cause.as_deref() {
        None => Cell::toned("goes on", Tone::Busy),
        Some("succeeded") => Cell::toned("succeeded", Tone::Good),
        Some(cause) => Cell::toned(cause, Tone::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Screen;

    #[test]
    fn each_attempt_has_its_machine_gpus_and_cause() {
        let mut job = serde_json::json!({
            "id": 12, "name": "train", "user": "anna", "state": "running", "outcome": null, "attempt": 2,
            "worker": "gpu02", "gpus": [], "submitted_at": "2026-11-24T07:00:00Z", "started_at": null,
            "finished_at": null, "position": null, "reason": null, "class": "normal", "priority": 0,
            "num_gpus": 2, "bundle": null, "labels": {}, "log_bytes": null
        });
        job["attempts"] = serde_json::json!([
            {"attempt": 1, "worker": "gpu01", "gpus": ["GPU-f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "GPU-2"],
             "placed_at": "2026-11-24T07:00:00Z", "started_at": "2026-11-24T07:00:10Z",
             "ended_at": "2026-11-24T07:03:30Z", "cause": "worker_lost", "detail": "no sign of life for 1m"},
            {"attempt": 2, "worker": "gpu02", "gpus": ["GPU-3"], "placed_at": "2026-11-24T07:04:00Z",
             "started_at": "2026-11-24T07:04:30Z", "ended_at": null, "cause": null}
        ]);
        let job: Job = serde_json::from_value(job).unwrap();
        let now = "2026-11-24T08:00:00Z".parse().unwrap();
        let pipe = Screen {
            terminal: false,
            width: None,
            colour: false,
        };
        insta::assert_snapshot!(table(&job, now, &Utc).render(&pipe), @r"
        TRY  PLACED               NODE   GPUS                   RAN  CAUSE        DETAIL
          1  2026-11-24 07:00:00  gpu01  GPU-f81d4fae GPU-2   3m20s  worker_lost  no sign of life for 1m
          2  2026-11-24 07:04:00  gpu02  GPU-3               55m30s  goes on
        ");
        table(&job, now, &Utc).render_at_80();
    }
}
