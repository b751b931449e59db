//! Reads every 2 s what the machine, its GPUs and the attempts' containers use.
//!
//! The newest figures are kept here, and told by heartbeats ([`crate::live`]). [`containers`] knows where those of
//! containers come from. [`crate::meters`] sums them up for each attempt.

mod containers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::GpuId;
use dopq_common::resources::GpuTaken;
use dopq_common::wire::{GpuUse, HostUse, JobUse};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::driver::{Context, Running};
use crate::gpu::{Gpus, Measured, Owners, sees_processes};
use crate::host::Host;
use crate::meters::Reading;
use containers::Containers;

/// Between two samples.
pub(crate) const EVERY: Duration = Duration::from_secs(2);
/// Older figures are not told any more.
const STALE: Duration = Duration::from_secs(15);

/// The newest figures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    at: Option<Instant>,
    host: HostUse,
    gpus: Vec<GpuUse>,
    attempts: Vec<JobUse>,
}

impl Sample {
    /// What is to be told now: nothing once it is too old, which it becomes when a GPU hangs.
    pub(crate) fn fresh(&self, now: Instant) -> (HostUse, Vec<GpuUse>, Vec<JobUse>) {
        match self.at {
            Some(at) if now.duration_since(at) < STALE => {
                (self.host.clone(), self.gpus.clone(), self.attempts.clone())
            }
            Some(_) | None => Default::default(),
        }
    }
}

/// Takes the samples.
pub(crate) struct Sampler {
    pub(crate) context: Arc<Context>,
    pub(crate) host: Arc<Host>,
    pub(crate) gpus: Arc<Gpus>,
    pub(crate) running: watch::Receiver<Running>,
    pub(crate) newest: watch::Sender<Sample>,
    pub(crate) taken: watch::Sender<BTreeMap<GpuId, GpuTaken>>,
}

impl Sampler {
    /// Takes samples until the worker ends.
    pub(crate) async fn run(self) {
        let mut containers = Containers::default();
        let mut energy = Energy::default();
        let mut owners = Owners::default();
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let running = Arc::clone(&self.running.borrow());
            let looked = tokio::task::spawn_blocking({
                let host = Arc::clone(&self.host);
                move || host.look()
            });
            let (host, look, attempts) = tokio::join!(
                looked,
                self.gpus.look(),
                containers.read(&self.context, &running)
            );
            let now = Instant::now();
            self.judge(&mut owners, &look.measured, &running, now);
            let gpus = look.measured.into_iter();
            let gpus: Vec<GpuUse> = gpus.map(|gpu| energy.fill(gpu, now)).collect();
            self.sum_up(&running, &gpus, &attempts).await;
            self.newest.send_replace(Sample {
                at: Some(now),
                host: host.unwrap_or_default(),
                gpus,
                attempts,
            });
        }
    }
}

impl Sampler {
    /// Adds what running attempts use to what they used before.
    async fn sum_up(&self, running: &Running, gpus: &[GpuUse], used: &[JobUse]) {
        let readings = running.iter().filter_map(|attempt| {
            let used = used.iter().find(|used| used.attempt == attempt.id)?;
            Some(Reading {
                attempt: attempt.id,
                folder: self.context.attempt_dir(attempt.id),
                gpus: &attempt.gpus,
                used,
            })
        });
        let readings: Vec<_> = readings.collect();
        let now = self.context.clock.now();
        self.context.meters.add(now, &readings, gpus).await;
    }

    /// Finds out which GPUs are used by what is no job. Simulated ones tell it themselves.
    fn judge(&self, owners: &mut Owners, gpus: &[Measured], running: &Running, now: Instant) {
        let is_real = matches!(*self.gpus, Gpus::Nvml(_));
        if is_real && !sees_processes() {
            return;
        }
        let containers = running.iter();
        owners.follow(
            containers.map(|attempt| Arc::clone(&attempt.container)),
            now,
        );
        let held = running.iter().flat_map(|attempt| &attempt.gpus);
        let held: BTreeSet<GpuId> = held.map(|share| share.id.clone()).collect();
        let taken = owners.taken(gpus, &held, now);
        self.taken.send_if_modified(|before| {
            let differs = *before != taken;
            for (gpu, taken) in taken.iter().filter(|(gpu, _)| !before.contains_key(*gpu)) {
                let (by, detail) = (taken.by.as_str(), &taken.detail);
                tracing::warn!(gpu.id = %gpu, by, detail, "a GPU is used by what is no job");
            }
            for gpu in before.keys().filter(|gpu| !taken.contains_key(*gpu)) {
                tracing::info!(gpu.id = %gpu, "a GPU can be given to jobs again");
            }
            *before = taken;
            differs
        });
    }
}

/// The energy of GPUs that do not count it: their power over time.
#[derive(Debug, Default)]
struct Energy(BTreeMap<GpuId, (Instant, f64)>);

impl Energy {
    fn fill(&mut self, gpu: Measured, now: Instant) -> GpuUse {
        let Measured {
            mut usage,
            counts_energy,
            ..
        } = gpu;
        if !counts_energy {
            let (last, joules) = self.0.entry(usage.id.clone()).or_insert((now, 0.0));
            *joules += usage.power_watts * now.duration_since(*last).as_secs_f64();
            *last = now;
            usage.energy_joules = *joules;
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_power_over_time_where_the_gpu_does_not_count() {
        let gpu = |counts_energy, power_watts, energy_joules| Measured {
            usage: GpuUse {
                power_watts,
                energy_joules,
                ..GpuUse::unknown("GPU-1".parse().expect("a name"))
            },
            counts_energy,
            processes: crate::gpu::Processes::Unknown,
        };
        let (mut energy, start) = (Energy::default(), Instant::now());
        for (seconds, gpu, joules) in [
            (0, gpu(true, 300.0, 5.0), 5.0),
            (0, gpu(false, 300.0, 0.0), 0.0),
            (2, gpu(false, 100.0, 0.0), 200.0),
            (3, gpu(false, 50.0, 0.0), 250.0),
        ] {
            let told = energy.fill(gpu, start + Duration::from_secs(seconds));
            assert!((told.energy_joules - joules).abs() < 1e-9, "{told:?}");
        }
    }

    #[test]
    fn old_figures_are_not_told() {
        let start = Instant::now();
        let sample = Sample {
            at: Some(start),
            gpus: vec![GpuUse::unknown("GPU-1".parse().expect("a name"))],
            ..Sample::default()
        };
        assert_eq!(sample.fresh(start + EVERY).1.len(), 1);
        assert_eq!(sample.fresh(start + STALE).1.len(), 0);
        assert_eq!(Sample::default().fresh(start).1.len(), 0);
    }
}
