//! Plans once for a batch of events: gives queued jobs their nodes, then makes room for jobs that go first.

use std::sync::Arc;

use crate::sched::fit::eligible::{avoided, is_locked, may_start};
use crate::sched::fit::guard::may_hold;
use crate::sched::fit::reserve::Plan;
use crate::sched::model::effect::Effects;
use crate::sched::model::reservation::{Blocked, Reservation};
use crate::sched::state::core::State;
use crate::sched::state::step::Step;
use crate::time::Timestamp;

use super::nodes::Nodes;
use super::outrank::is_outranked;
use super::pass::{Pass, Then};
use super::preempt::preempt;

/// Plans for one state. It remembers what it found about nodes, kept up to date by the state's log of changed
/// nodes, so each state needs a planner of its own. A new planner is slower, and it learns the mix of requests anew,
/// so it may choose another of the nodes that fit.
#[derive(Debug, Clone, Default)]
pub struct Planner {
    nodes: Nodes,
}

impl Planner {
    /// Places what can be placed and stops what must be stopped for jobs that go first. To be called once after a
    /// batch of events, before the commit.
    pub fn schedule(&mut self, state: &mut State, now: Timestamp, effects: &mut Effects) {
        let is_closed = is_locked(state, now) || state.closing().is_some();
        if !state.watch().is_link_up() || is_closed {
            return;
        }
        self.nodes.prune(state);
        let mut step = Step {
            state,
            now,
            effects,
        };
        // Every further pass follows one that placed a job, so this ends.
        loop {
            let reservation = self.honour_reservation(&mut step);
            let plan = reservation.and_then(|kept| Plan::new(step.state, now, &kept));
            if Pass::run(&mut self.nodes, &mut step, plan) != Then::Restart {
                break;
            }
        }
        preempt(&mut self.nodes, &mut step);
    }

    /// Starts the reserved job once its time has come, or returns the reservation as it is now.
    ///
    /// A firm reservation holds although others have come to rank first, but not against jobs for which others may be
    /// stopped. One that is only assumed is made again by each pass, for the job that ranks first then.
    fn honour_reservation(&mut self, step: &mut Step<'_>) -> Option<Reservation> {
        let reservation = step.state.blocked().and_then(Blocked::reservation)?.clone();
        let job = Arc::clone(step.state.job(reservation.job)?);
        let is_waiting = step.state.is_ready(&job) && may_start(step.state, job.id).is_ok();
        if !reservation.is_firm || !is_waiting {
            return None;
        }
        let reservation = self
            .nodes
            .reserve(step.state, step.now, &job, Some(&reservation))?;
        if reservation.at <= step.now && !is_outranked(step.state, step.now, &job) {
            let shape = step.state.index().shape_of(&job.spec.request)?;
            let avoid = avoided(step.state, &job);
            if let Some((worker, allocation)) =
                self.nodes.choose(step.state, &job, shape, [avoid, None])
                && may_hold(step.state, &job.user, allocation.milli_gpus()).is_ok()
            {
                step.assign(job.id, worker, allocation);
                return None;
            }
        }
        reservation.is_firm.then_some(reservation)
    }
}
