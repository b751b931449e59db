//! Machines, with what jobs hold and what their last heartbeat reported.

use std::collections::BTreeSet;

use dopq_common::api;
use dopq_common::id::{GpuId, JobId};
use dopq_common::resources::{MilliCpu, MilliGpu};
use dopq_common::sched::{self, Health, Worker};
use dopq_common::time::Timestamp;

use super::gpu::gpu_use;
use super::tasks::task;
use crate::metrics::health_word;
use crate::view::Model;

/// A machine, and who holds its GPUs.
pub(in crate::http) fn node(model: &Model, worker: &Worker) -> api::Node {
    let held = sched::held(&model.state, &worker.id);
    let live = model.live.get(&worker.id);
    let machine = &worker.machine;
    let beat = live.and_then(|live| live.heartbeat.as_ref());
    let host = beat.map(|(_, beat)| &beat.host);
    let host = host.filter(|host| host.memory_total_bytes > 0);
    let gpus = worker.capacity.gpus.iter().map(|gpu| {
        let usage = beat.and_then(|(_, beat)| gpu_use(&beat.gpus, &gpu.id));
        let milli = held.gpus.get(&gpu.id).copied().unwrap_or_default();
        api::NodeGpu {
            id: gpu.id.to_string(),
            model: gpu.model.clone(),
            healthy: gpu.healthy,
            memory_bytes: gpu.memory.0,
            held_ratio: f64::from(milli.0) / f64::from(MilliGpu::WHOLE.0),
            utilization_ratio: usage.map(|usage| usage.utilization_ratio),
            memory_used_bytes: usage.map(|usage| usage.memory_used_bytes),
            holders: holders(model, &held.jobs, &gpu.id),
        }
    });
    api::Node {
        name: worker.id.to_string(),
        state: health_word(worker.health).to_owned(),
        cordon: closed(worker),
        drain: drain(worker, held.jobs.len()),
        host: machine.host.clone(),
        agent: machine.agent.clone(),
        engine: machine.engine.clone(),
        gpu_mode: machine.gpu_mode.clone(),
        egress: machine.egress.clone(),
        build_egress: machine.build_egress.clone(),
        last_seen_at: beat.map(|(at, _)| at.to_datetime()),
        gpus: gpus.collect(),
        cpu_cores: cores(worker.capacity.cpu),
        cpu_cores_held: cores(held.cpu),
        memory_bytes: worker.capacity.memory.0,
        memory_held_bytes: held.memory.0,
        cpu_ratio: host.map(|host| host.cpu_ratio),
        memory_used_bytes: host.map(|host| host.memory_used_bytes),
        jobs: held.jobs.iter().map(|id| id.0).collect(),
        labels: worker.capacity.labels.clone(),
        volumes: worker
            .capacity
            .volumes
            .keys()
            .map(ToString::to_string)
            .collect(),
    }
}

/// The jobs among `jobs` that hold the GPU.
fn holders(model: &Model, jobs: &BTreeSet<JobId>, gpu: &GpuId) -> Vec<api::NodeGpuHolder> {
    let jobs = jobs.iter().filter_map(|id| model.state.job(*id));
    let holders = jobs.filter_map(|job| {
        let active = job.state.active()?;
        let mut shares = active.held()?.gpus.iter();
        let share = shares.find(|share| share.id == *gpu)?;
        Some(api::NodeGpuHolder {
            job: job.id.0,
            task: job.task.map(task),
            user: job.user.to_string(),
            gpu_milli: share.milli.0,
            since: active.assigned_at.to_datetime(),
        })
    });
    holders.collect()
}

/// The volumes of the machines that are not lost, by name; twice where machines offer one in different ways.
pub(in crate::http) fn volumes(model: &Model) -> Vec<api::Volume> {
    let mut found: Vec<api::Volume> = Vec::new();
    let workers = model.state.workers();
    for worker in workers.filter(|worker| !matches!(worker.health, Health::Lost { .. })) {
        for (name, volume) in &worker.capacity.volumes {
            let offer = api::Volume {
                name: name.to_string(),
                read_only: volume.read_only,
                groups: volume.groups.iter().map(ToString::to_string).collect(),
                nodes: Vec::new(),
            };
            let is_same = |known: &&mut api::Volume| {
                (&known.name, known.read_only, &known.groups)
                    == (&offer.name, offer.read_only, &offer.groups)
            };
            match found.iter_mut().find(is_same) {
                Some(known) => known.nodes.push(worker.id.to_string()),
                None => found.push(api::Volume {
                    nodes: vec![worker.id.to_string()],
                    ..offer
                }),
            }
        }
    }
    found.sort_by(|a, b| (&a.name, &a.nodes).cmp(&(&b.name, &b.nodes)));
    found
}

/// Why it takes no new jobs, if it does not.
fn closed(worker: &Worker) -> Option<String> {
    let Some(cordon) = &worker.cordon else {
        return worker.closed.as_deref().map(str::to_owned);
    };
    Some(if cordon.reason.is_empty() {
        format!("by {}", cordon.by)
    } else {
        format!("{} (by {})", cordon.reason, cordon.by)
    })
}

/// How far it is emptied, while it is being drained.
fn drain(worker: &Worker, jobs: usize) -> Option<api::NodeDrain> {
    let drain = worker.cordon.as_ref()?.drain?;
    Some(api::NodeDrain {
        jobs_left: u64::try_from(jobs).unwrap_or(u64::MAX),
        deadline: drain.deadline.map(Timestamp::to_datetime),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no machine has 2^52 thousandths of a core"
)]
fn cores(cpu: MilliCpu) -> f64 {
    cpu.0 as f64 / 1000.0
}
