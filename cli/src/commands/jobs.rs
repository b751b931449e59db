//! How jobs look in tables.

use chrono::{DateTime, Utc};
use dopq_common::api::{Job, JobPage};

use crate::output::text::{age, between};
use crate::output::{Cell, Column, Table, Tone};

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

/// Where it is, or why it is nowhere yet, or how it ended.
fn remark(job: &Job) -> String {
    if let Some(outcome) = &job.outcome {
        return if outcome.cause == "succeeded" {
            String::new()
        } else {
            outcome.detail.clone()
        };
    }
    match (&job.reason, job.position) {
        (Some(reason), Some(position)) => format!("#{position}: {reason}"),
        (Some(reason), None) => reason.clone(),
        (None, Some(position)) => format!("#{position} in the queue"),
        (None, None) => String::new(),
    }
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
            job.id.to_string().into(),
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
