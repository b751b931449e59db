//! Emptying machines: drains that reach their deadline, and jobs that are taken from their machine.

use crate::id::{JobId, UserName, WorkerId};
use crate::job::{JobState, Phase, Stage, StopReason};

use crate::sched::model::event::Rejected;
use crate::sched::state::step::Step;

impl Step<'_> {
    /// Takes a job, or the tasks of an array, from the machine.
    pub(crate) fn evict_requested(&mut self, id: JobId, by: &UserName) -> Result<(), Rejected> {
        let not_active = |phase: Phase| Rejected::NotActive {
            job: id,
            phase: phase.as_str(),
        };
        if self.state.waiting_task(id).is_some() {
            return Err(not_active(Phase::Queued));
        }
        let job = self.state.job(id).ok_or(Rejected::NoSuchJob(id))?;
        match &job.state {
            JobState::Finished(finished) => Err(Rejected::AlreadyFinished {
                job: id,
                at: finished.at,
            }),
            JobState::Queued(_) | JobState::Active(_, Stage::Publishing) => {
                Err(not_active(job.state.phase()))
            }
            JobState::Active(..) => {
                self.evict(id, by);
                Ok(())
            }
            JobState::Array(_) => {
                let phase = job.state.phase();
                let tasks = self.state.tasks(id);
                let active = tasks.filter(|task| task.state.active().is_some());
                let active: Vec<JobId> = active.map(|task| task.id).collect();
                if active.is_empty() {
                    return Err(not_active(phase));
                }
                active.into_iter().for_each(|task| self.evict(task, by));
                Ok(())
            }
        }
    }

    /// Takes every job from a machine.
    pub(crate) fn node_evict_requested(
        &mut self,
        worker: &WorkerId,
        by: &UserName,
    ) -> Result<(), Rejected> {
        if self.state.worker(worker).is_none() {
            return Err(Rejected::NoSuchWorker(worker.clone()));
        }
        self.evict_all(worker, by);
        Ok(())
    }

    /// Evicts what is left on machines whose drain has reached its deadline.
    pub(crate) fn end_drains(&mut self) {
        let cordons = self.state.workers().filter_map(|worker| {
            let cordon = worker.cordon.as_ref()?;
            let deadline = cordon.drain?.deadline?;
            (deadline <= self.now).then(|| (worker.id.clone(), cordon.by.clone()))
        });
        let due: Vec<(WorkerId, UserName)> = cordons.collect();
        for (worker, by) in due {
            self.evict_all(&worker, &by);
        }
    }

    fn evict_all(&mut self, worker: &WorkerId, by: &UserName) {
        let node = self.state.index().node(worker);
        let jobs: Vec<JobId> =
            node.map_or_else(Vec::new, |node| node.jobs.keys().copied().collect());
        for job in jobs {
            self.evict(job, by);
        }
    }

    /// Orders a job's end, unless it is ending already.
    fn evict(&mut self, id: JobId, by: &UserName) {
        let job = self.state.job(id).map(|job| &job.state);
        let Some(JobState::Active(active, stage)) = job else {
            return;
        };
        match stage {
            Stage::Assigned | Stage::Building | Stage::Running | Stage::Paused => {
                let active = active.as_ref().clone();
                self.stop(id, active, StopReason::Evicted(by.clone()));
            }
            Stage::Publishing | Stage::Stopping(_) => {}
        }
    }
}
