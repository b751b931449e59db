//! How jobs look in tables.

use chrono::{DateTime, Utc};
use dopq_common::api::{Array, ExpectedStart, Job, JobPage};
use dopq_common::id::{JobId, JobName};

use crate::output::text::{age, between};
use crate::output::{Cell, Column, Table, Tone};

/// What people call it: a task by its array and its index.
pub(super) fn name(job: &Job) -> JobName {
    job.task
        .map_or(JobName::Job(JobId(job.id)), |task| JobName::Task {
            array: JobId(task.array),
            index: task.index,
        })
}

/// What people call the jobs of a list.
pub(super) fn names(page: &JobPage) -> Vec<String> {
    page.jobs.iter().map(|job| name(job).to_string()).collect()
}

/// The indexes of an array's tasks, and how many run at once, as it was submitted: `0-999%16`.
pub(super) fn array(array: &Array) -> String {
    let most = array.max_running;
    let most = most.map_or_else(String::new, |most| format!("%{most}"));
    format!("{}{most}", array.indexes)
}

/// How it stands with an array's tasks: `3 running, 10 done, 1 failed, 986 waiting`.
pub(super) fn tally(array: &Array) -> String {
    let parts = [
        (array.active, "running"),
        (array.succeeded, "done"),
        (array.failed, "failed"),
        (array.cancelled, "cancelled"),
        (array.waiting, "waiting"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    parts.join(", ")
}

/// The state's or outcome's word, in its colour.
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

/// A state's word, in its colour.
pub(super) fn word(state: &str) -> Cell {
    let tone = match state {
        "assigned" | "building" | "running" => Tone::Busy,
        "queued" | "paused" | "stopping" => Tone::Waiting,
        _ => Tone::Plain,
    };
    Cell::toned(state, tone)
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
    format!("{} (p50), {} (p90)", when(start.p50), when(start.p90))
}

/// The same where there is little room.
pub(super) fn start_in_brief(start: &ExpectedStart, now: DateTime<Utc>) -> String {
    let when = |at: DateTime<Utc>| {
        if at <= now {
            "now".to_owned()
        } else {
            age(now, at)
        }
    };
    let (p50, p90) = (when(start.p50), when(start.p90));
    if p50 == p90 {
        p50
    } else {
        format!("{p50}-{p90}")
    }
}

/// Where it is, or why it is nowhere yet, or how it ended.
fn remark(job: &Job) -> String {
    let tasks = job.array.as_ref();
    let tasks = tasks.map(|tasks| format!("array {}: {}", array(tasks), tally(tasks)));
    if let Some(outcome) = &job.outcome {
        return if outcome.cause == "succeeded" {
            tasks.unwrap_or_default()
        } else {
            outcome.detail.clone()
        };
    }
    let waits = match (&job.reason, job.position) {
        (Some(reason), Some(position)) => Some(format!("#{position}: {reason}")),
        (Some(reason), None) => Some(reason.clone()),
        (None, Some(position)) => Some(format!("#{position} in the queue")),
        (None, None) => None,
    };
    let parts: Vec<String> = tasks.into_iter().chain(waits).collect();
    parts.join("; ")
}

/// A list of jobs.
pub(super) fn table(page: &JobPage, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::number("ID"),
        Column::text("NAME"),
        Column::new("USER"),
        Column::new("STATE"),
        Column::number("GPUS").spare(),
        Column::number("AGE"),
        Column::number("RAN").spare(),
        Column::new("WORKER").spare(),
        Column::text("REMARK"),
    ]);
    for job in &page.jobs {
        table.row([
            name(job).to_string().into(),
            (&job.name).into(),
            (&job.user).into(),
            state(job),
            job.num_gpus.to_string().into(),
            age(job.submitted_at, now).into(),
            run_time(job, now).into(),
            job.worker.as_deref().unwrap_or("").into(),
            remark(job).into(),
        ]);
    }
    table
}
