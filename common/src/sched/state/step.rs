//! A change of the state under way, and what it collects: what became dirty, what is to be done after the commit.

use crate::id::{JobId, UserName};
use crate::job::Job;
use crate::sched::model::effect::{Effect, Effects};
use crate::sched::model::entities::{User, Worker};
use crate::time::Timestamp;

use super::core::State;

/// The state at one instant, open for changes. Its methods live beside what they are about.
pub(crate) struct Step<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) now: Timestamp,
    pub(crate) effects: &'a mut Effects,
}

impl Step<'_> {
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
