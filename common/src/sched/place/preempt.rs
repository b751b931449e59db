//! Makes room for a job that fits nowhere and goes before others: an urgent one, or one within a floor. Stops
//! jobs that allow it, where least work is lost.

use crate::id::{JobId, WorkerId};
use crate::job::{Active, Class, Job, JobState, StopReason};

use crate::sched::events::step::Step;
use crate::sched::fit::fits::is_open;
use crate::sched::fit::reserve::Plan;
use crate::sched::model::shape::ShapeId;
use crate::sched::place::planner::{avoided, is_kept_from, is_locked, may_start};
use crate::sched::rank::floor::{Fence, Floor, within_floors};
use crate::sched::state::core::Blocked;
use crate::sched::state::node_load::Room;

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

impl Step<'_> {
    /// Stops what must be stopped for the first urgent job that waits, if that makes room for it; else for the
    /// first one within a floor.
    pub(crate) fn preempt(&mut self) {
        if is_locked(self.state, self.now) || !self.state.watch().is_link_up() {
            return;
        }
        let urgent = self.urgent_asker();
        if urgent.is_some_and(|urgent| self.makes_room(urgent)) {
            return;
        }
        if let Some(asker) = self.floor_asker() {
            self.makes_room(asker);
        }
    }

    /// Whether room is made, or being made already.
    fn makes_room(&mut self, asker: Asker) -> bool {
        let Some(victims) = self.victims(asker) else {
            return false;
        };
        for job in victims {
            let active = self.state.job(job).and_then(|job| job.state.active());
            if let Some(active) = active.cloned() {
                self.stop(job, active, StopReason::Preempted);
            }
        }
        true
    }

    fn urgent_asker(&mut self) -> Option<Asker> {
        let job = self.state.index().urgent().first()?.job;
        let request = &self.state.job(job)?.spec.request;
        let shape = self.state.index().shape_of(request)?;
        self.asks(job, shape).then_some(Asker { job, floor: None })
    }

    fn floor_asker(&mut self) -> Option<Asker> {
        let awaited = match self.state.blocked() {
            Some(Blocked::Awaited(job)) => Some(*job),
            Some(Blocked::Reserved(_) | Blocked::Unknown(..)) | None => None,
        };
        let jobs = within_floors(self.state, self.now);
        let mut jobs = jobs
            .into_iter()
            .map(|(head, floor)| (head.place.job, head.with, floor));
        let first = jobs.find(|(job, shape, _)| {
            // While all wait for another job, this one would not be placed.
            awaited.is_none_or(|awaited| awaited == *job) && self.asks(*job, *shape)
        });
        let (job, _, floor) = first?;
        let floor = Some(floor);
        Some(Asker { job, floor })
    }

    /// Whether nothing but room is missing for the job to start.
    fn asks(&mut self, id: JobId, shape: ShapeId) -> bool {
        may_start(self.state, id).is_ok() && !self.state.has_room(shape)
    }

    /// The jobs to stop, none when enough is being stopped already; `None` when it would not help.
    fn victims(&self, asker: Asker) -> Option<Vec<JobId>> {
        let job = self.state.job(asker.job)?;
        let reserved = match self.state.blocked() {
            Some(Blocked::Reserved(reserved)) if is_kept_from(self.state, reserved, job) => {
                Some(&reserved.worker)
            }
            Some(Blocked::Reserved(_) | Blocked::Awaited(_) | Blocked::Unknown(..)) | None => None,
        };
        let mut best: Option<Victims> = None;
        for (id, room) in self.state.index().rooms() {
            // What is freed on a machine that is kept for another may not be taken.
            if reserved == Some(id) {
                continue;
            }
            if is_open(self.state.settings(), room, avoided(self.state, job)).is_err() {
                continue;
            }
            match self.victims_in(room, job, asker.floor) {
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

    fn victims_in(&self, room: &Room, asker: &Job, floor: Option<Floor>) -> Option<Victims> {
        let mut plan = Plan::now(room, asker)?;
        let mut fence = floor.map(|floor| Fence::new(self.state, asker, floor));
        let mut candidates: Vec<(u128, &Job, &Active)> = Vec::new();
        for job in room.jobs.values() {
            match &job.state {
                JobState::Stopping(active, _) => plan.give(&active.allocation),
                JobState::Running(active) => {
                    let lost = self.lost(job, active);
                    candidates.extend(lost.map(|lost| (lost, job.as_ref(), active)));
                }
                JobState::Queued(_)
                | JobState::Array(_)
                | JobState::Assigned(_)
                | JobState::Building(_)
                | JobState::Paused(_)
                | JobState::Finished(_) => {}
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
            worker: room.worker.as_ref()?.id.clone(),
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
