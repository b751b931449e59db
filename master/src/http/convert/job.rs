//! Jobs and the queue's entries.

use dopq_common::api;
use dopq_common::id::JobId;
use dopq_common::job::{Active, Class, Job, JobState, Outcome, Phase, Results};
use dopq_common::resources::GpuAmount;
use dopq_common::sched::{self, Forecast};
use dopq_common::time::Timestamp;

use super::details;
use super::gpu::job_now;
use super::positions::Positions;
use super::reason::why;
use super::tasks;
use super::used::used;
use crate::view::Model;

/// A job in lists and events.
pub(in crate::http) fn job_page_item(
    model: &Model,
    positions: &Positions,
    now: Timestamp,
    job: &Job,
) -> api::Job {
    let waits = job.state.waiting() > 0;
    let position = waits
        .then(|| positions.of(model, now).place(job.id))
        .flatten();
    let why = waits.then(|| why(model, now, job));
    let (reason, reason_short) = why.map(|why| (why.whole, why.short)).unzip();
    let last = job.state.last_active();
    let finished = job.state.finished();
    let ran = finished.filter(|_| last.is_some());
    let expected = sched::expected(&model.state, job);
    api::Job {
        id: job.id.0,
        name: job.spec.name.clone(),
        user: job.user.to_string(),
        state: job.state.phase().as_str().to_owned(),
        outcome: finished.map(|finished| outcome(&finished.outcome)),
        attempt: job.last_attempt,
        worker: last.map(|active| active.worker.to_string()),
        gpus: last.map_or_else(Vec::new, gpus),
        submitted_at: job.submitted_at.to_datetime(),
        started_at: last
            .map_or_else(|| begun(job), |active| active.started_at)
            .map(Timestamp::to_datetime),
        finished_at: finished.map(|finished| finished.at.to_datetime()),
        position,
        reason,
        reason_short: reason_short.flatten(),
        class: class(job.spec.class).to_owned(),
        priority: job.priority,
        num_gpus: job.spec.request.gpus,
        gpu_milli: gpu_milli(job, last),
        bundle: job.bundle.map(|bundle| bundle.digest.to_string()),
        labels: job.spec.labels.clone(),
        log_bytes: finished.and_then(|finished| finished.log_bytes),
        results: finished.and_then(|finished| finished.results.as_ref().map(results)),
        expected_seconds: expected.map(|expected| expected.typical.as_secs_f64()),
        expected_most_seconds: expected.map(|expected| expected.longest.as_secs_f64()),
        expected_by: expected.map(|expected| expected.by.to_string()),
        ran_seconds: ran.map(|finished| finished.ran.as_secs_f64()),
        array: tasks::array(job),
        task: job.task.map(tasks::task),
        sweep: details::sweep_values(&job.spec, job.task),
        requested: None,
        attempts: Vec::new(),
        expected_start: None,
        checkpoint: None,
        now: job_now(model, now, job),
        used: Vec::new(),
        timeline: Vec::new(),
    }
}

/// A task that has not started, as a job with its array's values.
pub(in crate::http) fn waiting_task(
    model: &Model,
    positions: &Positions,
    now: Timestamp,
    id: JobId,
) -> Option<api::Job> {
    let task = model.state.waiting_task(id)?;
    let of = tasks::waiting_in(model, id)?;
    let array = job_page_item(model, positions, now, of);
    let queued = Phase::Queued.as_str().to_owned();
    Some(api::Job {
        id: id.0,
        state: queued.clone(),
        started_at: None,
        array: None,
        task: Some(tasks::task(task)),
        sweep: details::sweep_values(&of.spec, Some(task)),
        requested: Some(Box::new(details::requested(&of.spec))),
        timeline: vec![api::TimelineEntry {
            at: array.submitted_at,
            state: queued,
            attempt: None,
            note: String::new(),
        }],
        ..array
    })
}

/// When an array's first task started.
fn begun(job: &Job) -> Option<Timestamp> {
    let mut timeline = job.timeline.iter();
    let begun = timeline.find(|entry| entry.phase == Phase::Running)?;
    tasks::array_of(job).map(|_| begun.at)
}

/// A job with every change of its state.
pub(in crate::http) fn job_with_timeline(
    model: &Model,
    positions: &Positions,
    now: Timestamp,
    job: &Job,
) -> api::Job {
    let timeline = job.timeline.iter().map(|entry| api::TimelineEntry {
        at: entry.at.to_datetime(),
        state: entry.phase.as_str().to_owned(),
        attempt: entry.attempt,
        note: entry.note.clone(),
    });
    api::Job {
        timeline: timeline.collect(),
        used: used(job),
        array: tasks::whole_array(job),
        requested: Some(Box::new(details::requested(&job.spec))),
        attempts: details::attempts(job),
        ..job_page_item(model, positions, now, job)
    }
}

/// When the job, or the task with this id, is expected to start, if the forecast covers it. Overdue starts are now.
pub(in crate::http) fn expected_start(
    forecast: &Forecast,
    now: Timestamp,
    job: &Job,
    id: JobId,
) -> Option<api::ExpectedStart> {
    let start = forecast.start_of(job, id)?;
    Some(api::ExpectedStart {
        p50: start.p50.max(now).to_datetime(),
        p90: start.p90.max(now).to_datetime(),
    })
}

/// A queued job at its position; `None` if it is no longer queued. A task that waits again represents its array.
pub(in crate::http) fn queue_entry(
    model: &Model,
    forecast: Option<&Forecast>,
    now: Timestamp,
    (position, penalty): (u64, f64),
    job: &Job,
) -> Option<api::QueueEntry> {
    let array = job.task.and_then(|task| model.state.job(task.array));
    let row = array.map_or(job, |array| array);
    let since = match &job.state {
        JobState::Queued(queued) => queued.since,
        JobState::Array(array) if !array.waiting.is_empty() => array.since,
        JobState::Array(_) | JobState::Active(..) | JobState::Finished(_) => return None,
    };
    let why = why(model, now, job);
    Some(api::QueueEntry {
        position,
        id: row.id.0,
        name: job.spec.name.clone(),
        user: job.user.to_string(),
        penalty,
        class: class(job.spec.class).to_owned(),
        priority: job.priority,
        num_gpus: job.spec.request.gpus,
        gpu_milli: gpu_milli(job, None),
        since: since.to_datetime(),
        reason: why.whole,
        reason_short: why.short,
        array: tasks::array(row),
        expected_start: forecast.and_then(|forecast| expected_start(forecast, now, job, job.id)),
    })
}

fn gpus(active: &Active) -> Vec<String> {
    let gpus = active.allocation.gpus.iter();
    gpus.map(|share| share.id.to_string()).collect()
}

fn gpu_milli(job: &Job, last: Option<&Active>) -> Option<u32> {
    let held = last.and_then(|active| active.allocation.gpus.first());
    let held = held.map(|share| share.milli);
    match (held, job.spec.request.gpu_amount) {
        (Some(milli), _) | (None, GpuAmount::Milli(milli)) => Some(milli.0),
        (None, GpuAmount::Slots(_)) => None,
    }
}

fn outcome(outcome: &Outcome) -> api::Outcome {
    api::Outcome {
        cause: outcome.cause.as_str().to_owned(),
        by: outcome.by.as_ref().map(ToString::to_string),
        exit_code: outcome.exit_code,
        detail: outcome.detail.clone(),
        hint: outcome.cause.hint().to_owned(),
    }
}

fn results(results: &Results) -> api::Results {
    let named = results.named.iter().map(|one| api::LeftOut {
        path: one.path.clone(),
        reason: one.reason.clone(),
    });
    api::Results {
        complete: results.is_complete(),
        files: results.files,
        bytes: results.bytes,
        left_out: results.left_out,
        left_out_first: named.collect(),
        lost: results.lost.clone(),
    }
}

pub(super) const fn class(class: Class) -> &'static str {
    match class {
        Class::Urgent => "urgent",
        Class::Normal => "normal",
        Class::Nice => "nice",
    }
}
