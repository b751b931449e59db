//! Why a job waits, where it stands, and what would start it.

use crate::id::JobId;
use crate::sched::state::core::State;
use crate::time::Timestamp;

use super::queue::queue;
use super::reasons::{Reason, reasons};
use super::remedy::{Remedy, remedies};

/// Why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Its place in the queue, from 1.
    pub position: Option<u64>,
    /// Every reason, the most decisive first; never empty.
    pub reasons: Vec<Reason>,
    /// Single changes each of which would start it now.
    pub remedies: Vec<Remedy>,
}

/// Why the job waits and where; `None` when it is not known or does not wait.
#[must_use]
pub fn explain(state: &State, now: Timestamp, job: JobId) -> Option<Explanation> {
    let job = state.job(job)?;
    if job.state.waiting() == 0 {
        return None;
    }
    let queue = queue(state, now);
    let place = queue.iter().find(|waiting| waiting.job.id == job.id);
    let reasons = reasons(state, now, job);
    Some(Explanation {
        position: place.map(|waiting| waiting.position),
        remedies: remedies(state, now, job, &reasons),
        reasons,
    })
}
