//! Takes one event: hands it to the module that knows it, then places what can be placed
//! and makes room for what goes before.

use crate::id::{JobId, UserName};
use crate::job::Job;
use crate::time::Timestamp;

use crate::sched::model::effect::{Effect, Effects};
use crate::sched::model::entities::{User, Worker};
use crate::sched::model::event::{Event, Rejected};
use crate::sched::state::core::State;

/// Takes one event.
///
/// # Errors
/// [`Rejected`] when the event is stale or not allowed; then no job, user, worker or counter changed.
/// A stale report still leaves an order in `effects`, so that its worker cleans up.
pub fn step(
    state: &mut State,
    now: Timestamp,
    event: Event,
    effects: &mut Effects,
) -> Result<(), Rejected> {
    if state.watch_mut().advance(now) {
        // What was too late for a gap may be in time again.
        state.news_mut().anything();
    }
    let mut step = Step {
        state,
        now,
        effects,
    };
    let ticks = event == Event::Ticked;
    step.take(event)?;
    // For whom others may be stopped changes with what changed, and with time.
    let is_due = ticks || step.state.news().is_due();
    step.place();
    if is_due {
        step.preempt();
    }
    Ok(())
}

/// One step under way. Its methods live beside what they are about.
pub(crate) struct Step<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) now: Timestamp,
    pub(crate) effects: &'a mut Effects,
}

impl Step<'_> {
    fn take(&mut self, event: Event) -> Result<(), Rejected> {
        match event {
            Event::Submitted(submission) => self.submitted(submission),
            Event::CancelRequested { job, by } => self.cancel_requested(job, by),
            Event::HoldRequested { job, by } => self.hold_requested(job, by),
            Event::ReleaseRequested { job } => self.release_requested(job),
            Event::PriorityRequested { job, priority } => self.priority_requested(job, priority),
            Event::WorkerJoined {
                worker,
                session,
                capacity,
                images,
                known,
            } => {
                self.worker_joined(worker, session, capacity, images, &known);
                Ok(())
            }
            Event::WorkerHeard { worker, session } => self.worker_heard(&worker, &session),
            Event::WorkerLeft { worker } => self.worker_left(&worker),
            Event::CordonSet { worker, cordon } => self.cordon_set(&worker, cordon),
            Event::Reported {
                worker,
                attempt,
                progress,
            } => self.reported(worker, attempt, progress),
            Event::UserSet {
                user,
                weight,
                guards,
                group,
            } => self.user_set(&user, weight, guards, group),
            Event::GroupSet {
                group,
                weight,
                guards,
            } => self.group_set(group, weight, guards),
            Event::GroupRemoved { group } => self.group_removed(&group),
            Event::LockSet { lock } => self.lock_set(lock),
            Event::BrokerLink { up } => {
                self.state.set_link(up);
                Ok(())
            }
            Event::LeadTaken => {
                self.lead_taken();
                Ok(())
            }
            Event::Ticked => {
                self.ticked();
                Ok(())
            }
        }
    }

    pub(crate) fn act(&mut self, effect: Effect) {
        self.effects.acts.push(effect);
    }

    /// Changes a job that is known.
    pub(crate) fn edit(&mut self, id: JobId, edit: impl FnOnce(&mut Job)) {
        self.state.edit_job(id, edit);
        self.effects.dirty.jobs.insert(id);
    }

    /// Changes a user, who is made known if they were not.
    pub(crate) fn edit_user(&mut self, name: &UserName, edit: impl FnOnce(&mut User)) {
        let known = self.state.user(name).cloned();
        let mut user = known.unwrap_or_else(|| User::new(name.clone()));
        edit(&mut user);
        self.state.set_user(user);
        self.effects.dirty.users.insert(name.clone());
    }

    /// Takes over a worker's new data if they differ from what is known.
    pub(crate) fn put_worker(&mut self, worker: Worker) {
        let id = worker.id.clone();
        if self.state.worker(&id).is_none_or(|known| **known != worker) {
            self.state.set_worker(worker.into());
            self.effects.dirty.workers.insert(id);
        }
    }
}
