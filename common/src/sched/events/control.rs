//! What people ask for: cancel, hold, release, priority, lock, cordon.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{GpuId, JobId, UserName, WorkerId};
use crate::job::{Hold, Job, JobState, Phase, StopReason};
use crate::resources::GpuTaken;

use crate::sched::model::effect::Effect;
use crate::sched::model::entities::{Cordon, QueueLock};
use crate::sched::model::event::Rejected;
use crate::sched::place::stop::stop_order;
use crate::sched::state::step::Step;

impl Step<'_> {
    pub(crate) fn cancel_requested(&mut self, id: JobId, by: UserName) -> Result<(), Rejected> {
        let Some(job) = self.state.job(id) else {
            let is_task = self.cancel_waiting_task(id, by);
            return is_task.then_some(()).ok_or(Rejected::NoSuchJob(id));
        };
        let reason = StopReason::Cancelled(by);
        match &job.state {
            JobState::Queued(_) => {
                let outcome = reason.outcome(job);
                self.finish(id, outcome);
            }
            JobState::Array(_) => {
                for (id, outcome) in self.stop_tasks(id, &reason) {
                    self.finish(id, outcome);
                }
            }
            JobState::Active(active, stage) => match stage.stopping() {
                // A preempted or evicted job is not queued again.
                None | Some(StopReason::Preempted | StopReason::Evicted(_)) => {
                    let active = active.as_ref().clone();
                    self.stop(id, active, reason);
                }
                // Its results are still being stored, which nothing else ends.
                Some(StopReason::TimeLimit | StopReason::TooManyFailed)
                    if active.ended_at.is_some() =>
                {
                    let active = active.as_ref().clone();
                    self.stop(id, active, reason);
                }
                // It is ending already. The order is repeated in case it got lost; it also ends the storing.
                Some(
                    reason @ (StopReason::Cancelled(_)
                    | StopReason::TimeLimit
                    | StopReason::TooManyFailed),
                ) => {
                    let mut effect = stop_order(job, active, reason);
                    if let Effect::Stop { insists, .. } = &mut effect {
                        *insists = active.ended_at.is_some();
                    }
                    self.act(effect);
                }
            },
            JobState::Finished(finished) => {
                return Err(Rejected::AlreadyFinished {
                    job: id,
                    at: finished.at,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn user_removed(&mut self, user: &UserName, by: UserName, running: bool) {
        let reason = StopReason::Cancelled(by.clone());
        let jobs = self.state.jobs().filter(|job| job.user == *user);
        let jobs: Vec<JobId> = jobs.map(|job| job.id).collect();
        for id in jobs {
            let Some(job) = self.state.job(id).cloned() else {
                continue;
            };
            match &job.state {
                JobState::Queued(_) => self.finish(id, reason.outcome(&job)),
                JobState::Array(_) => {
                    for (id, outcome) in self.stop_some_tasks(id, &reason, running) {
                        self.finish(id, outcome);
                    }
                }
                JobState::Active(..) if running => {
                    // It is there and has not ended, so nothing refuses this.
                    drop(self.cancel_requested(id, by.clone()));
                }
                JobState::Active(..) | JobState::Finished(_) => {}
            }
        }
    }

    pub(crate) fn hold_requested(&mut self, id: JobId, by: UserName) -> Result<(), Rejected> {
        if !is_held(self.waiting_job(id)?)? {
            let now = self.now;
            self.edit_waiting(id, |job| {
                if let Some(hold) = job.state.hold_mut() {
                    *hold = Some(Hold {
                        by: by.clone(),
                        at: now,
                    });
                    job.enter(now, job.state.phase(), format!("held by {by}"));
                }
            });
        }
        Ok(())
    }

    pub(crate) fn release_requested(&mut self, id: JobId) -> Result<(), Rejected> {
        if is_held(self.waiting_job(id)?)? {
            let now = self.now;
            self.edit_waiting(id, |job| {
                if let Some(hold) = job.state.hold_mut() {
                    *hold = None;
                    job.enter(now, job.state.phase(), "released".to_owned());
                }
            });
        }
        Ok(())
    }

    pub(crate) fn priority_requested(&mut self, id: JobId, priority: i32) -> Result<(), Rejected> {
        let job = self.waiting_job(id)?;
        // Whether it is held makes no difference; that it waits does.
        is_held(job)?;
        if job.priority != priority {
            let now = self.now;
            self.edit_waiting(id, |job| {
                job.priority = priority;
                job.enter(now, job.state.phase(), format!("priority {priority}"));
            });
        }
        Ok(())
    }

    fn waiting_job(&self, id: JobId) -> Result<&Job, Rejected> {
        if let Some(task) = self.state.waiting_task(id) {
            let (array, index) = (task.array, task.index);
            return Err(Rejected::Invalid(format!(
                "task {index} waits with its array, and so only the whole array {array} can be held, released or moved"
            )));
        }
        let job = self.state.job(id).ok_or(Rejected::NoSuchJob(id))?;
        Ok(job)
    }

    /// Changes a waiting job, and with an array those of its tasks that wait again.
    fn edit_waiting(&mut self, id: JobId, mut edit: impl FnMut(&mut Job)) {
        let tasks = self.state.tasks(id);
        let waiting = tasks.filter(|task| task.state.phase() == Phase::Queued);
        let ids: Vec<JobId> = std::iter::once(id)
            .chain(waiting.map(|task| task.id))
            .collect();
        for id in ids {
            self.edit(id, &mut edit);
        }
    }

    pub(crate) fn cordon_set(
        &mut self,
        worker: &WorkerId,
        cordon: Option<Cordon>,
    ) -> Result<(), Rejected> {
        let known = self.state.worker(worker);
        let known = known.ok_or_else(|| Rejected::NoSuchWorker(worker.clone()))?;
        let mut changed = (**known).clone();
        changed.cordon = cordon;
        self.put_worker(changed);
        Ok(())
    }

    pub(crate) fn worker_closed(
        &mut self,
        worker: &WorkerId,
        session: &str,
        why: Option<Arc<str>>,
    ) -> Result<(), Rejected> {
        let known = self.in_session(worker, session)?;
        if known.closed != why {
            let mut changed = (**known).clone();
            changed.closed = why;
            self.put_worker(changed);
        }
        Ok(())
    }

    pub(crate) fn gpus_taken(
        &mut self,
        worker: &WorkerId,
        session: &str,
        taken: BTreeMap<GpuId, GpuTaken>,
    ) -> Result<(), Rejected> {
        let known = self.in_session(worker, session)?;
        if known.taken != taken {
            let mut changed = (**known).clone();
            changed.taken = taken;
            self.put_worker(changed);
        }
        Ok(())
    }

    pub(crate) fn lock_set(&mut self, lock: Option<QueueLock>) -> Result<(), Rejected> {
        if lock.as_ref().is_some_and(|lock| lock.until <= self.now) {
            let text = "the lock would have ended already".to_owned();
            return Err(Rejected::Invalid(text));
        }
        self.state.meta_mut().lock = lock;
        self.effects.dirty.meta = true;
        Ok(())
    }
}

/// Whether a waiting job is held back.
fn is_held(job: &Job) -> Result<bool, Rejected> {
    match &job.state {
        JobState::Queued(queued) => Ok(queued.hold.is_some()),
        JobState::Array(array) if !array.waiting.is_empty() => Ok(array.hold.is_some()),
        JobState::Finished(finished) => Err(Rejected::AlreadyFinished {
            job: job.id,
            at: finished.at,
        }),
        JobState::Array(_) | JobState::Active(..) => Err(Rejected::NotQueued {
            job: job.id,
            phase: job.state.phase().as_str(),
        }),
    }
}
