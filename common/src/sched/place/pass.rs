//! One pass over the queued jobs.
//!
//! First the jobs are tried in turn. The first one that cannot start gets a reservation, and from then on the others
//! are tried only on other nodes (EASY backfill: Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995). Then the
//! reserved node is offered to jobs that do not delay the reservation. The pass ends early once no shape of job has
//! room anywhere, however many jobs are queued.

use std::sync::Arc;

use crate::id::{JobId, WorkerId};
use crate::job::Job;
use crate::resources::Allocation;
use crate::sched::fit::eligible::{Skip, avoided, may_start};
use crate::sched::fit::fits::fit;
use crate::sched::fit::guard::may_hold;
use crate::sched::fit::reserve::Plan;
use crate::sched::model::reservation::Blocked;
use crate::sched::model::settings::{Backfill, JobOrder};
use crate::sched::model::shape::ShapeId;
use crate::sched::state::step::Step;

use super::candidates::{Candidate, Candidates, Shortest, Source, Turns};
use super::nodes::Nodes;
use super::outrank::{has_any_floor, is_reserved_from};

/// What follows from a pass or from one job of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The pass goes on.
    Continue,
    /// It is over.
    Done,
    /// It is over, and another is due, because the reservation no longer holds.
    Restart,
}

/// A pass under way.
pub(crate) struct Pass<'p, 's, 'a> {
    nodes: &'p mut Nodes,
    step: &'s mut Step<'a>,
    candidates: Candidates,
    blocked: Option<Blocked>,
    plan: Option<Plan>,
    /// How many jobs were tried behind the reservation without success.
    tried_behind: usize,
    placed: usize,
}

impl<'p, 's, 'a> Pass<'p, 's, 'a> {
    /// Runs a pass behind a reservation that was made before, if there is one.
    pub(crate) fn run(nodes: &'p mut Nodes, step: &'s mut Step<'a>, plan: Option<Plan>) -> Then {
        let reserved = plan.as_ref().map(|plan| plan.reservation.clone());
        let mut pass = Self {
            nodes,
            step,
            candidates: Candidates::default(),
            blocked: reserved.map(Blocked::Reserved),
            plan,
            tried_behind: 0,
            placed: 0,
        };
        let mut then = pass.in_turn();
        if then == Then::Continue {
            then = pass.backfill();
        }
        pass.end(then)
    }

    fn end(self, then: Then) -> Then {
        let (state, now) = (&mut *self.step.state, self.step.now);
        // What was found impossible lately stays so.
        if self.blocked.is_some() || !state.reservation_known_impossible(now) {
            state.set_blocked(self.blocked);
        }
        // Placing jobs moves ranks, and a reservation that is only assumed belongs to the job that ranks first.
        let reservation = state.blocked().and_then(Blocked::reservation);
        let may_move = reservation.is_some_and(|reservation| !reservation.is_firm);
        match then {
            Then::Continue if may_move && self.placed > 0 => Then::Restart,
            Then::Continue | Then::Done => Then::Done,
            Then::Restart => Then::Restart,
        }
    }

    /// Tries the jobs in turn, on every node but the reserved one.
    fn in_turn(&mut self) -> Then {
        let (state, now) = (&*self.step.state, self.step.now);
        let looks_for_blocked = match state.settings().backfill {
            Backfill::Easy => self.plan.is_none() && !state.reservation_known_impossible(now),
            Backfill::Strict => true,
            Backfill::BestEffort => false,
        };
        let shapes: Vec<ShapeId> = state.index().ready_shapes().collect();
        for shape in shapes {
            let is_full = !self.nodes.fits_somewhere(state, shape);
            if !is_full || looks_for_blocked {
                self.candidates.add(state, shape, is_full, None);
            }
        }
        if self.candidates.is_empty() {
            return Then::Continue;
        }
        let source = Source::Turns(Turns::new(state, now, &self.candidates));
        self.walk(source, Self::try_in_turn)
    }

    /// Offers the reserved node to jobs that do not delay the reservation.
    fn backfill(&mut self) -> Then {
        let (state, now) = (&*self.step.state, self.step.now);
        let Some(plan) = &self.plan else {
            return Then::Continue;
        };
        let Some(node) = state.index().node(&plan.reservation.worker) else {
            return Then::Continue;
        };
        self.candidates = Candidates::on(node);
        self.tried_behind = 0;
        // Whatever has ended before the reservation's time does not delay it.
        let gap = plan.reservation.at.since(now);
        let shapes: Vec<ShapeId> = state.index().ready_shapes().collect();
        for shape in shapes {
            if let Some(fitness) = self.nodes.fits_on(state, shape, node) {
                let longest = plan.is_delayed_by_any(node, fitness).then_some(gap);
                self.candidates.add(state, shape, false, longest);
            }
        }
        if self.candidates.is_empty() {
            return Then::Continue;
        }
        let source = match state.settings().order {
            JobOrder::Slowdown => Source::Shortest(Shortest::new(state, now, &self.candidates)),
            JobOrder::Submission => Source::Turns(Turns::new(state, now, &self.candidates)),
        };
        self.walk(source, Self::try_beside)
    }

    fn walk(
        &mut self,
        mut source: Source,
        attempt: impl Fn(&mut Self, &Candidate) -> Result<(), Skip>,
    ) -> Then {
        while let Some(candidate) = source.next(self.step.state, &self.candidates) {
            match attempt(self, &candidate) {
                Ok(()) => {
                    self.placed += 1;
                    if self.is_void(candidate.job) {
                        return Then::Restart;
                    }
                    source.placed(self.step.state, &self.candidates, &candidate);
                }
                Err(skip) => {
                    let then = self.skip(&candidate, skip);
                    if then != Then::Continue {
                        return then;
                    }
                    if skip != Skip::User {
                        source.skipped(self.step.state, &self.candidates, &candidate);
                    }
                }
            }
        }
        Then::Continue
    }

    /// Whether a placed job has ended the reservation: the reserved job started, a limit now keeps it back, or one
    /// that goes before it took what was reserved.
    fn is_void(&self, placed: JobId) -> bool {
        self.plan.as_ref().is_some_and(|plan| {
            let reserved = plan.reservation.job;
            reserved == placed || may_start(self.step.state, reserved).is_err() || !plan.fits()
        })
    }

    fn skip(&mut self, candidate: &Candidate, skip: Skip) -> Then {
        let state = &*self.step.state;
        self.candidates.skip(state, candidate, skip);
        if self.plan.is_some() && skip == Skip::Job {
            self.tried_behind += 1;
            if self.tried_behind > state.settings().backfill_window {
                // The rest is not tried.
                self.candidates = Candidates::default();
            }
        }
        if skip != Skip::Shape {
            return Then::Continue;
        }
        if self.blocked.is_none() && self.first_blocked(candidate.job) == Then::Done {
            return Then::Done;
        }
        // Other shapes may have lost their room as well.
        let (state, nodes) = (&*self.step.state, &mut *self.nodes);
        self.candidates
            .drop_full(|shape| nodes.fits_somewhere(state, shape));
        Then::Continue
    }

    /// What follows from the first job that cannot start.
    fn first_blocked(&mut self, id: JobId) -> Then {
        let (state, now) = (&*self.step.state, self.step.now);
        match state.settings().backfill {
            Backfill::BestEffort => Then::Continue,
            Backfill::Strict => {
                self.blocked = Some(Blocked::Awaited(id));
                Then::Done
            }
            Backfill::Easy => {
                if state.reservation_known_impossible(now) {
                    return Then::Continue;
                }
                let before = state.blocked().and_then(Blocked::reservation).cloned();
                let job = state.job(id).cloned();
                let reservation =
                    job.and_then(|job| self.nodes.reserve(state, now, &job, before.as_ref()));
                match reservation {
                    Some(reservation) => {
                        self.plan = Plan::new(state, now, &reservation);
                        self.blocked = Some(Blocked::Reserved(reservation));
                    }
                    None => self.blocked = Some(Blocked::Unreservable(id, now)),
                }
                Then::Continue
            }
        }
    }

    /// Places a job on the best node, but not on one that is reserved for another.
    fn try_in_turn(&mut self, candidate: &Candidate) -> Result<(), Skip> {
        let state = &*self.step.state;
        may_start(state, candidate.job)?;
        if self.candidates.is_full(candidate.shape) {
            return Err(Skip::Shape);
        }
        let job = Arc::clone(state.job(candidate.job).ok_or(Skip::Job)?);
        let avoid = avoided(state, &job);
        let reserved = self.plan.as_ref().map(|plan| &plan.reservation);
        let reserved = reserved.filter(|reservation| is_reserved_from(state, reservation, &job));
        let reserved = reserved.map(|reservation| &reservation.worker);
        // Another job of this shape may have no node to avoid, or may go before the reservation.
        let is_alone = avoid.is_some() || (reserved.is_some() && has_any_floor(state));
        let none = if is_alone { Skip::Job } else { Skip::Shape };
        let chosen = self
            .nodes
            .choose(state, &job, candidate.shape, [avoid, reserved]);
        let (worker, allocation) = chosen.ok_or(none)?;
        self.assign(&job, worker, allocation)
    }

    /// Places a job on the reserved node if that does not delay the reservation.
    fn try_beside(&mut self, candidate: &Candidate) -> Result<(), Skip> {
        let (state, now) = (&*self.step.state, self.step.now);
        may_start(state, candidate.job)?;
        let plan = self.plan.as_ref().ok_or(Skip::Job)?;
        let reserved = plan.reservation.worker.clone();
        let job = Arc::clone(state.job(candidate.job).ok_or(Skip::Job)?);
        if job.id == plan.reservation.job || avoided(state, &job) == Some(&reserved) {
            return Err(Skip::Job);
        }
        let best = self
            .nodes
            .choose_on(state, &job, candidate.shape, &reserved);
        let best = best.ok_or(Skip::Shape)?;
        // Other GPUs of the same node may do, if not those that the scorer likes best.
        let tightest = || {
            let node = state.index().node(&reserved)?;
            fit(node, &job.spec.request).ok()
        };
        let is_clear = |allocation: &Allocation| !plan.is_delayed_by(state, now, &job, allocation);
        let allocation = if is_clear(&best) {
            Some(best)
        } else {
            tightest().filter(is_clear)
        };
        self.assign(&job, reserved, allocation.ok_or(Skip::Job)?)
    }

    fn assign(&mut self, job: &Job, worker: WorkerId, allocation: Allocation) -> Result<(), Skip> {
        let (state, now) = (&*self.step.state, self.step.now);
        let more = allocation.milli_gpus();
        may_hold(state, &job.user, more).map_err(|_| Skip::ShapeOfUser)?;
        if let Some(plan) = self.plan.as_mut()
            && plan.reservation.worker == worker
        {
            plan.note(state, now, job, &allocation);
        }
        self.step.assign(job.id, worker, allocation);
        Ok(())
    }
}
