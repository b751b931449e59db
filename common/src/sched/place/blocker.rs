//! Why a node does not take a job now, by the predicates that place it.

use crate::job::Job;
use crate::sched::fit::eligible::avoided;
use crate::sched::fit::fits::{Blocker, fit, is_open};
use crate::sched::fit::reserve::Plan;
use crate::sched::model::reservation::Blocked;
use crate::sched::state::core::State;
use crate::sched::state::node_load::NodeLoad;
use crate::time::Timestamp;

use super::outrank::is_reserved_from;

/// Why the node does not take the job now.
pub(crate) fn blocker(
    state: &State,
    now: Timestamp,
    node: &NodeLoad,
    job: &Job,
) -> Option<Blocker> {
    let fits = is_open(state.settings(), node, avoided(state, job))
        .and_then(|()| fit(node, &job.spec.request));
    let allocation = match fits {
        Ok(allocation) => allocation,
        Err(blocker) => return Some(blocker),
    };
    let reservation = state.blocked().and_then(Blocked::reservation)?;
    let id = node.worker.as_ref().map(|worker| &worker.id);
    if id != Some(&reservation.worker) || !is_reserved_from(state, reservation, job) {
        return None;
    }
    let plan = Plan::new(state, now, reservation)?;
    let delayed = plan.is_delayed_by(state, now, job, &allocation);
    delayed.then_some(Blocker::Reserved)
}
