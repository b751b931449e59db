//! How jobs look in tables.

use std::collections::BTreeSet;

use chrono::{DateTime, Local, TimeZone, Utc};
use dopq_common::api::{Array, Checkpoint, ExpectedStart, Job, JobPage, Results, Task};
use dopq_common::id::{JobId, JobName};

use super::gpus::percent;
use crate::output::text::{self, age, between, bytes, count, instant, local_times};
use crate::output::{Cell, Column, Table, Tone};

/// A job's name: its id, or the array and index of a task.
pub(super) fn name(job: &Job) -> JobName {
    name_of(job.id, job.task)
}

/// The name of the job with this id, which may be a task.
pub(super) fn name_of(id: u64, task: Option<Task>) -> JobName {
    task.map_or(JobName::Job(JobId(id)), |task| JobName::Task {
        array: JobId(task.array),
        index: task.index,
    })
}

/// The names of a list of jobs.
pub(super) fn names(page: &JobPage) -> Vec<String> {
    page.jobs.iter().map(|job| name(job).to_string()).collect()
}

/// The indexes of an array's tasks, and how many run at once: `0-999%16`.
pub(super) fn array(array: &Array) -> String {
    let most = array.max_running;
    let most = most.map_or_else(String::new, |most| format!("%{most}"));
    format!("{}{most}", array.indexes)
}

/// The tasks of an array by state: `3 running, 10 done, 1 failed, 986 queued`.
pub(super) fn tally(array: &Array) -> String {
    let parts = [
        (array.active, "running"),
        (array.succeeded, "done"),
        (array.failed, "failed"),
        (array.cancelled, "cancelled"),
        (array.waiting, "queued"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    parts.join(", ")
}

/// The state or outcome, in its colour.
pub(super) fn state(job: &Job) -> Cell {
    match &job.outcome {
        Some(outcome) if outcome.cause == "succeeded" => Cell::toned("succeeded", Tone::Good),
        Some(outcome) => {
            let text = match outcome.exit_code {
                Some(code) if outcome.cause == "user_error" => {
                    format!("{} ({code})", outcome.cause)
                }
                Some(_) | None => outcome.cause.clone(),
            };
            Cell::toned(&text, Tone::Bad)
        }
        None => word(&job.state),
    }
}

/// A state, in its colour.
pub(super) fn word(state: &str) -> Cell {
    let tone = match state {
        "assigned" | "building" | "running" | "publishing" => Tone::Busy,
        "queued" | "paused" | "stopping" => Tone::Waiting,
        _ => Tone::Plain,
    };
    Cell::toned(state, tone)
}

/// What became of its results, in one line.
pub(super) fn results(results: &Results) -> String {
    if let Some(why) = &results.lost {
        return format!("lost: {why}");
    }
    let stored = format!(
        "{}, {}",
        count(results.files, "file", "files"),
        bytes(results.bytes)
    );
    match results.left_out {
        0 => stored,
        left_out => format!("incomplete: {stored}, {left_out} left out"),
    }
}

/// What is stored of its checkpoint, in one line.
pub(super) fn checkpoint<Z: TimeZone>(checkpoint: &Checkpoint, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    format!(
        "{}, {}, of attempt {}, {}",
        count(checkpoint.files, "file", "files"),
        bytes(checkpoint.bytes),
        checkpoint.attempt,
        instant(checkpoint.taken_at, zone)
    )
}

/// How long it ran, or runs.
pub(super) fn run_time(job: &Job, now: DateTime<Utc>) -> String {
    match (job.started_at, job.finished_at) {
        (Some(started), Some(finished)) => between(started, finished),
        (Some(started), None) if job.state != "queued" => between(started, now),
        (Some(_) | None, _) => String::new(),
    }
}

/// When a job is expected to start.
pub(super) fn start(start: &ExpectedStart, now: DateTime<Utc>) -> String {
    let when = |at: DateTime<Utc>| {
        if at <= now {
            "now".to_owned()
        } else {
            format!("in {}", between(now, at))
        }
    };
    format!(
        "{} (median), {} (90th percentile)",
        when(start.p50),
        when(start.p90)
    )
}

/// The expected start in a table: the median, in one unit.
pub(super) fn short_start(start: Option<&ExpectedStart>, now: DateTime<Utc>) -> String {
    match start {
        None => "unknown".to_owned(),
        Some(start) if start.p50 <= now => "now".to_owned(),
        Some(start) => age(now, start.p50),
    }
}

/// The GPUs that a job asks for: `2`, or `0.5` for half of one.
pub(super) fn gpus(number: u32, milli: Option<u32>) -> String {
    text::gpus(f64::from(number) * f64::from(milli.unwrap_or(1000)) / 1000.0)
}

/// Why it waits, or how it ended.
fn remark(job: &Job) -> String {
    let tasks = job.array.as_ref();
    let tasks = tasks.map(|tasks| format!("array {}: {}", array(tasks), tally(tasks)));
    if let Some(outcome) = &job.outcome {
        return if outcome.cause == "succeeded" {
            tasks.unwrap_or_default()
        } else {
            local_times(&outcome.detail, &Local)
        };
    }
    let reason = job.reason_short.as_ref().or(job.reason.as_ref());
    let reason = reason.map(|reason| local_times(reason, &Local));
    let waits = match (reason, job.position) {
        (Some(reason), Some(position)) => Some(format!("#{position}: {reason}")),
        (Some(reason), None) => Some(reason),
        (None, Some(position)) => Some(format!("#{position} in the queue")),
        (None, None) => None,
    };
    let parts: Vec<String> = waits.into_iter().chain(tasks).collect();
    parts.join("; ")
}

/// A list of jobs; of tasks, with a column for each variable of their sweep.
pub(super) fn table(page: &JobPage, now: DateTime<Utc>) -> Table {
    let variables: BTreeSet<&String> = page.jobs.iter().flat_map(|job| job.sweep.keys()).collect();
    let swept = variables.iter().map(|name| Column::text("").titled(name));
    let columns: Vec<Column> = [Column::number("ID"), Column::text("NAME").at_least(10)]
        .into_iter()
        .chain(swept)
        .chain([
            Column::text("USER"),
            Column::text("STATE").at_least(9),
            Column::number("GPUS"),
            Column::number("AGE"),
            Column::number("RAN").spare(),
            Column::text("NODE").spare(),
            Column::number("GPU%").spare(),
            Column::number("MEMORY").spare(),
            Column::text("REMARK").at_least(20),
        ])
        .collect();
    let mut table = Table::new(&columns);
    for job in &page.jobs {
        let doing = job.now.as_ref();
        let values = variables.iter().map(|name| {
            let value = job.sweep.get(*name).map_or("", String::as_str);
            Cell::from(value)
        });
        let cells = [name(job).to_string().into(), (&job.name).into()]
            .into_iter()
            .chain(values)
            .chain([
                (&job.user).into(),
                state(job),
                gpus(job.num_gpus, job.gpu_milli).into(),
                age(job.submitted_at, now).into(),
                run_time(job, now).into(),
                job.worker.as_deref().unwrap_or("").into(),
                doing
                    .and_then(|now| now.gpu_utilization_ratio)
                    .map_or_else(String::new, percent)
                    .into(),
                doing
                    .map_or_else(String::new, |now| bytes(now.memory_bytes))
                    .into(),
                remark(job).into(),
            ]);
        table.row_of(cells.collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job with long names in every column.
    fn long(state: &str, more: serde_json::Value) -> Job {
        let mut job = serde_json::json!({
            "id": 1_234_567, "name": "llama-70b-instruct-finetune-with-lora-and-a-long-name",
            "user": "alexandra.von-der-mayer", "state": state, "outcome": null, "attempt": 0, "worker": null,
            "gpus": [], "submitted_at": "2026-11-24T07:00:00Z", "started_at": null, "finished_at": null,
            "position": null, "reason": null, "class": "normal", "priority": 0, "num_gpus": 1, "gpu_milli": 500,
            "bundle": "00", "labels": {}, "log_bytes": null
        });
        for (name, value) in more.as_object().unwrap() {
            job[name] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn jobs_fit_80_columns() {
        let queued = long(
            "queued",
            serde_json::json!({
                "position": 3, "reason_short": "3 of 4 GPUs free",
                "reason": "2 nodes have too few free GPUs, and another sentence follows that goes on and on"
            }),
        );
        let running = long(
            "running",
            serde_json::json!({"started_at": "2026-11-24T07:00:09Z", "worker": "gpu-machine-in-rack-17"}),
        );
        let failed = long(
            "finished",
            serde_json::json!({"outcome": {
                "cause": "dependency_failed", "exit_code": null, "hint": "",
                "detail": "job 1234566 was cancelled, and this job needed it to succeed"
            }}),
        );
        let page = JobPage {
            version: 1,
            jobs: vec![queued, running, failed],
            next: None,
        };
        let now = "2026-11-24T09:30:00Z".parse().unwrap();
        let text = table(&page, now).render_at_80();
        let titles: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(
            titles,
            ["ID", "NAME", "USER", "STATE", "GPUS", "AGE", "REMARK"],
            "{text}"
        );
        assert!(text.contains("#3: 3 of 4 GPUs free"), "{text}");
        assert!(text.contains("  0.5  "), "half a GPU: {text}");
    }

    #[test]
    fn tasks_have_a_column_for_each_variable() {
        let task = |index: u32, lr: &str| {
            let more = serde_json::json!({
                "name": "train", "user": "anna", "task": {"array": 35, "index": index},
                "sweep": {"lr": lr, "seed": "1"}
            });
            long("running", more)
        };
        let page = JobPage {
            version: 1,
            jobs: vec![task(1, "0.01"), task(0, "0.1")],
            next: None,
        };
        let now = "2026-11-24T09:30:00Z".parse().unwrap();
        let text = table(&page, now).render_at_80();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().take(5).collect())
            .collect();
        assert_eq!(rows[0], ["ID", "NAME", "lr", "seed", "USER"], "{text}");
        assert_eq!(rows[1], ["35_1", "train", "0.01", "1", "anna"], "{text}");
        assert_eq!(rows[2], ["35_0", "train", "0.1", "1", "anna"], "{text}");
    }

    #[test]
    fn a_start_is_one_time_or_unknown() {
        let now = "2026-11-24T07:00:00Z".parse().unwrap();
        let mut start = ExpectedStart {
            p50: "2026-11-24T07:12:00Z".parse().unwrap(),
            p90: "2026-11-24T18:00:00Z".parse().unwrap(),
        };
        assert_eq!(short_start(Some(&start), now), "12m");
        start.p50 = now;
        assert_eq!(short_start(Some(&start), now), "now");
        assert_eq!(short_start(None, now), "unknown");
    }
}
