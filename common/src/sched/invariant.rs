//! What must hold after every step, each as a function with a name. Tests and simulations call them.

use crate::job::Stage;
use crate::resources::MilliGpu;

use crate::job::TIMELINE_MAX;
use crate::sched::model::entities::Health;
use crate::sched::state::core::{DependencyStatus, State};
use crate::sched::state::index::Index;

/// Whether everything that must always hold of a state does.
///
/// # Errors
/// One sentence that names what does not hold.
pub fn check_invariants(state: &State) -> Result<(), String> {
    no_gpu_is_oversubscribed(state)?;
    lost_workers_have_no_jobs(state)?;
    jobs_are_well_formed(state)?;
    waiting_jobs_can_still_start(state)?;
    arrays_know_their_tasks(state)?;
    penalties_are_numbers(state)?;
    groups_are_known(state)?;
    history_is_bounded(state)?;
    indexes_are_fresh(state)
}

fn no_gpu_is_oversubscribed(state: &State) -> Result<(), String> {
    for (worker, node) in state.index().nodes() {
        for (gpu, milli) in &node.gpus {
            if *milli > MilliGpu::WHOLE.0 {
                return Err(format!("{milli} thousandths of {gpu} on {worker} are held"));
            }
        }
    }
    Ok(())
}

fn lost_workers_have_no_jobs(state: &State) -> Result<(), String> {
    for worker in state.workers() {
        let node = state.index().node(&worker.id);
        let jobs = node.map_or(0, |node| node.jobs.len());
        match worker.health {
            Health::Lost { .. } if jobs > 0 => {
                return Err(format!("{} is lost and has {jobs} jobs", worker.id));
            }
            Health::Up | Health::Suspect { .. } | Health::Lost { .. } => {}
        }
    }
    Ok(())
}

fn jobs_are_well_formed(state: &State) -> Result<(), String> {
    for job in state.jobs() {
        let id = job.id;
        if id.0 == 0 || id.0 > state.meta().last_job {
            return Err(format!("job {id} was never given out"));
        }
        if state.user(&job.user).is_none() {
            return Err(format!("the user of job {id} is not known"));
        }
        if job.timeline.is_empty() || job.timeline.len() > TIMELINE_MAX {
            let lines = job.timeline.len();
            return Err(format!("the timeline of job {id} has {lines} lines"));
        }
        if let Some(active) = job.state.active() {
            if active.attempt != job.last_attempt {
                return Err(format!("job {id} runs an attempt that is not its last"));
            }
            if state.worker(&active.worker).is_none() {
                return Err(format!("job {id} is on a machine that is not known"));
            }
            let publishing = job.state.stage() == Some(&Stage::Publishing);
            let stopping = job.state.stage().is_some_and(|s| s.stopping().is_some());
            if !stopping && publishing != active.ended_at.is_some() {
                return Err(format!("job {id} publishes and runs at once"));
            }
            let running = job.state.stage().is_some_and(Stage::is_running);
            if running && (active.started_at.is_none() || !active.confirmed) {
                return Err(format!("job {id} runs without having started"));
            }
        }
    }
    Ok(())
}

fn waiting_jobs_can_still_start(state: &State) -> Result<(), String> {
    let waiting = state.jobs().filter(|job| job.state.waiting() > 0);
    for job in waiting {
        for dependency in job.waits_after() {
            if state.job(dependency.job).is_none() {
                let (id, other) = (job.id, dependency.job);
                return Err(format!(
                    "job {id} waits for job {other}, which is forgotten"
                ));
            }
            if state.dependency_status(*dependency) == DependencyStatus::Impossible {
                let (id, other) = (job.id, dependency.job);
                return Err(format!("job {id} waits for job {other} in vain"));
            }
        }
    }
    Ok(())
}

fn arrays_know_their_tasks(state: &State) -> Result<(), String> {
    for job in state.jobs() {
        let id = job.id;
        if let Some(task) = job.task
            && !job.state.is_finished()
        {
            let of = state.job(task.array);
            if of.is_none_or(|of| of.task_id(task.index) != Some(id)) {
                return Err(format!("task {id} does not belong to its array"));
            }
        }
        let Some(array) = job.state.array() else {
            continue;
        };
        let begun = state.tasks(id);
        let open = begun.filter(|task| !task.state.is_finished());
        if u32::try_from(open.count()) != Ok(array.open) {
            return Err(format!("array {id} miscounts its tasks that are under way"));
        }
        if array.open == 0 && array.waiting.is_empty() {
            return Err(format!(
                "array {id} goes on although all its tasks are over"
            ));
        }
        let counted = array.waiting.len() + array.open + array.ends.len();
        let tasks = job.spec.array.as_ref().map(|spec| spec.indexes.len());
        if tasks != Some(counted) {
            return Err(format!(
                "array {id} has {tasks:?} tasks and counts {counted}"
            ));
        }
    }
    Ok(())
}

fn penalties_are_numbers(state: &State) -> Result<(), String> {
    for user in state.users() {
        let dated = user.recency_at <= state.meta().finished_jobs;
        if !(user.recency.is_finite() && user.recency >= 0.0 && dated) {
            let (name, recency) = (&user.name, user.recency);
            return Err(format!("the penalty of {name} is {recency}"));
        }
        if !(user.usage.is_finite() && user.usage >= 0.0) {
            return Err(format!("the usage of {} is {}", user.name, user.usage));
        }
    }
    Ok(())
}

fn groups_are_known(state: &State) -> Result<(), String> {
    for user in state.users() {
        let group = user.group.as_ref();
        if let Some(group) = group.filter(|group| state.group(group).is_none()) {
            let name = &user.name;
            return Err(format!(
                "{name} is in the group {group}, which is not known"
            ));
        }
    }
    Ok(())
}

fn history_is_bounded(state: &State) -> Result<(), String> {
    let free = state.index().history().iter();
    let free = free.filter(|(_, id)| state.index().dependents(*id).next().is_none());
    let (count, max) = (free.count(), state.settings().history_max_jobs);
    if count > max {
        return Err(format!("{count} finished jobs are kept, more than {max}"));
    }
    Ok(())
}

fn indexes_are_fresh(state: &State) -> Result<(), String> {
    let mut fresh = Index::default();
    for worker in state.workers() {
        fresh.set_worker(&worker.id, Some(worker.clone()), &state.settings().usage);
    }
    for group in state.groups() {
        fresh.set_group(group);
    }
    for user in state.users() {
        fresh.set_user(user);
    }
    for job in state.jobs() {
        fresh.insert(job, state.is_ready(job));
    }
    if fresh.says_the_same_as(state.index()) {
        Ok(())
    } else {
        Err("the indexes do not say what the jobs and workers say".to_owned())
    }
}
