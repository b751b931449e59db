//! Whether a queued job may start at all, before a node is looked for.

use crate::id::{JobId, WorkerId};
use crate::job::Job;
use crate::sched::model::demand::Demand;
use crate::sched::state::core::State;
use crate::time::Timestamp;

use super::fits::needs;
use super::guard::{may_hold, may_run};

/// What else is skipped along with a job that cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Nothing.
    Job,
    /// Every job with the same request.
    Shape,
    /// Every job of its user with the same request.
    ShapeOfUser,
    /// Every job of its user.
    User,
}

/// Whether the queue is locked at `now`.
pub(crate) fn is_locked(state: &State, now: Timestamp) -> bool {
    let lock = state.meta().lock.as_ref();
    lock.is_some_and(|lock| now < lock.until)
}

/// The node that the job's last attempt failed on, as long as another that is up and open could run the job some day.
pub(crate) fn avoided<'a>(state: &State, job: &'a Job) -> Option<&'a WorkerId> {
    let avoid = job.state.queued()?.avoid.as_ref()?;
    let mut workers = state.workers();
    let has_other = workers.any(|worker| {
        worker.id != *avoid
            && worker.takes_jobs()
            && needs(&worker.capacity, &job.spec.request).is_ok()
    });
    has_other.then_some(avoid)
}

/// Whether the limits of its user and group let the job start, as far as can be said without a node.
pub(crate) fn may_start(state: &State, id: JobId) -> Result<(), Skip> {
    let job = state.job(id).ok_or(Skip::Job)?;
    may_run(state, &job.user).map_err(|_| Skip::User)?;
    let demand = Demand::of(state.index().cluster_size(), &job.spec.request);
    may_hold(state, &job.user, demand.milli).map_err(|_| Skip::ShapeOfUser)
}
