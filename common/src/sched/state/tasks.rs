//! The tasks of arrays, as far as they are jobs of their own.

use std::sync::Arc;

use crate::id::JobId;
use crate::job::{Job, JobState, Phase, Queued, Task};

use super::core::State;
use super::step::Step;

impl State {
    /// The task of an array, once it is a job of its own and while it is remembered.
    #[must_use]
    pub fn task(&self, array: JobId, index: u32) -> Option<&Arc<Job>> {
        self.job(self.job(array)?.task_id(index)?)
    }

    /// The tasks of an array that are jobs of their own and remembered, by index.
    pub fn tasks(&self, array: JobId) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        let last = self.job(array).map_or(array, |job| job.last_id());
        let ids = JobId(array.0.saturating_add(1))..=last;
        let ids = (ids.start() <= ids.end()).then_some(ids);
        ids.into_iter().flat_map(|ids| self.jobs_between(ids))
    }

    /// The array and the index of the task that this id stands for, while the task waits to be started.
    #[must_use]
    pub fn waiting_task(&self, id: JobId) -> Option<Task> {
        let array = self.index().array_before(id)?;
        let job = self.job(array)?;
        let rank = u32::try_from(id.0.checked_sub(array.0)?.checked_sub(1)?).ok()?;
        let index = job.spec.array.as_ref()?.indexes.nth(rank)?;
        let waits = job.state.array()?.waiting.contains(index);
        waits.then_some(Task { array, index })
    }
}

impl Step<'_> {
    /// Makes a waiting task a job of its own, which waits.
    pub(crate) fn begin_task(&mut self, array: JobId, index: u32) -> Option<JobId> {
        let of = self.state.job(array)?;
        let id = of.task_id(index)?;
        let mut task = Job {
            id,
            task: Some(Task { array, index }),
            state: JobState::Queued(Queued {
                since: of.submitted_at,
                not_before: None,
                hold: None,
                avoid: None,
            }),
            timeline: Vec::with_capacity(2),
            ..(**of).clone()
        };
        task.enter(of.submitted_at, Phase::Queued, String::new());
        // Before the array changes, so that what both ask for keeps its number in the index meanwhile.
        self.state.set_job(Arc::new(task));
        self.effects.dirty.jobs.insert(id);
        let now = self.now;
        self.edit(array, |job| {
            let Some(state) = job.state.array_mut() else {
                return;
            };
            let is_first = state.open == 0 && state.ends.is_empty();
            state.waiting.remove(index);
            state.open += 1;
            if is_first {
                let note = format!("task {index} begins");
                job.enter(now, Phase::Running, note);
            }
        });
        Some(id)
    }
}
