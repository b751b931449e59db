//! How long a job is expected to run: what its user said goes first, then what is learned from earlier runs, then
//! the limit at which it would be stopped, which also bounds the others.

use std::time::Duration;

use crate::job::{Active, Expected, ExpectedBy, Job, JobSpec};
use crate::resources::{Allocation, Capacity};
use crate::sched::state::core::State;

use super::learned::Lengths;

/// What is expected of the job: of its current or last attempt what was expected when it was placed, of one that
/// waits what would be expected now.
#[must_use]
pub fn expected(state: &State, job: &Job) -> Option<Expected> {
    match job.state.last_active() {
        Some(active) => expected_of(job, active),
        None => of_request(state, job, None),
    }
}

/// What was expected of an attempt when it was placed.
pub(crate) fn expected_of(job: &Job, active: &Active) -> Option<Expected> {
    // One that was placed before expectations were kept has what its user said.
    active.expected.or_else(|| said(&job.spec, None))
}

/// What would be expected of the job if it were placed now, on that model of GPU if it is known.
pub(crate) fn of_request(state: &State, job: &Job, model: Option<&str>) -> Option<Expected> {
    let learned = if job.spec.time_request.is_none() {
        state.index().learned().of(job, model)
    } else {
        None
    };
    said(&job.spec, learned)
}

fn said(spec: &JobSpec, learned: Option<Lengths>) -> Option<Expected> {
    let bounded = |length: Duration| spec.time_limit.map_or(length, |limit| limit.min(length));
    let exactly = |length: Duration, by| Expected {
        typical: bounded(length),
        longest: bounded(length),
        by,
    };
    let requested = spec.time_request;
    let requested = requested.map(|length| exactly(length, ExpectedBy::Request));
    let learned = learned.map(|lengths| Expected {
        typical: bounded(lengths.median),
        longest: bounded(lengths.ninth_tenth),
        by: ExpectedBy::Learned { runs: lengths.runs },
    });
    let limited = spec.time_limit;
    let limited = limited.map(|length| exactly(length, ExpectedBy::Limit));
    requested.or(learned).or(limited)
}

/// The model of the GPUs in an allocation; `None` of a job without GPU. A machine whose GPUs differ counts by the
/// first of those that are held.
pub(crate) fn model_of<'a>(capacity: &'a Capacity, held: &Allocation) -> Option<&'a str> {
    let (first, _) = held.gpus.first()?;
    let gpu = capacity.gpus.iter().find(|gpu| gpu.id == *first)?;
    Some(&gpu.model)
}
