//! Families from the newest heartbeats: GPUs, nodes, and what each user's running jobs use.
//!
//! Labels are nodes, GPUs and users, whose numbers are bounded; jobs are summed by user.

use std::collections::BTreeMap;

use dopq_common::id::{GpuId, UserName, WorkerId};
use dopq_common::resources::MilliGpu;
use dopq_common::wire::{GpuUse, Heartbeat};
use prometheus_client::registry::Unit;

use super::gauges::{Gauges, Sample};
use crate::view::Model;

/// Hertz in a megahertz.
const MHZ: f64 = 1e6;

/// The newest heartbeat of each node that has joined.
fn beats(model: &Model) -> impl Iterator<Item = (&WorkerId, &Heartbeat)> {
    model.state.workers().filter_map(|worker| {
        let live = model.live.get(&worker.id)?;
        let (_, beat) = live.heartbeat.as_ref()?;
        Some((&worker.id, beat))
    })
}

/// A sample of each GPU of which `value` is known.
fn by_gpu(model: &Model, value: impl Fn(&GpuUse) -> Option<f64>) -> Vec<Sample> {
    let gpus =
        beats(model).flat_map(|(worker, beat)| beat.gpus.iter().map(move |gpu| (worker, gpu)));
    let known = gpus.filter_map(|(worker, gpu)| Some((gpu_labels(worker, &gpu.id), value(gpu)?)));
    known.collect()
}

fn gpu_labels(worker: &WorkerId, gpu: &GpuId) -> Vec<(&'static str, String)> {
    vec![("worker", worker.to_string()), ("gpu", gpu.to_string())]
}

#[expect(clippy::cast_precision_loss, reason = "a figure for a graph")]
fn number(count: u64) -> f64 {
    count as f64
}

fn family(
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    samples: Vec<Sample>,
) -> Gauges {
    Gauges {
        name,
        help,
        unit,
        samples,
    }
}

/// What only grows until the driver or the worker starts anew.
pub(super) fn counters(model: &Model) -> Vec<Gauges> {
    let joules = Unit::Other("joules".to_owned());
    vec![
        family(
            "dopq_gpu_energy",
            "Energy that each GPU used since its driver was loaded",
            Some(joules),
            by_gpu(model, |gpu| Some(gpu.energy_joules)),
        ),
        family(
            "dopq_gpu_ecc_errors",
            "Memory errors of each GPU that were not corrected, since its driver was loaded",
            None,
            by_gpu(model, |gpu| gpu.ecc_errors.map(number)),
        ),
        family(
            "dopq_gpu_xid_errors",
            "Errors of each GPU that the driver reported since its worker's start",
            None,
            by_gpu(model, |gpu| Some(number(gpu.xid_errors))),
        ),
    ]
}

/// What is so now.
pub(super) fn gauges(model: &Model) -> Vec<Gauges> {
    let mut families = vec![
        clocks(model),
        family(
            "dopq_gpu_processes",
            "Processes that compute on each GPU",
            None,
            by_gpu(model, |gpu| gpu.processes.map(f64::from)),
        ),
    ];
    families.extend(machines(model));
    families.extend(users(model));
    families
}

fn clocks(model: &Model) -> Gauges {
    let mut samples = Vec::new();
    for (clock, read) in [
        ("sm", (|gpu| gpu.clock_mhz) as fn(&GpuUse) -> Option<u32>),
        ("memory", |gpu| gpu.memory_clock_mhz),
    ] {
        for (mut labels, value) in by_gpu(model, |gpu| read(gpu).map(f64::from)) {
            labels.push(("clock", clock.to_owned()));
            samples.push((labels, value * MHZ));
        }
    }
    let hertz = Unit::Other("hertz".to_owned());
    family("dopq_gpu_clock", "Clocks of each GPU", Some(hertz), samples)
}

fn machines(model: &Model) -> [Gauges; 3] {
    let by_node = |value: fn(&Heartbeat) -> f64| {
        let known = beats(model).filter(|(_, beat)| beat.host.memory_total_bytes > 0);
        let samples = known.map(|(worker, beat)| {
            let labels = vec![("worker", worker.to_string())];
            (labels, value(beat))
        });
        samples.collect()
    };
    [
        family(
            "dopq_worker_cpu",
            "How busy all cores of each node are, 0 to 1",
            Some(Unit::Other("ratio".to_owned())),
            by_node(|beat| beat.host.cpu_ratio),
        ),
        family(
            "dopq_worker_memory_used",
            "Memory in use on each node",
            Some(Unit::Bytes),
            by_node(|beat| number(beat.host.memory_used_bytes)),
        ),
        family(
            "dopq_worker_memory_total",
            "Memory of each node",
            Some(Unit::Bytes),
            by_node(|beat| number(beat.host.memory_total_bytes)),
        ),
    ]
}

/// What the running jobs of each user use together.
fn users(model: &Model) -> [Gauges; 3] {
    let mut sums: BTreeMap<&UserName, [f64; 3]> = BTreeMap::new();
    for (_, beat) in beats(model) {
        for used in &beat.attempts {
            let job = model.state.job(used.attempt.job);
            let Some(job) = job.filter(|job| job.attempt() == Some(used.attempt)) else {
                continue;
            };
            let held = job.state.active().and_then(|active| active.held());
            let shares = held.map(|held| &held.gpus).into_iter().flatten();
            let busy = shares.filter_map(|share| {
                let gpu = beat.gpus.iter().find(|gpu| gpu.id == share.id)?;
                let part = f64::from(share.milli.0) / f64::from(MilliGpu::WHOLE.0);
                Some(gpu.utilization_ratio * part)
            });
            let values = [used.cpu_cores, number(used.memory_bytes), busy.sum::<f64>()];
            let sum = sums.entry(&job.user).or_default();
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum += value;
            }
        }
    }
    let mut samples: [Vec<Sample>; 3] = Default::default();
    for (user, values) in sums {
        for (samples, value) in samples.iter_mut().zip(values) {
            samples.push((vec![("user", user.to_string())], value));
        }
    }
    let [cpu, memory, gpus] = samples;
    [
        family(
            "dopq_user_cpu_cores",
            "Cores that each user's running jobs use",
            None,
            cpu,
        ),
        family(
            "dopq_user_memory",
            "Memory that each user's running jobs use",
            Some(Unit::Bytes),
            memory,
        ),
        family(
            "dopq_user_gpus_busy",
            "Utilization of the GPUs that each user's running jobs hold, summed by their share",
            None,
            gpus,
        ),
    ]
}
