//! What people ask for: cancel, hold, release, priority, lock, cordon.

use crate::id::{JobId, UserName, WorkerId};
use crate::job::{Active, Cause, Hold, Job, JobState, Outcome, Phase, StopReason};

use crate::sched::events::finish::enter;
use crate::sched::events::step::Step;
use crate::sched::model::effect::Effect;
use crate::sched::model::entities::{Cordon, QueueLock};
use crate::sched::model::event::Rejected;

/// How an attempt that is stopped for this reason is to be reported.
pub(crate) fn outcome_of(reason: &StopReason, job: &Job) -> Outcome {
    match reason {
        StopReason::Cancelled(by) => {
            Outcome::new(Cause::Cancelled(by.clone()), format!("cancelled by {by}"))
        }
        StopReason::TimeLimit => {
            let limit = job.spec.time_limit.unwrap_or_default().as_secs();
            let detail = format!("stopped at its time limit of {limit} s");
            Outcome::new(Cause::TimeLimit, detail)
        }
        StopReason::TooManyFailed => {
            let most = job.spec.max_fails.unwrap_or_default();
            let detail = format!("more than {most} tasks of the array failed");
            Outcome::new(Cause::DependencyFailed, detail)
        }
        StopReason::Preempted => {
            Outcome::new(Cause::Preempted, "stopped for a job that goes first")
        }
    }
}

impl Step<'_> {
    pub(crate) fn cancel_requested(&mut self, id: JobId, by: UserName) -> Result<(), Rejected> {
        let Some(job) = self.state.job(id) else {
            let is_task = self.cancel_waiting_task(id, by);
            return is_task.then_some(()).ok_or(Rejected::NoSuchJob(id));
        };
        let reason = StopReason::Cancelled(by);
        match &job.state {
            JobState::Queued(_) => {
                let outcome = outcome_of(&reason, job);
                self.finish(id, outcome);
            }
            JobState::Array(_) => {
                for (id, outcome) in self.stop_tasks(id, &reason) {
                    self.finish(id, outcome);
                }
            }
            JobState::Assigned(active)
            | JobState::Building(active)
            | JobState::Running(active)
            | JobState::Paused(active)
            // Whoever was to be queued again is not.
            | JobState::Stopping(active, StopReason::Preempted) => {
                let active = active.clone();
                self.stop(id, active, reason);
            }
            // It is ending already; the order is repeated in case that it was the order that got lost.
            JobState::Stopping(active, reason @ (StopReason::Cancelled(_) | StopReason::TimeLimit | StopReason::TooManyFailed)) => {
                let effect = stop_order(job, active, reason);
                self.act(effect);
            }
            JobState::Finished(finished) => {
                return Err(Rejected::AlreadyFinished {
                    job: id,
                    at: finished.at,
                });
            }
        }
        Ok(())
    }

    /// Orders an attempt's end; only its worker's final report, or the worker's loss, ends it.
    pub(crate) fn stop(&mut self, id: JobId, active: Active, reason: StopReason) {
        let now = self.now;
        self.edit(id, |job| {
            let note = outcome_of(&reason, job).detail;
            job.state = JobState::Stopping(active, reason);
            enter(job, now, Phase::Stopping, note);
        });
        self.order_again(id);
    }

    /// Gives the order again that the job's worker owes an answer to.
    pub(crate) fn order_again(&mut self, id: JobId) {
        let Some(job) = self.state.job(id) else {
            return;
        };
        let order = match &job.state {
            JobState::Assigned(active) => job.attempt().map(|attempt| Effect::Run {
                worker: active.worker.clone(),
                attempt,
            }),
            JobState::Stopping(active, reason) => Some(stop_order(job, active, reason)),
            JobState::Queued(_)
            | JobState::Array(_)
            | JobState::Building(_)
            | JobState::Running(_)
            | JobState::Paused(_)
            | JobState::Finished(_) => None,
        };
        if let Some(order) = order {
            self.state.watch_mut().order(id);
            self.act(order);
        }
    }

    pub(crate) fn hold_requested(&mut self, id: JobId, by: UserName) -> Result<(), Rejected> {
        if !is_held(self.waiting_job(id)?)? {
            let now = self.now;
            self.edit_waiting(id, |job| {
                if let Some(hold) = hold_of(job) {
                    *hold = Some(Hold {
                        by: by.clone(),
                        at: now,
                    });
                    enter(job, now, job.state.phase(), format!("held by {by}"));
                }
            });
        }
        Ok(())
    }

    pub(crate) fn release_requested(&mut self, id: JobId) -> Result<(), Rejected> {
        if is_held(self.waiting_job(id)?)? {
            let now = self.now;
            self.edit_waiting(id, |job| {
                if let Some(hold) = hold_of(job) {
                    *hold = None;
                    enter(job, now, job.state.phase(), "released".to_owned());
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
                enter(job, now, job.state.phase(), format!("priority {priority}"));
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

    pub(crate) fn lock_set(&mut self, lock: Option<QueueLock>) -> Result<(), Rejected> {
        if lock.as_ref().is_some_and(|lock| lock.until <= self.now) {
            let text = "the lock would have ended already".to_owned();
            return Err(Rejected::Invalid(text));
        }
        self.state.meta_mut().lock = lock;
        self.state.news_mut().anything();
        self.effects.dirty.meta = true;
        Ok(())
    }
}

fn stop_order(job: &Job, active: &Active, reason: &StopReason) -> Effect {
    Effect::Stop {
        worker: active.worker.clone(),
        attempt: crate::id::AttemptId {
            job: job.id,
            number: active.attempt,
        },
        outcome: outcome_of(reason, job),
        grace: job.spec.grace,
    }
}

/// Who holds a job back, of one that waits.
fn hold_of(job: &mut Job) -> Option<&mut Option<Hold>> {
    match &mut job.state {
        JobState::Queued(queued) => Some(&mut queued.hold),
        JobState::Array(array) => Some(&mut array.hold),
        JobState::Assigned(_)
        | JobState::Building(_)
        | JobState::Running(_)
        | JobState::Paused(_)
        | JobState::Stopping(..)
        | JobState::Finished(_) => None,
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
        JobState::Array(_)
        | JobState::Assigned(_)
        | JobState::Building(_)
        | JobState::Running(_)
        | JobState::Paused(_)
        | JobState::Stopping(..) => Err(Rejected::NotQueued {
            job: job.id,
            phase: job.state.phase().as_str(),
        }),
    }
}
