//! What each attempt used so far: kept in memory, and in the attempt's folder so that a restart loses at most the
//! samples since the last writing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dopq_common::id::{AttemptId, GpuId};
use dopq_common::resources::{GpuShare, MilliGpu};
use dopq_common::telemetry::{Measured, Meter, PerFigure};
use dopq_common::time::Timestamp;
use dopq_common::wire::{GpuUse, JobUse};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The file in an attempt's folder.
const FILE: &str = "usage.json";
/// Between two writings of one attempt's figures.
const WRITE_EVERY: Duration = Duration::from_secs(30);
/// An attempt that is neither running nor asked for is forgotten after this.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// What attempts used so far.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<BTreeMap<AttemptId, Kept>>);

#[derive(Debug)]
struct Kept {
    meter: Meter,
    /// The energy of its GPUs at the last sample.
    joules: BTreeMap<GpuId, f64>,
    sampled: Instant,
    written: Instant,
}

/// A running attempt and what its container uses now.
pub(crate) struct Reading<'a> {
    pub(crate) attempt: AttemptId,
    /// The attempt's folder.
    pub(crate) folder: PathBuf,
    /// What it holds of GPUs.
    pub(crate) gpus: &'a [GpuShare],
    pub(crate) used: &'a JobUse,
}

impl Meters {
    /// Adds a sample of each attempt, with what all GPUs do.
    pub(crate) async fn add(&self, now: Timestamp, attempts: &[Reading<'_>], gpus: &[GpuUse]) {
        let new: Vec<_> = {
            let known = self.0.lock();
            let new = attempts.iter();
            let new = new.filter(|reading| !known.contains_key(&reading.attempt));
            new.map(|reading| {
                (
                    reading.attempt,
                    held(reading.gpus),
                    reading.folder.join(FILE),
                )
            })
            .collect()
        };
        if !new.is_empty() {
            let reading = tokio::task::spawn_blocking(move || {
                let read = new.into_iter();
                read.map(|(id, held, file)| (id, held, read_meter(&file)))
                    .collect::<Vec<_>>()
            });
            for (id, held, meter) in reading.await.unwrap_or_default() {
                let kept = Kept {
                    meter: meter.unwrap_or_else(|| Meter::new(now, held)),
                    joules: BTreeMap::new(),
                    sampled: Instant::now(),
                    written: Instant::now(),
                };
                self.0.lock().insert(id, kept);
            }
        }
        let due = self.add_all(now, attempts, gpus);
        if !due.is_empty() {
            let writing = tokio::task::spawn_blocking(move || {
                for (file, text) in due {
                    if let Err(error) = write(&file, &text) {
                        tracing::debug!(%error, file = %file.display(), "cannot keep what an attempt used");
                    }
                }
            });
            drop(writing.await);
        }
    }

    /// Adds the samples, and returns what is to be written.
    fn add_all(
        &self,
        now: Timestamp,
        attempts: &[Reading<'_>],
        gpus: &[GpuUse],
    ) -> Vec<(PathBuf, Vec<u8>)> {
        let instant = Instant::now();
        let mut due = Vec::new();
        let mut all = self.0.lock();
        for reading in attempts {
            let Some(kept) = all.get_mut(&reading.attempt) else {
                continue;
            };
            let own = of_attempt(reading.gpus, gpus);
            let energy = energy(&mut kept.joules, &own);
            let used = reading.used;
            kept.meter.add(now, &figures(&own, used), energy, used.io);
            kept.sampled = instant;
            if instant.duration_since(kept.written) >= WRITE_EVERY {
                kept.written = instant;
                if let Ok(text) = serde_json::to_vec(&kept.meter) {
                    due.push((reading.folder.join(FILE), text));
                }
            }
        }
        all.retain(|_, kept| instant.duration_since(kept.sampled) < FORGET_AFTER);
        due
    }

    /// What the attempt used, once it has ended.
    pub(crate) async fn take(&self, attempt: AttemptId, folder: PathBuf) -> Option<Measured> {
        let kept = self.0.lock().remove(&attempt).map(|kept| kept.meter);
        let meter = match kept {
            Some(meter) => Some(meter),
            None => {
                let reading = tokio::task::spawn_blocking(move || read_meter(&folder.join(FILE)));
                reading.await.ok().flatten()
            }
        };
        meter?.measured(attempt.number)
    }

    /// Forgets an attempt that the masters have forgotten.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        self.0.lock().remove(&attempt);
    }
}

fn read_meter(file: &Path) -> Option<Meter> {
    let text = std::fs::read(file).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Replaces the file as a whole.
fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, file)
}

fn held(shares: &[GpuShare]) -> u64 {
    shares.iter().map(|share| u64::from(share.milli.0)).sum()
}

/// The figures of an attempt's GPUs, with its part of each.
fn of_attempt<'a>(shares: &[GpuShare], gpus: &'a [GpuUse]) -> Vec<(&'a GpuUse, MilliGpu)> {
    let shares = shares.iter();
    let known = shares.filter_map(|share| {
        let gpu = gpus.iter().find(|gpu| gpu.id == share.id)?;
        Some((gpu, share.milli))
    });
    known.collect()
}

/// The energy since the last sample, by its part of each GPU; none for a counter that began anew.
fn energy(last: &mut BTreeMap<GpuId, f64>, own: &[(&GpuUse, MilliGpu)]) -> u64 {
    let parts = own.iter().map(|(gpu, milli)| {
        let before = last.insert(gpu.id.clone(), gpu.energy_joules);
        let more = before.map_or(0.0, |before| gpu.energy_joules - before);
        // Thousandths of a joule, times the share in thousandths of the GPU.
        more.max(0.0) * f64::from(milli.0)
    });
    whole(parts.sum())
}

fn figures(own: &[(&GpuUse, MilliGpu)], used: &JobUse) -> PerFigure<u64> {
    let gpus = || own.iter().map(|(gpu, _)| gpu);
    PerFigure {
        gpu_milli: whole(gpus().map(|gpu| gpu.utilization_ratio * 1000.0).sum()),
        gpu_memory_bytes: gpus().map(|gpu| gpu.memory_used_bytes).sum(),
        gpu_milliwatts: whole(gpus().map(|gpu| gpu.power_watts * 1000.0).sum()),
        cpu_milli: whole(used.cpu_cores * 1000.0),
        memory_bytes: used.memory_bytes,
    }
}

/// The nearest whole number; 0 for what is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use dopq_common::telemetry::Io;

    use super::*;

    fn id(name: &str) -> GpuId {
        name.parse().expect("a name")
    }

    fn gpu(name: &str, utilization_ratio: f64, energy_joules: f64) -> GpuUse {
        GpuUse {
            utilization_ratio,
            memory_used_bytes: 10,
            power_watts: 300.0,
            energy_joules,
            ..GpuUse::unknown(id(name))
        }
    }

    fn share(name: &str, milli: u32) -> GpuShare {
        GpuShare {
            id: id(name),
            milli: MilliGpu(milli),
        }
    }

    #[test]
    fn an_attempt_has_the_figures_of_its_gpus_and_energy_by_its_share() {
        let gpus = [
            gpu("GPU-1", 0.5, 100.0),
            gpu("GPU-2", 1.0, 7.0),
            gpu("GPU-3", 1.0, 0.0),
        ];
        let shares = [share("GPU-1", 1000), share("GPU-2", 250)];
        let used = JobUse {
            attempt: format!("7.1-{}", "ab".repeat(16))
                .parse()
                .expect("an attempt"),
            cpu_cores: 1.5,
            memory_bytes: 3,
            pids: 1,
            io: Io::default(),
        };
        let own = of_attempt(&shares, &gpus);
        let expected = PerFigure {
            gpu_milli: 1500,
            gpu_memory_bytes: 20,
            gpu_milliwatts: 600_000,
            cpu_milli: 1500,
            memory_bytes: 3,
        };
        assert_eq!(figures(&own, &used), expected);
        assert_eq!(held(&shares), 1250);

        let mut joules = BTreeMap::new();
        assert_eq!(energy(&mut joules, &own), 0, "nothing to compare with");
        let later = [gpu("GPU-1", 0.5, 101.0), gpu("GPU-2", 1.0, 9.0)];
        assert_eq!(energy(&mut joules, &of_attempt(&shares, &later)), 1500);
        let anew = [gpu("GPU-1", 0.5, 0.5), gpu("GPU-2", 1.0, 9.0)];
        assert_eq!(energy(&mut joules, &of_attempt(&shares, &anew)), 0);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join(FILE);
        assert_eq!(read_meter(&file), None);
        let meter = Meter::new(Timestamp::from_millis(5), 500);
        let text = serde_json::to_vec(&meter).expect("JSON");
        write(&file, &text).expect("written");
        assert_eq!(read_meter(&file), Some(meter));
        std::fs::write(&file, &text[..text.len() / 2]).expect("cut");
        assert_eq!(read_meter(&file), None);
    }
}
