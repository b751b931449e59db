//! The read side: the queue in its order, what users have had, what machines hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{GpuId, JobId, UserName, WorkerId};
use crate::job::{Job, JobState};
use crate::resources::{ByteSize, MilliCpu, MilliGpu};
use crate::time::Timestamp;

use super::state::State;

/// One waiting job at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting<'a> {
    /// The job.
    pub job: &'a Arc<Job>,
    /// Its place, from 1.
    pub position: u64,
    /// Its user's penalty; the lower, the sooner.
    pub penalty: f64,
}

/// What the attempts on one machine hold of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// By GPU; GPUs of which nothing is held are absent.
    pub gpus: BTreeMap<GpuId, MilliGpu>,
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: ByteSize,
    /// The jobs.
    pub jobs: BTreeSet<JobId>,
}

/// Every waiting job in the order in which they are tried; those that cannot be tried yet (held back,
/// waiting for other jobs or for a retry's time) come last.
#[must_use]
pub fn queue(state: &State, now: Timestamp) -> Vec<Waiting<'_>> {
    let mut jobs: Vec<_> = state
        .jobs()
        .filter(|job| matches!(job.state, JobState::Queued(_)))
        .map(|job| (penalty_of(state, now, &job.user), job))
        .collect();
    jobs.sort_by(|(a, x), (b, y)| {
        (x.spec.class, x.submitted_at, x.id)
            .cmp(&(y.spec.class, y.submitted_at, y.id))
            .then(a.total_cmp(b))
    });
    (1..)
        .zip(jobs)
        .map(|(position, (penalty, job))| Waiting {
            job,
            position,
            penalty,
        })
        .collect()
}

/// How much a user has had lately; 0 for one who is not known.
#[must_use]
pub fn penalty_of(state: &State, now: Timestamp, user: &UserName) -> f64 {
    let _ = now;
    state.user(user).map_or(0.0, |user| user.recency)
}

/// What the attempts on a machine hold of it; nothing for one that is not known.
#[must_use]
pub fn held(state: &State, worker: &WorkerId) -> Held {
    let mut held = Held::default();
    for job in state.jobs() {
        if let Some(active) = job.state.active().filter(|a| a.worker == *worker) {
            held.jobs.insert(job.id);
            held.cpu.0 += active.allocation.cpu.0;
            held.memory.0 += active.allocation.memory.0;
            for (gpu, milli) in &active.allocation.gpus {
                held.gpus.entry(gpu.clone()).or_default().0 += milli.0;
            }
        }
    }
    held
}

/// Whether everything that must always hold of a state does.
///
/// # Errors
/// One sentence that names what does not hold.
pub fn check_invariants(state: &State) -> Result<(), String> {
    for worker in state.workers() {
        for (gpu, milli) in held(state, &worker.id).gpus {
            if milli > MilliGpu::WHOLE {
                return Err(format!("GPU {gpu} is held {} times", milli.0));
            }
        }
    }
    Ok(())
}
