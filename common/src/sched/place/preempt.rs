//! Makes room for a job that fits nowhere and goes before others: an urgent one, or one within a floor. Stops
//! jobs that allow it, where least work is lost.

use crate::id::{JobId, WorkerId};
use crate::job::{Active, Class, Job, Stage, StopReason};

use crate::sched::fit::eligible::{avoided, may_start};
use crate::sched::fit::fits::is_open;
use crate::sched::fit::reserve::Plan;
use crate::sched::model::reservation::Blocked;
use crate::sched::rank::floor::Floor;
use crate::sched::state::core::State;
use crate::sched::state::node_load::NodeLoad;
use crate::sched::state::step::Step;
use crate::time::Timestamp;

use super::nodes::Nodes;
use super::outrank::{FloorGuard, is_reserved_from, within_floors};

/// A job for which others may be stopped.
#[derive(Clone, Copy)]
struct Asker {
    job: JobId,
    /// The floor that it is within; `None` for one that is urgent.
    floor: Option<Floor>,
}

/// Jobs whose end would make room on one machine.
struct Victims {
    /// GPU-milliseconds of runs that are thrown away, in thousandths of a GPU.
    lost: u128,
    worker: WorkerId,
    jobs: Vec<JobId>,
}

/// Stops what must be stopped for the first urgent job in the queue, if that makes room for it; else for the first one
/// within a floor.
pub(crate) fn preempt(nodes: &mut Nodes, step: &mut Step<'_>) {
    let mut askers = Askers { nodes };
    let urgent = askers.urgent(step.state);
    if urgent.is_some_and(|urgent| makes_room(step, urgent)) {
        return;
    }
    if let Some(asker) = askers.within_floor(step.state, step.now) {
        makes_room(step, asker);
    }
}

/// Looks for jobs that others may be stopped for.
struct Askers<'a> {
    nodes: &'a mut Nodes,
}

impl Askers<'_> {
    fn urgent(&mut self, state: &State) -> Option<Asker> {
        let job = state.index().urgent().first()?.job;
        self.asks(state, job).then_some(Asker { job, floor: None })
    }

    fn within_floor(&mut self, state: &State, now: Timestamp) -> Option<Asker> {
        let awaited = match state.blocked() {
            Some(Blocked::Awaited(job)) => Some(*job),
            Some(Blocked::Reserved(_) | Blocked::Unreservable(..)) | None => None,
        };
        let mut jobs = within_floors(state, now).into_iter();
        let first = jobs.find(|(job, _)| {
            // While all wait for another job, this one would not be placed.
            awaited.is_none_or(|awaited| awaited == *job) && self.asks(state, *job)
        });
        let (job, floor) = first?;
        let floor = Some(floor);
        Some(Asker { job, floor })
    }

    /// Whether nothing but room is missing for the job to start.
    fn asks(&mut self, state: &State, id: JobId) -> bool {
        let shape = state
            .job(id)
            .and_then(|job| state.index().shape_of(&job.spec.request));
        let shape = shape.filter(|_| may_start(state, id).is_ok());
        shape.is_some_and(|shape| !self.nodes.fits_somewhere(state, shape))
    }
}

/// Whether room is made, or being made already.
fn makes_room(step: &mut Step<'_>, asker: Asker) -> bool {
    let search = Search {
        state: step.state,
        now: step.now,
    };
    let Some(victims) = search.victims(asker) else {
        return false;
    };
    for job in victims {
        let active = step.state.job(job).and_then(|job| job.state.active());
        if let Some(active) = active.cloned() {
            step.stop(job, active, StopReason::Preempted);
        }
    }
    true
}

/// Looks for jobs whose end would make room.
struct Search<'a> {
    state: &'a State,
    now: Timestamp,
}

impl Search<'_> {
    /// The jobs to stop, none when enough is being stopped already; `None` when it would not help.
    fn victims(&self, asker: Asker) -> Option<Vec<JobId>> {
        let job = self.state.job(asker.job)?;
        let reserved = self.state.blocked().and_then(Blocked::reservation);
        let reserved = reserved.filter(|reserved| is_reserved_from(self.state, reserved, job));
        let reserved = reserved.map(|reserved| &reserved.worker);
        let mut best: Option<Victims> = None;
        for (id, node) in self.state.index().nodes() {
            // What is freed on a node that is reserved for another may not be taken.
            if reserved == Some(id) {
                continue;
            }
            if is_open(self.state.settings(), node, avoided(self.state, job)).is_err() {
                continue;
            }
            match self.victims_in(node, job, asker.floor) {
                Some(victims) if victims.jobs.is_empty() => return Some(Vec::new()),
                Some(victims) => {
                    let is_better = best.as_ref().is_none_or(|best| {
                        (victims.lost, &victims.worker) < (best.lost, &best.worker)
                    });
                    if is_better {
                        best = Some(victims);
                    }
                }
                None => {}
            }
        }
        best.map(|best| best.jobs)
    }

    fn victims_in(&self, node: &NodeLoad, asker: &Job, floor: Option<Floor>) -> Option<Victims> {
        let mut plan = Plan::now(node, asker)?;
        let mut fence = floor.map(|floor| FloorGuard::new(self.state, asker, floor));
        let mut candidates: Vec<(u128, &Job, &Active)> = Vec::new();
        for job in node.jobs.values() {
            let Some((active, stage)) = job.state.active().zip(job.state.stage()) else {
                continue;
            };
            match stage {
                Stage::Stopping(_) => active.held().into_iter().for_each(|held| plan.give(held)),
                Stage::Running => {
                    let lost = self.lost(job, active);
                    candidates.extend(lost.map(|lost| (lost, job.as_ref(), active)));
                }
                Stage::Assigned | Stage::Building | Stage::Paused | Stage::Publishing => {}
            }
        }
        candidates.sort_by_key(|(lost, job, _)| (*lost, job.id));
        let mut chosen = Vec::new();
        let mut candidates = candidates.into_iter();
        while !plan.fits() {
            let (lost, job, active) = candidates.next()?;
            if fence.as_mut().is_some_and(|fence| !fence.lets(job, active)) {
                continue;
            }
            plan.give(&active.allocation);
            chosen.push((lost, job.id, active));
        }
        // What was chosen early may have become needless with what came after; the dearest go first.
        for at in (0..chosen.len()).rev() {
            let spared = chosen.get(at).map(|(_, _, active)| &active.allocation);
            if let Some(spared) = spared {
                plan.take(spared);
                if plan.fits() {
                    chosen.remove(at);
                } else {
                    plan.give(spared);
                }
            }
        }
        Some(Victims {
            lost: chosen.iter().map(|(lost, ..)| lost).sum(),
            worker: node.worker.as_ref()?.id.clone(),
            jobs: chosen.into_iter().map(|(_, id, _)| id).collect(),
        })
    }

    /// What would be lost if the job were stopped; `None` when it must not be.
    fn lost(&self, job: &Job, active: &Active) -> Option<u128> {
        let ran = self.now.since(active.started_at?);
        let is_allowed = job.spec.preemptible
            && job.spec.class != Class::Urgent
            && ran >= self.state.settings().preempt_after;
        let gpus = u128::from(active.allocation.milli_gpus());
        is_allowed.then_some(ran.as_millis() * gpus)
    }
}
