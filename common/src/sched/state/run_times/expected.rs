//! How long a job is expected to run: its `time_request`, else what is learned from earlier runs, else its
//! `time_limit`. The limit also bounds the others.

use std::time::Duration;

use crate::id::UserName;
use crate::job::{Active, Expected, ExpectedBy, Job, JobSpec};
use crate::sched::model::lane::{Lane, Length};
use crate::sched::state::core::State;

use super::learned::RunTimes;

/// What is expected of the job: what was expected when its current or last attempt was placed; of a queued job,
/// what would be expected now.
#[must_use]
pub fn expected(state: &State, job: &Job) -> Option<Expected> {
    match job.state.last_active() {
        Some(active) => expected_of(job, active),
        None => expected_if_placed(state, job, None),
    }
}

/// What was expected of an attempt when it was placed.
pub(crate) fn expected_of(job: &Job, active: &Active) -> Option<Expected> {
    active.expected.or_else(|| bounded(&job.spec, None))
}

/// What would be expected of the job if it were placed now, on that GPU model if it is known.
pub(crate) fn expected_if_placed(
    state: &State,
    job: &Job,
    model: Option<&str>,
) -> Option<Expected> {
    let learned = if job.spec.time_request.is_none() {
        let learned = state.index().learned();
        learned.of(&job.user, &job.spec.name, model)
    } else {
        None
    };
    bounded(&job.spec, learned)
}

/// The length that the scheduler plans with for the jobs of a lane: the 90th percentile of what is learned, on that
/// GPU model if it is known, and the assumed run time where nothing is known.
pub(crate) fn planned_length(
    state: &State,
    user: &UserName,
    lane: &Lane,
    model: Option<&str>,
) -> Duration {
    match &lane.length {
        Length::Requested(length) => *length,
        Length::Learned { name, limit } => {
            let learned = state.index().learned().of(user, name, model);
            let learned = learned.map(|run_times| run_times.ninth_tenth);
            match (learned, *limit) {
                (Some(learned), Some(limit)) => learned.min(limit),
                (Some(length), None) | (None, Some(length)) => length,
                (None, None) => state.settings().assumed_runtime,
            }
        }
    }
}

fn bounded(spec: &JobSpec, learned: Option<RunTimes>) -> Option<Expected> {
    let bounded = |length: Duration| spec.time_limit.map_or(length, |limit| limit.min(length));
    let exactly = |length: Duration, by| Expected {
        typical: bounded(length),
        longest: bounded(length),
        by,
    };
    let requested = spec.time_request;
    let requested = requested.map(|length| exactly(length, ExpectedBy::Request));
    let learned = learned.map(|run_times| Expected {
        typical: bounded(run_times.median),
        longest: bounded(run_times.ninth_tenth),
        by: ExpectedBy::Learned {
            runs: run_times.runs,
        },
    });
    let limited = spec.time_limit;
    let limited = limited.map(|length| exactly(length, ExpectedBy::Limit));
    requested.or(learned).or(limited)
}
