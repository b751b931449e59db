//! Arrays: tasks become jobs of their own when they are begun, and the array is over with its last task.

use std::sync::Arc;

use crate::id::{JobId, UserName};
use crate::job::{
    Array, Cause, Finished, Indexes, Job, JobState, Outcome, Phase, Stage, StopReason,
};
use crate::sched::state::step::Step;

impl Step<'_> {
    /// Ends a task that waits to be begun; `false` when the id stands for none.
    pub(crate) fn cancel_waiting_task(&mut self, id: JobId, by: UserName) -> bool {
        let Some(task) = self.state.waiting_task(id) else {
            return false;
        };
        if let Some(id) = self.begin_task(task.array, task.index) {
            let outcome = Outcome::cancelled(&by, format!("cancelled by {by}"));
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
        self.stop_some_tasks(array, reason, true)
    }

    /// The same; tasks with a machine go on unless `running` are to be stopped, too.
    pub(crate) fn stop_some_tasks(
        &mut self,
        array: JobId,
        reason: &StopReason,
        running: bool,
    ) -> Vec<(JobId, Outcome)> {
        let Some(job) = self.state.job(array) else {
            return Vec::new();
        };
        let outcome = reason.outcome(job);
        let now = self.now;
        self.edit(array, |job| {
            if let Some(state) = job.state.array_mut() {
                let never_begun = std::mem::take(&mut state.waiting);
                state.ends.cancelled.extend(&never_begun);
                state.failure.get_or_insert_with(|| outcome.clone());
                state.stopping = Some(reason.clone());
                job.enter(now, Phase::Stopping, outcome.detail.clone());
            }
        });
        let tasks: Vec<Arc<Job>> = self.state.tasks(array).cloned().collect();
        let mut over = Vec::new();
        for task in tasks {
            match &task.state {
                JobState::Queued(_) => over.push((task.id, outcome.clone())),
                JobState::Active(..) if !running => {}
                // What it made is wanted, unless somebody cancels it.
                JobState::Active(_, Stage::Publishing) if *reason == StopReason::TooManyFailed => {}
                JobState::Active(active, stage) => match stage.stopping() {
                    None | Some(StopReason::Preempted | StopReason::Evicted(_)) => {
                        self.stop(task.id, active.as_ref().clone(), reason.clone());
                    }
                    // It is ending for good already.
                    Some(
                        StopReason::Cancelled(_)
                        | StopReason::TimeLimit
                        | StopReason::TooManyFailed,
                    ) => {}
                },
                JobState::Finished(_) | JobState::Array(_) => {}
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
        let (Some(task), Some(finished)) = (job.task, job.state.finished()) else {
            return Vec::new();
        };
        let outcome = finished.outcome.clone();
        self.edit(task.array, |job| {
            if let Some(array) = job.state.array_mut() {
                array.open = array.open.saturating_sub(1);
                ends_with(array, outcome.cause).insert(task.index);
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
fn ends_with(array: &mut Array, cause: Cause) -> &mut Indexes {
    match cause {
        Cause::Succeeded => &mut array.ends.succeeded,
        Cause::Cancelled | Cause::DependencyFailed => &mut array.ends.cancelled,
        Cause::UserError
        | Cause::BuildFailed
        | Cause::BundleInvalid
        | Cause::ImageMissing
        | Cause::OomHost
        | Cause::OomGpu
        | Cause::TimeLimit
        | Cause::IdleStopped
        | Cause::Preempted
        | Cause::Evicted
        | Cause::WorkerLost
        | Cause::GpuFault
        | Cause::DiskFull
        | Cause::QuotaExceeded
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
            exit_code: Some(0),
            ..Outcome::new(Cause::Succeeded, format!("all {total} tasks succeeded"))
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
    let counts = parts.join(", ");
    match (&array.stopping, &array.failure) {
        (Some(StopReason::Cancelled(by)), _) => {
            Outcome::cancelled(by, format!("cancelled by {by}; {counts}"))
        }
        (_, Some(first)) => Outcome {
            detail: format!("{counts}; the first of them: {}", first.detail),
            ..first.clone()
        },
        // What did not succeed is a failure, so that there is one.
        (_, None) => Outcome::new(Cause::DependencyFailed, counts),
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
    if let Some(array) = job.state.array_mut() {
        let never_begun = std::mem::take(&mut array.waiting);
        array.ends.cancelled.extend(&never_begun);
        finished.tasks = Some(Box::new(std::mem::take(&mut array.ends)));
    }
}
