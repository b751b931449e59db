//! Arrays: tasks become jobs of their own when they are begun, and the array is over with its last task.

use std::sync::Arc;

use crate::id::{JobId, UserName};
use crate::job::{
    Array, Cause, Finished, Indexes, Job, JobState, Outcome, Phase, Queued, StopReason, Task,
};

use crate::sched::events::control::outcome_of;
use crate::sched::events::finish::enter;
use crate::sched::events::step::Step;
use crate::sched::state::core::State;

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

    /// The array and the index of the task that this id stands for, while the task waits to be begun.
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
    /// The job to give a machine to: the array's next task, which becomes a job, or the job itself.
    pub(crate) fn begun(&mut self, id: JobId) -> Option<JobId> {
        let job = self.state.job(id)?;
        match &job.state {
            JobState::Array(array) => {
                let index = array.waiting.first()?;
                self.begin_task(id, index)
            }
            JobState::Queued(_)
            | JobState::Assigned(_)
            | JobState::Building(_)
            | JobState::Running(_)
            | JobState::Paused(_)
            | JobState::Stopping(..)
            | JobState::Finished(_) => Some(id),
        }
    }

    /// Makes a waiting task a job of its own, which waits.
    fn begin_task(&mut self, array: JobId, index: u32) -> Option<JobId> {
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
        enter(&mut task, of.submitted_at, Phase::Queued, String::new());
        // Before the array changes, so that what both ask for keeps its number in the index meanwhile.
        self.state.set_job(Arc::new(task));
        self.effects.dirty.jobs.insert(id);
        let now = self.now;
        self.edit(array, |job| {
            let JobState::Array(state) = &mut job.state else {
                return;
            };
            let is_first = state.open == 0 && state.ends.is_empty();
            state.waiting.remove(index);
            state.open += 1;
            if is_first {
                let note = format!("task {index} begins");
                enter(job, now, Phase::Running, note);
            }
        });
        Some(id)
    }

    /// Ends a task that waits to be begun; `false` when the id stands for none.
    pub(crate) fn cancel_waiting_task(&mut self, id: JobId, by: UserName) -> bool {
        let Some(task) = self.state.waiting_task(id) else {
            return false;
        };
        if let Some(id) = self.begin_task(task.array, task.index) {
            let outcome = Outcome::new(Cause::Cancelled(by.clone()), format!("cancelled by {by}"));
            self.finish(id, outcome);
        }
        true
    }

    /// Begins no further task of an array and stops those under way. Gives those that can end at once.
    pub(crate) fn stop_tasks(
        &mut self,
        array: JobId,
        reason: &StopReason,
    ) -> Vec<(JobId, Outcome)> {
        let Some(job) = self.state.job(array) else {
            return Vec::new();
        };
        let outcome = outcome_of(reason, job);
        let now = self.now;
        self.edit(array, |job| {
            if let JobState::Array(state) = &mut job.state {
                let never_begun = std::mem::take(&mut state.waiting);
                state.ends.cancelled.extend(&never_begun);
                state.failure.get_or_insert_with(|| outcome.clone());
                state.stopping = Some(reason.clone());
                enter(job, now, Phase::Stopping, outcome.detail.clone());
            }
        });
        let tasks: Vec<Arc<Job>> = self.state.tasks(array).cloned().collect();
        let mut over = Vec::new();
        for task in tasks {
            match &task.state {
                JobState::Queued(_) => over.push((task.id, outcome.clone())),
                JobState::Assigned(active)
                | JobState::Building(active)
                | JobState::Running(active)
                | JobState::Paused(active)
                | JobState::Stopping(active, StopReason::Preempted) => {
                    self.stop(task.id, active.clone(), reason.clone());
                }
                // It is ending for good already.
                JobState::Stopping(
                    _,
                    StopReason::Cancelled(_) | StopReason::TimeLimit | StopReason::TooManyFailed,
                )
                | JobState::Finished(_)
                | JobState::Array(_) => {}
            }
        }
        over.extend(self.array_end(array).map(|outcome| (array, outcome)));
        over
    }

    /// What follows for its array from a task's end: jobs that are over with it.
    pub(crate) fn task_over(&mut self, id: JobId) -> Vec<(JobId, Outcome)> {
        let Some(job) = self.state.job(id) else {
            return Vec::new();
        };
        let (Some(task), JobState::Finished(finished)) = (job.task, &job.state) else {
            return Vec::new();
        };
        let outcome = finished.outcome.clone();
        self.edit(task.array, |job| {
            if let JobState::Array(array) = &mut job.state {
                array.open = array.open.saturating_sub(1);
                ends_with(array, &outcome.cause).insert(task.index);
                if outcome.cause != Cause::Succeeded {
                    array.failure.get_or_insert(outcome);
                }
            }
        });
        if self.has_too_many_failed(task.array) {
            return self.stop_tasks(task.array, &StopReason::TooManyFailed);
        }
        let end = self.array_end(task.array);
        end.map(|outcome| (task.array, outcome))
            .into_iter()
            .collect()
    }

    fn has_too_many_failed(&self, array: JobId) -> bool {
        let job = self.state.job(array);
        let state = job.and_then(|job| job.state.array().zip(job.spec.max_fails));
        state.is_some_and(|(array, max)| array.stopping.is_none() && array.ends.failed.len() > max)
    }

    /// How the array ends, if its last task is over.
    fn array_end(&self, id: JobId) -> Option<Outcome> {
        let job = self.state.job(id)?;
        let array = job.state.array()?;
        (array.open == 0 && array.waiting.is_empty()).then(|| outcome_of_tasks(array))
    }
}

/// The set that a task which ended so belongs to.
fn ends_with<'a>(array: &'a mut Array, cause: &Cause) -> &'a mut Indexes {
    match cause {
        Cause::Succeeded => &mut array.ends.succeeded,
        Cause::Cancelled(_) | Cause::DependencyFailed => &mut array.ends.cancelled,
        Cause::UserError
        | Cause::BuildFailed
        | Cause::BundleInvalid
        | Cause::ImageMissing
        | Cause::OomHost
        | Cause::OomGpu
        | Cause::TimeLimit
        | Cause::IdleStopped
        | Cause::Preempted
        | Cause::WorkerLost
        | Cause::GpuFault
        | Cause::DiskFull
        | Cause::EngineError => &mut array.ends.failed,
    }
}

/// How an array ends of which all tasks are over: well when all of them did, by somebody's word when it was
/// cancelled, and else as the first task that did not succeed.
fn outcome_of_tasks(array: &Array) -> Outcome {
    let ends = &array.ends;
    let total = ends.len();
    if ends.succeeded.len() == total {
        return Outcome {
            cause: Cause::Succeeded,
            exit_code: Some(0),
            detail: format!("all {total} tasks succeeded"),
        };
    }
    let mut parts = vec![format!(
        "{} of {total} tasks succeeded",
        ends.succeeded.len()
    )];
    for (what, indexes) in [
        ("failed", &ends.failed),
        ("were not run to their end", &ends.cancelled),
    ] {
        if !indexes.is_empty() {
            parts.push(format!("{} {what} ({})", indexes.len(), listed(indexes)));
        }
    }
    let tally = parts.join(", ");
    match (&array.stopping, &array.failure) {
        (Some(StopReason::Cancelled(by)), _) => Outcome::new(
            Cause::Cancelled(by.clone()),
            format!("cancelled by {by}; {tally}"),
        ),
        (_, Some(first)) => Outcome {
            detail: format!("{tally}; the first of them: {}", first.detail),
            ..first.clone()
        },
        // What did not succeed is a failure, so that there is one.
        (_, None) => Outcome::new(Cause::DependencyFailed, tally),
    }
}

/// Indexes for a sentence; the beginning of a long list.
fn listed(indexes: &Indexes) -> String {
    const SHOWN_CHARS: usize = 60;
    let text = indexes.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text,
        Some((cut, _)) => {
            let shown = text.get(..cut).unwrap_or_default();
            let whole = shown.rsplit_once(',').map_or(shown, |(whole, _)| whole);
            format!("{whole},…")
        }
    }
}

/// How the tasks of an array that ends before any was begun are told.
pub(crate) fn close(job: &mut Job, finished: &mut Finished) {
    if let JobState::Array(array) = &mut job.state {
        let never_begun = std::mem::take(&mut array.waiting);
        array.ends.cancelled.extend(&never_begun);
        finished.tasks = Some(Box::new(std::mem::take(&mut array.ends)));
    }
}
