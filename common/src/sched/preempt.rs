//! Makes room for an urgent job that fits nowhere: stops jobs that allow it, where least work is lost.

use crate::id::{JobId, WorkerId};
use crate::job::{Active, Class, Job, JobState, StopReason};

use super::fit::is_open;
use super::place::{avoided, is_locked};
use super::reserve::Plan;
use super::room::Room;
use super::step::Step;

/// Jobs whose end would make room on one machine.
struct Victims {
    /// GPU-milliseconds of runs that are thrown away, in thousandths of a GPU.
    lost: u128,
    worker: WorkerId,
    jobs: Vec<JobId>,
}

impl Step<'_> {
    /// Stops what must be stopped for the first urgent job that waits, if that makes room for it.
    pub(super) fn preempt(&mut self) {
        let Some(urgent) = self.state.index().urgent().first().map(|place| place.job) else {
            return;
        };
        if is_locked(self.state, self.now) || !self.state.watch().is_link_up() {
            return;
        }
        if self.may_start(urgent).is_err() {
            return;
        }
        let shape = self.state.job(urgent).map(|job| &job.spec.request);
        let shape = shape.and_then(|request| self.state.index().shape_of(request));
        if shape.is_none_or(|shape| self.state.has_room(shape)) {
            return;
        }
        for job in self.victims(urgent) {
            let active = self.state.job(job).and_then(|job| job.state.active());
            if let Some(active) = active.cloned() {
                self.stop(job, active, StopReason::Preempted);
            }
        }
    }

    /// The jobs to stop; none when enough is being stopped already, or when it would not help.
    fn victims(&self, urgent: JobId) -> Vec<JobId> {
        let Some(job) = self.state.job(urgent) else {
            return Vec::new();
        };
        let mut best: Option<Victims> = None;
        for room in self.state.index().rooms().values() {
            if is_open(self.state.settings(), room, avoided(self.state, job)).is_err() {
                continue;
            }
            match self.victims_in(room, job) {
                Some(victims) if victims.jobs.is_empty() => return Vec::new(),
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
        best.map_or_else(Vec::new, |best| best.jobs)
    }

    fn victims_in(&self, room: &Room, urgent: &Job) -> Option<Victims> {
        let mut plan = Plan::now(room, urgent)?;
        let jobs = room.jobs.iter().filter_map(|id| self.state.job(*id));
        let mut candidates: Vec<(u128, JobId, &Active)> = Vec::new();
        for job in jobs {
            match &job.state {
                JobState::Stopping(active, _) => plan.give(&active.allocation),
                JobState::Running(active) => {
                    candidates.extend(self.lost(job, active).map(|lost| (lost, job.id, active)));
                }
                JobState::Queued(_)
                | JobState::Array(_)
                | JobState::Assigned(_)
                | JobState::Building(_)
                | JobState::Paused(_)
                | JobState::Finished(_) => {}
            }
        }
        candidates.sort_by_key(|(lost, id, _)| (*lost, *id));
        let mut chosen = Vec::new();
        let mut candidates = candidates.into_iter();
        while !plan.fits() {
            let (lost, id, active) = candidates.next()?;
            plan.give(&active.allocation);
            chosen.push((lost, id, active));
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
