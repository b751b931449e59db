//! The order of one user's jobs by submission.

use std::cmp::Reverse;

use crate::id::JobId;
use crate::job::{Class, Job};
use crate::time::Timestamp;

/// Orders the jobs of one user: class, priority, submission, id. Total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    pub(crate) class: Class,
    pub(crate) priority: Reverse<i32>,
    pub(crate) submitted_at: Timestamp,
    /// The id of the task that an array starts next, or the job's own.
    pub(crate) next: JobId,
    pub(crate) job: JobId,
}

impl QueueKey {
    pub(crate) fn of(job: &Job) -> Self {
        Self {
            class: job.spec.class,
            priority: Reverse(job.priority),
            submitted_at: job.submitted_at,
            next: job.next_id(),
            job: job.id,
        }
    }
}
