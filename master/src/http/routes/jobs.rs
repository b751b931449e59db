//! Jobs: lists, single jobs and their actions.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::id::{JobId, JobName, UserName};
use dopq_common::job::{Job, Phase};
use dopq_common::sched::{self, Event};
use serde::Deserialize;

use crate::clock;
use crate::http::app::{Context, Ctx};
use crate::http::caller::Caller;
use crate::http::convert::{
    array_of, expected_start, id_of, job_page_item, job_with_timeline, owner, task, waiting_in,
    waiting_task,
};
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Id, Named, Params};
use crate::http::routes::{AT_ONCE, audit, checkpoints};
use crate::view::Model;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;
/// Bounds the ranges, because every job is compared with each.
const RANGES_MAX: usize = 200;
const LABELS_MAX: usize = 20;

/// `GET /v1/jobs`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Filter {
    /// States, separated by commas.
    state: Option<String>,
    user: Option<String>,
    limit: Option<usize>,
    /// Only jobs with a smaller id.
    before: Option<u64>,
    /// Only these: ids and ranges such as `3-7`, separated by commas.
    ids: Option<String>,
    /// List the started tasks of this array instead of jobs.
    array: Option<String>,
    /// Only arrays.
    #[serde(default)]
    arrays: bool,
    /// Labels such as `team=vision`, separated by commas; a job has all of them.
    label: Option<String>,
    /// Submitted then or later.
    since: Option<DateTime<Utc>>,
    /// Submitted before.
    until: Option<DateTime<Utc>>,
}

/// A page of everybody's jobs, newest first. Contains arrays, and tasks only on request.
pub(in crate::http) async fn list(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Params(filter): Params<Filter>,
) -> Result<Json<api::JobPage>> {
    let phases = filter.state.as_deref().map(phases).transpose()?;
    let ids = filter.ids.as_deref().map(ids).transpose()?;
    let array: Option<JobId> = filter.array.as_deref().map(str::parse).transpose()?;
    let user: Option<UserName> = filter.user.as_deref().map(str::parse).transpose()?;
    let labels = labels(filter.label.as_deref())?;
    let limit = filter.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let message = format!("limit must be 1 to {PAGE_MAX}");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let is_row = |job: &Job| {
        let mut named = ids.iter().flatten();
        job.task.is_none() || named.any(|ids| *ids == (job.id..=job.id))
    };
    let wanted = |job: &&Arc<Job>| {
        filter.before.is_none_or(|before| job.id.0 < before)
            && user.as_ref().is_none_or(|user| job.user == *user)
            && (!filter.arrays || array_of(job).is_some())
            && filter
                .since
                .is_none_or(|at| job.submitted_at.to_datetime() >= at)
            && filter
                .until
                .is_none_or(|at| job.submitted_at.to_datetime() < at)
            && context
                .sight(&caller, &job.user)
                .has_labels(&job.spec.labels, &labels)
            && ids.as_ref().is_none_or(|ids| among(ids, job.id))
            && phases
                .as_ref()
                .is_none_or(|phases| phases.contains(&job.state.phase()))
    };
    let mut found: Vec<JobId> = context.view().read(|model| {
        let id = |job: &Arc<Job>| job.id;
        match array {
            Some(array) => {
                let known = model.state.job(array);
                let is_array = known.is_some_and(|job| array_of(job).is_some());
                if known.is_none() {
                    return Err(Error::no_job(array));
                } else if !is_array {
                    let message = format!("job {array} is not an array and has no tasks");
                    return Err(Error::new(ErrorCode::BadRequest, message));
                }
                let tasks = model.state.tasks(array).rev().filter(wanted);
                Ok(tasks.take(limit + 1).map(id).collect())
            }
            None => {
                let rows = model.state.jobs().rev().filter(|job| is_row(job));
                Ok(rows.filter(wanted).take(limit + 1).map(id).collect())
            }
        }
    })?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|id| id.0);
    let now = clock::now();
    let mut jobs = Vec::with_capacity(found.len());
    for some in found.chunks(AT_ONCE) {
        context.view().read(|model| {
            let some = some.iter().filter_map(|id| model.state.job(*id));
            jobs.extend(some.map(|job| {
                let sight = context.sight(&caller, &job.user);
                sight.job(job_page_item(model, &context.positions, now, job))
            }));
        });
    }
    Ok(Json(api::JobPage {
        version: API_VERSION,
        jobs,
        next,
    }))
}

fn phases(text: &str) -> Result<BTreeSet<Phase>> {
    let words = text.split(',').map(str::trim);
    let phases = words.map(|word| {
        let phase = Phase::ALL.into_iter().find(|phase| phase.as_str() == word);
        phase.ok_or_else(|| {
            let all = Phase::ALL.map(Phase::as_str).join(", ");
            Error::new(ErrorCode::BadRequest, format!("{word:?} is not a state"))
                .hint(format!("states are {all}"))
        })
    });
    phases.collect()
}

/// Reads labels.
pub(super) fn labels(text: Option<&str>) -> Result<Vec<(String, String)>> {
    let parts: Vec<_> = text.iter().flat_map(|text| text.split(',')).collect();
    if parts.len() > LABELS_MAX {
        let message = format!("label may name at most {LABELS_MAX} labels");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let labels = parts.into_iter().map(|part| {
        let label = part.split_once('=');
        let label = label.map(|(name, value)| (name.to_owned(), value.to_owned()));
        label.ok_or_else(|| {
            let message = format!("{part:?} is not a label such as team=vision");
            Error::new(ErrorCode::BadRequest, message)
        })
    });
    labels.collect()
}

/// Whether one of the ranges contains the id.
pub(super) fn among(ranges: &[RangeInclusive<JobId>], id: JobId) -> bool {
    ranges.iter().any(|range| range.contains(&id))
}

/// Reads ids and ranges.
pub(super) fn ids(text: &str) -> Result<Vec<RangeInclusive<JobId>>> {
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    if parts.len() > RANGES_MAX {
        let message = format!("ids may list at most {RANGES_MAX} ids and ranges");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let ranges = parts.into_iter().map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Ok(first.parse()?..=last.parse()?)
    });
    ranges.collect()
}

/// One job with its timeline; of another's job, the row.
pub(in crate::http) async fn show(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
) -> Result<Json<api::Job>> {
    let mut job = shown(&context, id)?;
    job.checkpoint = checkpoints::of_job(&context, id).await;
    // Only queued jobs need a forecast.
    if job.reason.is_some()
        && let Some(forecast) = context.forecasts.of(context.view()).await
    {
        let now = clock::now();
        job.expected_start = context
            .view()
            .read(|model| expected_start(&forecast, now, waits(model, id)?, id));
    }
    let sight = context.view().read(|model| {
        let owner = owner(model, id);
        owner.map(|owner| context.sight(&caller, owner))
    });
    let sight = sight.ok_or_else(|| Error::no_job(id))?;
    Ok(Json(sight.job(job)))
}

/// The job's present state.
pub(in crate::http) fn shown(context: &Context, id: JobId) -> Result<api::Job> {
    let now = clock::now();
    let job = context.view().read(|model| match model.state.job(id) {
        Some(job) => Some(job_with_timeline(model, &context.positions, now, job)),
        None => waiting_task(model, &context.positions, now, id),
    });
    job.ok_or_else(|| Error::no_job(id))
}

/// Cancels the job in any state. 202, because a container takes time to end.
pub(in crate::http) async fn cancel(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Named(job): Named,
) -> Result<(StatusCode, Json<api::Job>)> {
    let entry = audit(&caller, clock::now(), "cancel", job, String::new());
    let by = caller.name;
    let event = Event::CancelRequested { job, by };
    context.app.handle.act(event, entry).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&context, job)?)))
}

/// Takes the job from its machine. 202, because a container takes time to end.
pub(in crate::http) async fn evict(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<JobName>,
) -> Result<(StatusCode, Json<api::Job>)> {
    let job = context.view().read(|model| id_of(model, name));
    let job = job.ok_or_else(|| Error::no_job(name))?;
    let entry = audit(&caller, clock::now(), "evict", job, String::new());
    let by = caller.name;
    let event = Event::EvictRequested { job, by };
    context.app.handle.act(event, entry).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&context, job)?)))
}

/// The job, or the array of a task that has not started.
fn waits(model: &Model, id: JobId) -> Option<&Arc<Job>> {
    let known = model.state.job(id);
    known.or_else(|| waiting_in(model, id))
}

/// Why the job waits and what would start it. A task that has not started has its array's reasons.
pub(in crate::http) async fn explain(
    State(context): State<Ctx>,
    Named(id): Named,
) -> Result<Json<api::Explanation>> {
    let forecast = context.forecasts.of(context.view()).await;
    let forecast = forecast.as_deref();
    let now = clock::now();
    let explained = context.view().read(|model| {
        let known = model.state.job(id);
        let job = waits(model, id)?;
        let reasons = sched::reasons(&model.state, now, job);
        let remedies = sched::remedies(&model.state, now, job, &reasons);
        let shown = job_page_item(model, &context.positions, now, job);
        let phase = known.map_or(Phase::Queued, |job| job.state.phase());
        Some(api::Explanation {
            version: API_VERSION,
            id: id.0,
            task: known
                .map_or_else(|| model.state.waiting_task(id), |job| job.task)
                .map(task),
            state: phase.as_str().to_owned(),
            position: shown.position,
            reasons: reasons.iter().map(ToString::to_string).collect(),
            remedies: remedies.iter().map(ToString::to_string).collect(),
            expected_start: forecast.and_then(|forecast| expected_start(forecast, now, job, id)),
            expected_start_unknown: forecast
                .and_then(|forecast| forecast.unforeseen_of(job, id))
                .map(|unforeseen| unforeseen.to_string()),
            note: known.and_then(|job| latest_note(job)),
        })
    });
    explained.map(Json).ok_or_else(|| Error::no_job(id))
}

/// What the timeline of a job with a machine last says, such as why its bundle is not there yet.
fn latest_note(job: &Job) -> Option<String> {
    job.state.active()?;
    let note = &job.timeline.last()?.note;
    (!note.is_empty()).then(|| note.clone())
}

/// Sets a queued job's priority.
pub(in crate::http) async fn priority(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Named(job): Named,
    extract::Json(request): extract::Json<api::PriorityRequest>,
) -> Result<Json<api::Job>> {
    let priority = request.priority;
    let entry = audit(&caller, clock::now(), "priority", job, priority.to_string());
    let event = Event::PriorityRequested { job, priority };
    context.app.handle.act(event, entry).await?;
    Ok(Json(shown(&context, job)?))
}

/// Holds a queued job.
pub(in crate::http) async fn hold(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Named(job): Named,
) -> Result<Json<api::Job>> {
    let entry = audit(&caller, clock::now(), "hold", job, String::new());
    let by = caller.name;
    let event = Event::HoldRequested { job, by };
    context.app.handle.act(event, entry).await?;
    Ok(Json(shown(&context, job)?))
}

/// Releases a held job.
pub(in crate::http) async fn release(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Named(job): Named,
) -> Result<Json<api::Job>> {
    let entry = audit(&caller, clock::now(), "release", job, String::new());
    let event = Event::ReleaseRequested { job };
    context.app.handle.act(event, entry).await?;
    Ok(Json(shown(&context, job)?))
}
