//! What GPUs and running jobs use, by the newest heartbeats.

use std::time::Duration;

use dopq_common::api;
use dopq_common::id::{GpuId, JobId, UserName};
use dopq_common::job::{Active, Job};
use dopq_common::resources::{GpuDevice, MilliGpu};
use dopq_common::sched::{self, Health, Worker};
use dopq_common::time::Timestamp;
use dopq_common::wire::{GpuUse, Heartbeat};

use crate::http::sight::Sight;
use crate::view::Model;

/// Older figures are not shown.
const STALE: Duration = Duration::from_secs(30);

/// Every GPU of the cluster, and who holds it; `sight` says how much is seen of a user's jobs.
pub(in crate::http) fn gpus(
    model: &Model,
    sight: impl Fn(&UserName) -> Sight,
    now: Timestamp,
) -> Vec<api::Gpu> {
    let mut all = Vec::new();
    for worker in model.state.workers() {
        let held = sched::held(&model.state, &worker.id);
        let beat = fresh(model, worker, now);
        for (index, gpu) in (0..).zip(&worker.capacity.gpus) {
            let milli = held.gpus.get(&gpu.id).copied().unwrap_or_default();
            let jobs = held.jobs.iter();
            let holders = jobs.filter_map(|id| holder(model, &sight, *id, &gpu.id));
            let usage = beat.and_then(|(at, beat)| Some((at, gpu_use(&beat.gpus, &gpu.id)?)));
            all.push(api::Gpu {
                node: worker.id.to_string(),
                index,
                id: gpu.id.to_string(),
                model: gpu.model.clone(),
                memory_bytes: gpu.memory.0,
                state: state(worker, gpu, milli).to_owned(),
                taken: worker.taken.get(&gpu.id).map(|taken| taken.detail.clone()),
                held_ratio: ratio(milli),
                holders: holders.collect(),
                now: usage.map(|(at, usage)| gpu_now(at, usage)),
            });
        }
    }
    all
}

/// The newest heartbeat, unless it is too old.
fn fresh<'a>(
    model: &'a Model,
    worker: &Worker,
    now: Timestamp,
) -> Option<(Timestamp, &'a Heartbeat)> {
    let (at, beat) = model.live.get(&worker.id)?.heartbeat.as_ref()?;
    (now.since(*at) < STALE).then_some((*at, beat))
}

pub(super) fn gpu_use<'a>(gpus: &'a [GpuUse], id: &GpuId) -> Option<&'a GpuUse> {
    gpus.iter().find(|gpu| gpu.id == *id)
}

fn ratio(milli: MilliGpu) -> f64 {
    f64::from(milli.0) / f64::from(MilliGpu::WHOLE.0)
}

fn state(worker: &Worker, gpu: &GpuDevice, held: MilliGpu) -> &'static str {
    match (worker.health, worker.taken.get(&gpu.id)) {
        (Health::Suspect { .. } | Health::Lost { .. }, _) => "silent",
        (Health::Up, _) if !gpu.healthy => "broken",
        (Health::Up, Some(taken)) => taken.by.as_str(),
        (Health::Up, None) if held.0 > 0 => "held",
        (Health::Up, None) if !worker.takes_jobs() => "closed",
        (Health::Up, None) => "free",
    }
}

fn holder(
    model: &Model,
    sight: impl Fn(&UserName) -> Sight,
    id: JobId,
    gpu: &GpuId,
) -> Option<api::GpuHolder> {
    let job = model.state.job(id)?;
    let active = job.state.active()?;
    let mut shares = active.held()?.gpus.iter();
    let share = shares.find(|share| share.id == *gpu)?;
    Some(api::GpuHolder {
        job: Some(job.id.0),
        name: Some(sight(&job.user).told(job.spec.name.clone())),
        user: Some(job.user.to_string()),
        since: active.assigned_at.to_datetime(),
        held_ratio: ratio(share.milli),
    })
}

fn gpu_now(at: Timestamp, usage: &GpuUse) -> api::GpuNow {
    api::GpuNow {
        at: at.to_datetime(),
        utilization_ratio: usage.utilization_ratio,
        memory_used_bytes: usage.memory_used_bytes,
        temperature_celsius: usage.temperature_celsius,
        power_watts: usage.power_watts,
        energy_joules: usage.energy_joules,
        clock_mhz: usage.clock_mhz,
        memory_clock_mhz: usage.memory_clock_mhz,
        ecc_errors: usage.ecc_errors,
        xid_errors: usage.xid_errors,
        last_xid: usage.last_xid,
        processes: usage.processes,
    }
}

/// What a job with a container uses now, if its node told it lately.
pub(super) fn job_now(model: &Model, now: Timestamp, job: &Job) -> Option<api::JobNow> {
    let active = job.state.active()?;
    active.held()?;
    let worker = model.state.worker(&active.worker)?;
    let (at, beat) = fresh(model, worker, now)?;
    let attempt = job.attempt()?;
    let used = beat.attempts.iter().find(|used| used.attempt == attempt)?;
    let gpus = uses(active, beat);
    let has_gpus = !gpus.is_empty();
    let busy: f64 = gpus.iter().map(|gpu| gpu.utilization_ratio).sum();
    let count = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
    Some(api::JobNow {
        at: at.to_datetime(),
        gpu_utilization_ratio: has_gpus.then(|| busy / f64::from(count)),
        gpu_memory_used_bytes: has_gpus.then(|| gpus.iter().map(|gpu| gpu.memory_used_bytes).sum()),
        gpu_power_watts: has_gpus.then(|| gpus.iter().map(|gpu| gpu.power_watts).sum()),
        cpu_cores: used.cpu_cores,
        memory_bytes: used.memory_bytes,
        processes: used.pids,
        disk_read_bytes: used.io.disk_read_bytes,
        disk_written_bytes: used.io.disk_written_bytes,
        received_bytes: used.io.received_bytes,
        sent_bytes: used.io.sent_bytes,
    })
}

/// What the GPUs of an attempt do.
fn uses<'a>(active: &Active, beat: &'a Heartbeat) -> Vec<&'a GpuUse> {
    let shares = active.allocation.gpus.iter();
    shares
        .filter_map(|share| gpu_use(&beat.gpus, &share.id))
        .collect()
}
