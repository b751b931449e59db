//! `dopq show`: everything about a job, with its timeline.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Local, TimeZone, Utc};
use clap::Args;
use dopq_common::api::Job;

use super::context::Context;
use super::follow::hint;
use super::{attempts, gpus, jobs, requested};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{between, bytes, clean, duration, instant, local_times};
use crate::output::{Cell, Column, Format, Table};
use crate::select::{Selection, Whose, resolve};

/// Arguments of `dopq show`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Jobs: 1423, 3-7, 3,5-7 or last
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Selection>,
}

/// Shows each job.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, &arguments.jobs, Whose::Anybodys).await?;
    let several = ids.len() > 1;
    for (index, id) in ids.into_iter().enumerate() {
        let job = client
            .job(id)
            .await
            .map_err(Failure::call(format!("show job {id}")))?;
        match context.output.format {
            // One document a line.
            Format::Json if several => context.output.json_line(&job)?,
            Format::Json => context.output.json(&job)?,
            Format::Quiet => context.output.line(&jobs::name(&job).to_string())?,
            Format::Table => {
                if index > 0 {
                    context.output.line("")?;
                }
                let now = context.now();
                let mut tables = vec![details(&job, now, &Local)];
                if !job.attempts.is_empty() {
                    tables.push(attempts::table(&job, now, &Local));
                }
                if !job.timeline.is_empty() {
                    tables.push(timeline(&job, now, &Local));
                }
                context.output.tables(&tables)?;
            }
        }
    }
    Ok(exit::DONE)
}

/// Names and values; empty ones are left out.
fn details<Z: TimeZone>(job: &Job, now: DateTime<Utc>, zone: &Z) -> Table
where
    Z::Offset: std::fmt::Display,
{
    let mut table = Table::new(&[Column::new("FIELD"), Column::text("VALUE")])
        .untitled()
        .wrapping();
    let mut add = |name: &str, value: Option<Cell>| {
        if let Some(value) = value {
            table.row([name.into(), value]);
        }
    };
    let text = |text: &str| (!text.is_empty()).then(|| Cell::from(text));
    let outcome = job.outcome.as_ref();
    add("Job", text(&format!("{} ({})", jobs::name(job), job.name)));
    add("Id", job.task.map(|_| job.id.to_string().into()));
    add("User", text(&job.user));
    add("State", Some(jobs::state(job)));
    add(
        "Exit code",
        outcome
            .and_then(|outcome| outcome.exit_code)
            .map(|code| code.to_string().into()),
    );
    add("Detail", outcome.and_then(|outcome| text(&outcome.detail)));
    add(
        "Hint",
        outcome.and_then(|outcome| text(&hint(job, outcome))),
    );
    if let Some(array) = &job.array {
        add("Array", text(&jobs::array(array)));
        add("Tasks", text(&jobs::tally(array)));
        add("Failed tasks", text(&array.failed_indexes));
        add("Cancelled tasks", text(&array.cancelled_indexes));
    }
    add(
        "Position",
        job.position.map(|position| position.to_string().into()),
    );
    let reason = job.reason.as_deref();
    add(
        "Waiting for",
        reason.map(|reason| local_times(reason, zone).into()),
    );
    add(
        "Expected start",
        job.expected_start.map(|at| jobs::start(&at, now).into()),
    );
    add("Class", text(&job.class));
    add(
        "Priority",
        (job.priority != 0).then(|| job.priority.to_string().into()),
    );
    add("GPUs", Some(jobs::gpus(job.num_gpus, job.gpu_milli).into()));
    add("GPU ids", text(&job.gpus.join(", ")));
    add(
        "Attempt",
        (job.attempt > 0).then(|| job.attempt.to_string().into()),
    );
    add("Node", job.worker.as_deref().map(Cell::from));
    add("Submitted", text(&instant(job.submitted_at, zone)));
    add("Started", job.started_at.map(|at| instant(at, zone).into()));
    add(
        "Finished",
        job.finished_at.map(|at| instant(at, zone).into()),
    );
    add("Ran", text(&jobs::run_time(job, now)));
    add("Expected run", expected(job).map(Cell::from));
    for used in &job.used {
        for (name, value) in gpus::used(used) {
            let name = if job.used.len() == 1 {
                name.to_owned()
            } else {
                format!("{name} (try {})", used.attempt)
            };
            add(&name, Some(value.into()));
        }
    }
    add("Now", job.now.as_ref().map(|now| gpus::job_now(now).into()));
    add("Log", job.log_bytes.map(|size| bytes(size).into()));
    if let Some(results) = &job.results {
        add("Results", text(&jobs::results(results)));
        for one in &results.left_out_first {
            let line = format!("{}: {}", clean(&one.path), one.reason);
            add("Left out", text(&line));
        }
    }
    add(
        "Checkpoint",
        job.checkpoint
            .as_ref()
            .map(|checkpoint| jobs::checkpoint(checkpoint, zone).into()),
    );
    add("Bundle", job.bundle.as_deref().map(Cell::from));
    add("Labels", text(&pairs(&job.labels, ", ")));
    add("Sweep values", text(&pairs(&job.sweep, " ")));
    if let Some(requested) = &job.requested {
        for (name, value) in requested::rows(requested) {
            add(name, text(&value));
        }
    }
    table
}

/// Names and values on one line.
fn pairs(pairs: &BTreeMap<String, String>, between: &str) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(between)
}

/// How long it was expected to run, by what, and how long it took.
fn expected(job: &Job) -> Option<String> {
    let by = job.expected_by.as_ref()?;
    let typical = seconds(job.expected_seconds?)?;
    let most = job.expected_most_seconds.and_then(seconds);
    let most = most.filter(|most| *most != typical);
    let most = most.map_or_else(String::new, |most| format!(", at most {most}"));
    let took = job.ran_seconds.and_then(seconds);
    let took = took.map_or_else(String::new, |took| format!(", took {took}"));
    Some(format!("{typical}{most} ({by}){took}"))
}

/// A number of seconds as people read it; `None` for what is no duration.
fn seconds(seconds: f64) -> Option<String> {
    Duration::try_from_secs_f64(seconds).ok().map(duration)
}

/// Every state, and how long it lasted.
fn timeline<Z: TimeZone>(job: &Job, now: DateTime<Utc>, zone: &Z) -> Table
where
    Z::Offset: std::fmt::Display,
{
    let mut table = Table::new(&[
        Column::new("SINCE"),
        Column::new("STATE"),
        Column::number("FOR"),
        Column::number("TRY"),
        Column::text("NOTE"),
    ])
    .wrapping();
    for (index, entry) in job.timeline.iter().enumerate() {
        let until = job.timeline.get(index + 1).map(|next| next.at);
        let lasted = match until {
            Some(until) => between(entry.at, until),
            None if entry.state == "finished" => String::new(),
            None => between(entry.at, now),
        };
        table.row([
            instant(entry.at, zone).into(),
            jobs::word(&entry.state),
            lasted.into(),
            entry
                .attempt
                .map_or_else(String::new, |attempt| attempt.to_string())
                .into(),
            local_times(&entry.note, zone).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Screen;

    #[test]
    fn a_finished_job_tells_its_story() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "id": 12, "name": "train", "user": "anna", "state": "finished",
            "outcome": {"cause": "user_error", "exit_code": 3, "detail": "the container exited with 3",
                        "hint": "read the last lines of the log: dopq logs JOB"},
            "attempt": 1, "worker": "gpu01", "gpus": ["GPU-1", "GPU-2"],
            "submitted_at": "2026-11-24T07:00:00Z", "started_at": "2026-11-24T07:00:09Z",
            "finished_at": "2026-11-24T07:03:29Z", "position": null, "reason": null, "class": "normal",
            "priority": 2, "num_gpus": 2, "bundle": "00ff", "labels": {"team": "vision"}, "log_bytes": 2048, "sweep": {"lr": "0.1", "seed": "2"},
            "results": {"complete": false, "files": 2, "bytes": 3072, "left_out": 1,
                        "left_out_first": [{"path": "model.bin", "reason": "too large"}]},
            "checkpoint": {"attempt": 1, "taken_at": "2026-11-24T07:03:20Z", "files": 3, "bytes": 4096},
            "expected_seconds": 180.0, "expected_most_seconds": 240.5, "expected_by": "learned from 12 runs", "ran_seconds": 199.5,
            "timeline": [
                {"at": "2026-11-24T07:00:00Z", "state": "queued", "attempt": null, "note": ""},
                {"at": "2026-11-24T07:00:02Z", "state": "assigned", "attempt": 1, "note": "gpu01"},
                {"at": "2026-11-24T07:00:02.500Z", "state": "building", "attempt": 1, "note": ""},
                {"at": "2026-11-24T07:00:09Z", "state": "running", "attempt": 1, "note": ""},
                {"at": "2026-11-24T07:03:29Z", "state": "finished", "attempt": 1, "note": "user_error"}
            ]
        }))
        .unwrap();
        let now = "2026-11-24T08:00:00Z".parse().unwrap();
        let pipe = Screen {
            terminal: false,
            width: None,
            colour: false,
        };
        let text = format!(
            "{}\n{}",
            details(&job, now, &Utc).render(&pipe),
            timeline(&job, now, &Utc).render(&pipe)
        );
        insta::assert_snapshot!(text, @r"
        Job           12 (train)
        User          anna
        State         user_error (3)
        Exit code     3
        Detail        the container exited with 3
        Hint          read the last lines of the log: dopq logs 12
        Class         normal
        Priority      2
        GPUs          2
        GPU ids       GPU-1, GPU-2
        Attempt       1
        Node          gpu01
        Submitted     2026-11-24 07:00:00
        Started       2026-11-24 07:00:09
        Finished      2026-11-24 07:03:29
        Ran           3m20s
        Expected run  3m00s, at most 4m00s (learned from 12 runs), took 3m19s
        Log           2.0 KiB
        Results       incomplete: 2 files, 3.0 KiB, 1 left out
        Left out      model.bin: too large
        Checkpoint    3 files, 4.0 KiB, of attempt 1, 2026-11-24 07:03:20
        Bundle        00ff
        Labels        team=vision
        Sweep values  lr=0.1 seed=2

        SINCE                STATE       FOR  TRY  NOTE
        2026-11-24 07:00:00  queued     2.0s
        2026-11-24 07:00:02  assigned   0.5s    1  gpu01
        2026-11-24 07:00:02  building   6.5s    1
        2026-11-24 07:00:09  running   3m20s    1
        2026-11-24 07:03:29  finished           1  user_error
        ");
    }
}
