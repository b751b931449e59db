//! Arrays and their tasks: finding a job by name, and showing tasks that have not started.

use dopq_common::api;
use dopq_common::id::{JobId, JobName, UserName};
use dopq_common::job::{ArraySpec, Indexes, Job, JobState, Task, TaskEnds};

use crate::view::Model;

/// The most characters of an array's indexes in lists.
const LISTED_MAX_CHARS: usize = 60;

/// The id of a name. The job need not exist, but for a task its array does.
pub(in crate::http) fn id_of(model: &Model, name: JobName) -> Option<JobId> {
    match name {
        JobName::Job(id) => Some(id),
        JobName::Task { array, index } => model.state.job(array)?.task_id(index),
    }
}

/// The owner of a job or of a task that has not started.
pub(in crate::http) fn owner(model: &Model, id: JobId) -> Option<&UserName> {
    let job = model.state.job(id).or_else(|| waiting_in(model, id))?;
    Some(&job.user)
}

/// The array of the task with this id, if the task has not started.
pub(in crate::http) fn waiting_in(model: &Model, id: JobId) -> Option<&std::sync::Arc<Job>> {
    model.state.job(model.state.waiting_task(id)?.array)
}

/// An array's specification; `None` for a task and for every other job.
pub(in crate::http) fn array_of(job: &Job) -> Option<&ArraySpec> {
    job.spec.array.as_ref().filter(|_| job.task.is_none())
}

/// Which task of which array.
pub(in crate::http) const fn task(task: Task) -> api::Task {
    api::Task {
        array: task.array.0,
        index: task.index,
    }
}

/// The state of an array's tasks; `None` for other jobs.
pub(super) fn array(job: &Job) -> Option<api::Array> {
    let (waiting, active, ends) = standing(job)?;
    let spec = array_of(job)?;
    Some(api::Array {
        indexes: listed(&spec.indexes),
        total: spec.indexes.len(),
        max_running: spec.max_running,
        waiting,
        active,
        succeeded: ends.succeeded.len(),
        failed: ends.failed.len(),
        cancelled: ends.cancelled.len(),
        failed_indexes: String::new(),
        cancelled_indexes: String::new(),
    })
}

/// The same with all indexes.
pub(super) fn whole_array(job: &Job) -> Option<api::Array> {
    let (_, _, ends) = standing(job)?;
    Some(api::Array {
        indexes: array_of(job)?.indexes.to_string(),
        failed_indexes: ends.failed.to_string(),
        cancelled_indexes: ends.cancelled.to_string(),
        ..array(job)?
    })
}

/// The number of tasks that have not started, that are active, and that ended in each way.
fn standing(job: &Job) -> Option<(u32, u32, &TaskEnds)> {
    match &job.state {
        JobState::Array(array) => Some((array.waiting.len(), array.open, &array.ends)),
        JobState::Finished(finished) => Some((0, 0, finished.tasks.as_deref()?)),
        JobState::Queued(_) | JobState::Active(..) => None,
    }
}

/// Shortens a long set of indexes; a thousand scattered indexes would fill a page.
pub(in crate::http) fn listed(indexes: &Indexes) -> String {
    let text = indexes.to_string();
    match text.char_indices().nth(LISTED_MAX_CHARS) {
        None => text,
        Some((cut, _)) => {
            let shown = text.get(..cut).unwrap_or_default();
            let whole = shown.rsplit_once(',').map_or(shown, |(whole, _)| whole);
            format!("{whole},…")
        }
    }
}
