//! Metrics derived from the read model at each scrape.

use std::collections::BTreeMap;
use std::fmt;

use dopq_common::job::Phase;
use dopq_common::resources::MilliGpu;
use dopq_common::sched::{self, Health};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::families::Metrics;
use super::gauges::{Gauges, Sample};
use super::telemetry;
use crate::clock;
use crate::view::{Model, Role, View};

/// All families: counters, and those from the read model.
#[must_use]
pub fn registry(metrics: &Metrics, view: &View) -> Registry {
    let mut registry = Registry::default();
    metrics.register(registry.sub_registry_with_prefix("dopq"));
    registry.register_collector(Box::new(FromModel { view: view.clone() }));
    registry
}

/// The word that the API and the metrics use.
#[must_use]
pub const fn health_word(health: Health) -> &'static str {
    match health {
        Health::Up => "up",
        Health::Suspect { .. } => "suspect",
        Health::Lost { .. } => "lost",
    }
}

struct FromModel {
    view: View,
}

impl fmt::Debug for FromModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromModel")
    }
}

impl Collector for FromModel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Read first, write after, so that a slow scrape does not hold the model.
        let (gauges, counters) = self
            .view
            .read(|model| (families(model), telemetry::counters(model)));
        for family in counters {
            let mut metric = encoder.encode_descriptor(
                family.name,
                family.help,
                family.unit.as_ref(),
                MetricType::Counter,
            )?;
            for (labels, value) in &family.samples {
                ConstCounter::new(*value).encode(metric.encode_family(labels)?)?;
            }
        }
        for family in gauges {
            let mut metric = encoder.encode_descriptor(
                family.name,
                family.help,
                family.unit.as_ref(),
                MetricType::Gauge,
            )?;
            match family.samples.as_slice() {
                [(labels, value)] if labels.is_empty() => ConstGauge::new(*value).encode(metric)?,
                samples => {
                    for (labels, value) in samples {
                        ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn families(model: &Model) -> Vec<Gauges> {
    let mut families = vec![
        Gauges {
            name: "dopq_build_info",
            help: "Version of DoPQ",
            unit: None,
            samples: vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
        },
        Gauges {
            name: "dopq_leader",
            help: "1 on the master that leads",
            unit: None,
            samples: vec![(vec![], f64::from(u8::from(model.role == Role::Leader)))],
        },
        jobs(model),
        workers(model),
        worker_gpus(model),
        penalties(model),
    ];
    families.extend(worker_disks(model));
    families.extend(gpus(model));
    families.extend(telemetry::gauges(model));
    families
}

fn jobs(model: &Model) -> Gauges {
    let mut counts = BTreeMap::from(Phase::ALL.map(|phase| (phase, 0)));
    for (_, phase, count) in model.runs() {
        *counts.entry(phase).or_default() += count;
    }
    Gauges {
        name: "dopq_jobs",
        help: "Jobs in memory, by state; each task of an array counts",
        unit: None,
        samples: counts
            .into_iter()
            .map(|(phase, count)| {
                #[expect(clippy::cast_precision_loss, reason = "a figure for a graph")]
                let count = count as f64;
                (vec![("state", phase.as_str().to_owned())], count)
            })
            .collect(),
    }
}

fn workers(model: &Model) -> Gauges {
    let mut counts = BTreeMap::from([("up", 0.0), ("suspect", 0.0), ("lost", 0.0)]);
    for worker in model.state.workers() {
        *counts.entry(health_word(worker.health)).or_default() += 1.0;
    }
    Gauges {
        name: "dopq_workers",
        help: "Nodes, by state",
        unit: None,
        samples: counts
            .into_iter()
            .map(|(state, count)| (vec![("state", state.to_owned())], count))
            .collect(),
    }
}

fn worker_gpus(model: &Model) -> Gauges {
    let mut samples = Vec::new();
    for worker in model.state.workers() {
        let held = sched::held(&model.state, &worker.id);
        let (mut total, mut unhealthy, mut taken, mut other) = (0.0, 0.0, 0.0, 0.0);
        for gpu in &worker.capacity.gpus {
            total += 1.0;
            unhealthy += if gpu.healthy { 0.0 } else { 1.0 };
            let is_free = !held.gpus.contains_key(&gpu.id);
            other += f64::from(u8::from(gpu.healthy && is_free && !worker.offers(gpu)));
            let held = held.gpus.get(&gpu.id).copied().unwrap_or_default();
            taken += f64::from(held.0) / f64::from(MilliGpu::WHOLE.0);
        }
        for (state, value) in [
            ("held", taken),
            ("free", total - taken - unhealthy - other),
            ("unhealthy", unhealthy),
            ("foreign_or_dirty", other),
        ] {
            let labels = vec![
                ("worker", worker.id.to_string()),
                ("state", state.to_owned()),
            ];
            samples.push((labels, f64::max(value, 0.0)));
        }
    }
    Gauges {
        name: "dopq_worker_gpus",
        help: "GPUs of each node: held, free, quarantined, or used by what is no job",
        unit: None,
        samples,
    }
}

/// What each node keeps on its engine's disk, by its last heartbeat.
fn worker_disks(model: &Model) -> [Gauges; 5] {
    let mut samples: [Vec<Sample>; 5] = Default::default();
    for (worker, live) in &model.live {
        let Some(kept) = live.heartbeat.as_ref().and_then(|(_, beat)| beat.kept) else {
            continue;
        };
        let values = [
            kept.disk_free_bytes,
            kept.images,
            kept.images_bytes,
            kept.images_removed,
            kept.images_ahead,
        ];
        for (samples, value) in samples.iter_mut().zip(values) {
            #[expect(clippy::cast_precision_loss, reason = "a figure for a graph")]
            let value = value as f64;
            samples.push((vec![("worker", worker.to_string())], value));
        }
    }
    let [free, images, bytes, removed, ahead] = samples;
    let gauges = |name, help, unit, samples| Gauges {
        name,
        help,
        unit,
        samples,
    };
    let in_bytes = || Some(Unit::Bytes);
    [
        gauges(
            "dopq_worker_disk_free",
            "Free bytes of each node's engine's disk",
            in_bytes(),
            free,
        ),
        gauges(
            "dopq_worker_images",
            "Images that DoPQ made, by node",
            None,
            images,
        ),
        gauges(
            "dopq_worker_images_size",
            "Size of these images; what several have in common counts for each",
            in_bytes(),
            bytes,
        ),
        gauges(
            "dopq_worker_images_removed",
            "Images that each node removed since its worker's start",
            None,
            removed,
        ),
        gauges(
            "dopq_worker_images_prefetched",
            "Images that each node built, loaded or pulled for waiting jobs since its worker's start",
            None,
            ahead,
        ),
    ]
}

fn penalties(model: &Model) -> Gauges {
    let now = clock::now();
    let samples = model.accounts.keys().map(|user| {
        let penalty = sched::penalty_of(&model.state, now, user);
        (vec![("user", user.to_string())], penalty)
    });
    Gauges {
        name: "dopq_user_penalty",
        help: "Penalty of each user; the lowest goes first",
        unit: None,
        samples: samples.collect(),
    }
}

/// GPU figures from the last heartbeats, also under the names and units of NVIDIA's DCGM exporter for existing
/// dashboards.
fn gpus(model: &Model) -> Vec<Gauges> {
    const MIB: f64 = 1024.0 * 1024.0;
    let mut ours: [Vec<Sample>; 4] = Default::default();
    let mut dcgm: [Vec<Sample>; 4] = Default::default();
    for worker in model.state.workers() {
        let live = model.live.get(&worker.id);
        let Some((_, beat)) = live.and_then(|live| live.heartbeat.as_ref()) else {
            continue;
        };
        for (index, gpu) in worker.capacity.gpus.iter().enumerate() {
            let Some(now) = beat.gpus.iter().find(|g| g.id == gpu.id) else {
                continue;
            };
            #[expect(clippy::cast_precision_loss, reason = "a figure for a graph")]
            let used = now.memory_used_bytes as f64;
            let labels = vec![
                ("worker", worker.id.to_string()),
                ("gpu", gpu.id.to_string()),
            ];
            let values = [
                now.utilization_ratio,
                used,
                now.temperature_celsius,
                now.power_watts,
            ];
            for (samples, value) in ours.iter_mut().zip(values) {
                samples.push((labels.clone(), value));
            }
            let labels = vec![
                ("gpu", index.to_string()),
                ("UUID", gpu.id.to_string()),
                ("modelName", gpu.model.clone()),
                ("Hostname", worker.id.to_string()),
            ];
            let values = [
                now.utilization_ratio * 100.0,
                used / MIB,
                now.temperature_celsius,
                now.power_watts,
            ];
            for (samples, value) in dcgm.iter_mut().zip(values) {
                samples.push((labels.clone(), value));
            }
        }
    }
    let names = [
        (
            "dopq_gpu_utilization",
            "Utilization of each GPU, 0 to 1",
            Some(Unit::Other("ratio".to_owned())),
        ),
        (
            "dopq_gpu_memory_used",
            "Memory in use on each GPU",
            Some(Unit::Bytes),
        ),
        (
            "dopq_gpu_temperature",
            "Temperature of each GPU",
            Some(Unit::Celsius),
        ),
        (
            "dopq_gpu_power",
            "Power drawn by each GPU",
            Some(Unit::Other("watts".to_owned())),
        ),
        ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %)", None),
        (
            "DCGM_FI_DEV_FB_USED",
            "Framebuffer memory used (in MiB)",
            None,
        ),
        ("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C)", None),
        ("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W)", None),
    ];
    names
        .into_iter()
        .zip(ours.into_iter().chain(dcgm))
        .map(|((name, help, unit), samples)| Gauges {
            name,
            help,
            unit,
            samples,
        })
        .collect()
}
