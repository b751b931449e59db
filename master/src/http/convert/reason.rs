//! Why a job waits: the whole sentence, and its first reason in a few words for tables.

use dopq_common::job::Job;
use dopq_common::resources::MilliGpu;
use dopq_common::sched::{self, Reason, State};
use dopq_common::time::Timestamp;

use crate::view::Model;

/// A job's reasons in words.
pub(super) struct Why {
    /// Every reason.
    pub(super) whole: String,
    /// The first, in a few words.
    pub(super) short: Option<String>,
}

/// Why the job waits.
pub(super) fn why(model: &Model, now: Timestamp, job: &Job) -> Why {
    let reasons = sched::reasons(&model.state, now, job);
    let whole: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    Why {
        whole: whole.join("; "),
        short: reasons
            .first()
            .map(|reason| short(&model.state, job, reason)),
    }
}

fn short(state: &State, job: &Job, reason: &Reason) -> String {
    let gpus = |milli: u32| f64::from(milli) / 1000.0;
    match reason {
        Reason::Held { by } => format!("held by {by}"),
        Reason::Dependency { job, .. } => format!("after job {job}"),
        Reason::Backoff { .. } => "waits to retry".to_owned(),
        Reason::ArrayLimit { max } => format!("array limit: {max}"),
        Reason::Locked(_) => "queue locked".to_owned(),
        Reason::Closing { .. } => "master shuts down".to_owned(),
        Reason::BrokerDown => "broker unreachable".to_owned(),
        Reason::RunningLimit { max } => format!("user max {max} jobs"),
        Reason::GpuLimit { max } => format!("user max {} GPUs", gpus(*max)),
        Reason::GroupRunningLimit { max, .. } => format!("group max {max} jobs"),
        Reason::GroupGpuLimit { max, .. } => format!("group max {} GPUs", gpus(*max)),
        Reason::NoMachine => "no nodes".to_owned(),
        Reason::NeverFits(_) => "fits no node".to_owned(),
        Reason::NoRoom(_) => no_room(state, job),
        Reason::GpusTaken(_) => "GPUs in other use".to_owned(),
        Reason::Reserved { worker, .. } => format!("reserved: {worker}"),
        Reason::Behind { job } => format!("behind job {job}"),
        Reason::Next => "starts next".to_owned(),
    }
}

/// Such as `2 of 4 GPUs free`: the free GPUs of the best node, of those that the job asks for.
fn no_room(state: &State, job: &Job) -> String {
    let request = &job.spec.request;
    let wanted = request.gpus;
    let nodes = state.workers();
    let nodes = nodes.filter(|worker| worker.cordon.is_none());
    let free = nodes.filter_map(|worker| {
        let each = request.gpu_amount.on(worker.capacity.slots_per_gpu)?;
        let held = sched::held(state, &worker.id).gpus;
        let free = worker.capacity.gpus.iter().filter(|gpu| {
            let held = held.get(&gpu.id).map_or(0, |milli| milli.0);
            worker.offers(gpu) && held + each.0 <= MilliGpu::WHOLE.0
        });
        u32::try_from(free.count()).ok()
    });
    match free.max() {
        Some(0) if wanted == 1 => "no GPU free".to_owned(),
        Some(free) if free < wanted => format!("{free} of {wanted} GPUs free"),
        Some(_) | None => "no node has room".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use dopq_common::api::REASON_WIDTH;
    use dopq_common::id::{JobId, JobKey};
    use dopq_common::job::{DependencyKind, JobState, Queued};
    use dopq_common::record::Specs;
    use dopq_common::resources::{ByteSize, Capacity, GpuDevice, MilliCpu};
    use dopq_common::sched::{Change, Health, QueueLock, Settings, Worker};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    /// A waiting job that asks for so many GPUs.
    fn job(gpus: u32) -> Job {
        let config = format!(r#"{{"name": "train", "executor_name": "anna", "num_gpus": {gpus}}}"#);
        let (config, spec) = Specs::default().read(&config).expect("a configuration");
        Job {
            id: JobId(1),
            key: JobKey([7; 16]),
            user: "anna".parse().expect("a name"),
            spec,
            config,
            bundle: None,
            submitted_at: NOW,
            last_attempt: 0,
            priority: 0,
            retries_used: 0,
            faults: 0,
            task: None,
            state: JobState::Queued(Queued {
                since: NOW,
                not_before: None,
                hold: None,
                avoid: None,
            }),
            timeline: Vec::new(),
            charges: Vec::new(),
            measured: Vec::new(),
        }
    }

    fn worker(gpus: usize) -> Worker {
        let gpus = (0..gpus).map(|index| GpuDevice {
            id: format!("GPU-{index}").parse().expect("a name"),
            model: "Simulated".to_owned(),
            memory: ByteSize(ByteSize::GIB),
            healthy: true,
        });
        Worker {
            id: "gpu-01".parse().expect("a name"),
            session: "s".into(),
            capacity: Capacity {
                cpu: MilliCpu(1000),
                memory: ByteSize(ByteSize::GIB),
                gpus: gpus.collect(),
                slots_per_gpu: 1,
                labels: std::collections::BTreeMap::new(),
                volumes: std::collections::BTreeMap::new(),
            },
            images: BTreeSet::new(),
            joined_at: NOW,
            health: Health::Up,
            cordon: None,
            closed: None,
            machine: Arc::default(),
            taken: std::collections::BTreeMap::new(),
        }
    }

    fn text(gpus_there: usize, gpus_wanted: u32, reason: &Reason) -> String {
        let (mut state, job) = (State::new(Settings::default()), job(gpus_wanted));
        state.apply(Change::Worker(Arc::new(worker(gpus_there))));
        let text = short(&state, &job, reason);
        assert!(text.len() <= usize::from(REASON_WIDTH), "{text:?}");
        text
    }

    #[test]
    fn every_reason_has_a_short_form_that_fits_the_table() {
        let lock = QueueLock {
            by: "root".parse().expect("a name"),
            reason: "the cooling is repaired until tomorrow".to_owned(),
            until: NOW,
        };
        let dependency = Reason::Dependency {
            job: JobId(1_234_567),
            kind: DependencyKind::Ok,
            phase: None,
        };
        let group = || "vision".parse().expect("a name");
        let by = "anna".parse().expect("a name");
        let reserved = Reason::Reserved {
            at: None,
            worker: "gpu-01".parse().expect("a name"),
        };
        let jobs_of_group = Reason::GroupRunningLimit {
            group: group(),
            max: 100,
        };
        let gpus_of_group = Reason::GroupGpuLimit {
            group: group(),
            max: 64_000,
        };
        for (reason, expected) in [
            (Reason::Held { by }, "held by anna"),
            (dependency, "after job 1234567"),
            (Reason::Backoff { until: NOW }, "waits to retry"),
            (Reason::ArrayLimit { max: 10_000 }, "array limit: 10000"),
            (Reason::Locked(lock), "queue locked"),
            (
                Reason::Closing {
                    by: "root".parse().expect("a name"),
                },
                "master shuts down",
            ),
            (Reason::BrokerDown, "broker unreachable"),
            (Reason::RunningLimit { max: 1000 }, "user max 1000 jobs"),
            (Reason::GpuLimit { max: 12_500 }, "user max 12.5 GPUs"),
            (jobs_of_group, "group max 100 jobs"),
            (gpus_of_group, "group max 64 GPUs"),
            (Reason::NoMachine, "no nodes"),
            (Reason::NeverFits("a sentence".to_owned()), "fits no node"),
            (Reason::NoRoom(Vec::new()), "2 of 4 GPUs free"),
            (Reason::GpusTaken(Vec::new()), "GPUs in other use"),
            (reserved, "reserved: gpu-01"),
            (
                Reason::Behind {
                    job: JobId(1_234_567),
                },
                "behind job 1234567",
            ),
            (Reason::Next, "starts next"),
        ] {
            assert_eq!(text(2, 4, &reason), expected, "{reason:?}");
        }
    }

    #[test]
    fn no_room_names_the_free_gpus_where_they_are_too_few() {
        for (there, wanted, expected) in [
            (0, 1, "no GPU free"),
            (10, 16, "10 of 16 GPUs free"),
            (0, 2, "0 of 2 GPUs free"),
            (2, 2, "no node has room"),
            (2, 0, "no node has room"),
        ] {
            assert_eq!(text(there, wanted, &Reason::NoRoom(Vec::new())), expected);
        }
    }
}
