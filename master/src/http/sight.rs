//! What a caller sees of a job: the only place that decides it, for lists, streams, nodes and single jobs.
//!
//! Everybody sees every row, because people who share machines ask who has them and how long they wait. What a job
//! prints, writes, needs to know and how its code failed is for its owner, operators and admins.

use std::collections::BTreeMap;

use dopq_common::api;
use dopq_common::id::UserName;

use super::caller::Caller;
use crate::config::Privacy;

/// How much of a job a caller sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// All of it.
    Whole,
    /// The row with name, command and labels.
    Row,
    /// The row without them.
    Bare,
}

impl Sight {
    /// How much `caller` sees of a job of `owner`.
    pub(super) fn of(privacy: Privacy, caller: &Caller, owner: &UserName) -> Self {
        match privacy {
            _ if caller.sees(owner) => Self::Whole,
            Privacy::Open => Self::Row,
            Privacy::Own => Self::Bare,
        }
    }

    /// Whether a job with these labels has all that are wanted. Nobody finds by labels what hides them.
    pub(super) fn has_labels(
        self,
        labels: &BTreeMap<String, String>,
        wanted: &[(String, String)],
    ) -> bool {
        let has = |(name, value): &(String, String)| labels.get(name) == Some(value);
        wanted.is_empty() || (self != Self::Bare && wanted.iter().all(has))
    }

    /// The job without what the caller does not see. Each field is named, so that a new one is decided on here.
    pub(super) fn job(self, job: api::Job) -> api::Job {
        if self == Self::Whole {
            return job;
        }
        let api::Job {
            id,
            name,
            user,
            state,
            outcome,
            attempt,
            worker,
            gpus,
            submitted_at,
            started_at,
            finished_at,
            position,
            reason,
            reason_short,
            class,
            priority,
            num_gpus,
            gpu_milli,
            bundle: _,
            labels,
            log_bytes: _,
            results: _,
            checkpoint: _,
            now,
            used,
            expected_seconds,
            expected_most_seconds,
            expected_by,
            ran_seconds,
            array,
            task,
            sweep: _,
            requested,
            attempts,
            expected_start,
            timeline,
        } = job;
        api::Job {
            id,
            name: self.told(name),
            user,
            state,
            outcome: outcome.map(cause_only),
            attempt,
            worker,
            gpus,
            submitted_at,
            started_at,
            finished_at,
            position,
            reason,
            reason_short,
            class,
            priority,
            num_gpus,
            gpu_milli,
            bundle: None,
            labels: self.told(labels),
            log_bytes: None,
            results: None,
            checkpoint: None,
            now,
            used,
            expected_seconds,
            expected_most_seconds,
            expected_by,
            ran_seconds,
            array,
            task,
            sweep: BTreeMap::new(),
            requested: requested.map(|requested| Box::new(self.requested(*requested))),
            attempts: attempts.into_iter().map(without_detail).collect(),
            expected_start,
            timeline: timeline.into_iter().map(without_note).collect(),
        }
    }

    /// What a job asked for, without its environment and what else its code is given.
    fn requested(self, requested: api::Requested) -> api::Requested {
        let api::Requested {
            image: _,
            command,
            entrypoint: _,
            env: _,
            secrets: _,
            sweep: _,
            after,
            memory_bytes,
            cpu_cores,
            gpu_models,
            node_labels,
            volumes: _,
            time_limit_seconds,
            time_request_seconds,
            retries,
            max_fails,
            preemptible,
        } = requested;
        api::Requested {
            command: self.told(command),
            after,
            memory_bytes,
            cpu_cores,
            gpu_models,
            node_labels,
            time_limit_seconds,
            time_request_seconds,
            retries,
            max_fails,
            preemptible,
            ..api::Requested::default()
        }
    }

    /// The queue's entry without what the caller does not see.
    pub(super) fn entry(self, entry: api::QueueEntry) -> api::QueueEntry {
        api::QueueEntry {
            name: self.told(entry.name),
            ..entry
        }
    }

    /// What its owner calls it, unless that is hidden.
    pub(super) fn told<T: Default>(self, text: T) -> T {
        match self {
            Self::Whole | Self::Row => text,
            Self::Bare => T::default(),
        }
    }
}

/// How it ended, without what its code said.
fn cause_only(outcome: api::Outcome) -> api::Outcome {
    api::Outcome {
        detail: String::new(),
        hint: String::new(),
        ..outcome
    }
}

/// An attempt without what its code said.
fn without_detail(attempt: api::Attempt) -> api::Attempt {
    api::Attempt {
        detail: String::new(),
        ..attempt
    }
}

/// Notes contain what went wrong, often with paths.
fn without_note(entry: api::TimelineEntry) -> api::TimelineEntry {
    api::TimelineEntry {
        note: String::new(),
        ..entry
    }
}
