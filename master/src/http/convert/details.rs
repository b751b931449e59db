//! What only `GET /v1/jobs/{id}` tells of a job: what it asked for, and each of its attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::api;
use dopq_common::job::{
    Dependency, DependencyKind, ImageSource, Job, JobSpec, Phase, Sweep, Task, Transition,
};
use dopq_common::masked;
use dopq_common::resources::MilliCpu;

/// What the job asked for.
pub(super) fn requested(spec: &JobSpec) -> api::Requested {
    let (request, container) = (&spec.request, &spec.container);
    let env = container.env.iter();
    let axes = spec.sweep.iter().flat_map(Sweep::axes);
    let words = |words: &Option<Vec<String>>| words.as_deref().map(masked::command);
    api::Requested {
        image: match &spec.image {
            ImageSource::Build => "Dockerfile".to_owned(),
            ImageSource::Load => "image.tar".to_owned(),
            ImageSource::Named(name) => name.clone(),
        },
        command: words(&container.command),
        entrypoint: words(&container.entrypoint),
        env: env
            .map(|(name, value)| (name.clone(), masked::value(name, value).into_owned()))
            .collect(),
        secrets: spec.secrets.clone(),
        sweep: axes
            .map(|axis| {
                let values = axis.values_text();
                let values = masked::value(axis.name(), &values).into_owned();
                (axis.name().to_owned(), values)
            })
            .collect(),
        after: spec.after.iter().map(after).collect(),
        memory_bytes: request.memory.map(|memory| memory.0),
        cpu_cores: request.cpu.map(cores),
        gpu_models: request.gpu_models.clone(),
        node_labels: request.labels.clone(),
        volumes: request.volumes.iter().map(ToString::to_string).collect(),
        time_limit_seconds: spec.time_limit.as_ref().map(Duration::as_secs_f64),
        time_request_seconds: spec.time_request.as_ref().map(Duration::as_secs_f64),
        retries: spec.retries,
        max_fails: spec.max_fails,
        preemptible: spec.preemptible,
    }
}

/// The values that a task has of its array's sweep.
pub(super) fn sweep_values(spec: &JobSpec, task: Option<Task>) -> BTreeMap<String, String> {
    let Some((sweep, task)) = spec.sweep.as_ref().zip(task) else {
        return BTreeMap::new();
    };
    let values = sweep.values(task.index).into_iter();
    values
        .map(|(name, value)| (name.to_owned(), masked::value(name, &value).into_owned()))
        .collect()
}

fn after(dependency: &Dependency) -> String {
    match dependency.kind {
        DependencyKind::Ok => dependency.job.to_string(),
        DependencyKind::Any => format!("{}:any", dependency.job),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no job asks for 2^52 thousandths of a core"
)]
fn cores(cpu: MilliCpu) -> f64 {
    cpu.0 as f64 / 1000.0
}

/// The job's attempts, as its timeline tells them.
pub(super) fn attempts(job: &Job) -> Vec<api::Attempt> {
    let mut attempts: Vec<api::Attempt> = Vec::new();
    for entry in &job.timeline {
        if entry.phase == Phase::Assigned
            && let Some(number) = entry.attempt
        {
            attempts.push(placed(number, entry));
            continue;
        }
        let Some(attempt) = attempts.last_mut() else {
            continue;
        };
        if entry.attempt != Some(attempt.attempt) || attempt.ended_at.is_some() {
            continue;
        }
        match entry.phase {
            Phase::Running => {
                attempt
                    .started_at
                    .get_or_insert_with(|| entry.at.to_datetime());
            }
            Phase::Queued | Phase::Finished => {
                attempt.ended_at = Some(entry.at.to_datetime());
                let (cause, detail) = ended(&entry.note);
                attempt.cause = Some(cause);
                attempt.detail = detail;
            }
            Phase::Assigned
            | Phase::Building
            | Phase::Paused
            | Phase::Stopping
            | Phase::Publishing => {}
        }
    }
    attempts
}

fn placed(number: u32, entry: &Transition) -> api::Attempt {
    api::Attempt {
        attempt: number,
        worker: entry.note.clone(),
        gpus: entry.gpus.iter().map(ToString::to_string).collect(),
        placed_at: entry.at.to_datetime(),
        started_at: None,
        ended_at: None,
        cause: None,
        detail: String::new(),
    }
}

/// The cause and the rest of a note such as `worker_lost: no sign of life`. A note without a cause is a machine's refusal.
fn ended(note: &str) -> (String, String) {
    let (cause, detail) = note.split_once(": ").unwrap_or((note, ""));
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if cause.bytes().all(is_word) && !cause.is_empty() {
        (cause.to_owned(), detail.to_owned())
    } else {
        ("refused".to_owned(), note.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_attempt_has_a_cause() {
        for (note, cause, detail) in [
            (
                "worker_lost: no sign: of life",
                "worker_lost",
                "no sign: of life",
            ),
            ("succeeded", "succeeded", ""),
            (
                "gpu-1 refused it: no disk",
                "refused",
                "gpu-1 refused it: no disk",
            ),
        ] {
            assert_eq!(ended(note), (cause.to_owned(), detail.to_owned()), "{note}");
        }
    }
}
