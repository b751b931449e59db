//! Simulated GPUs, the same after every start. What they do is read from a file, so that tests can play a load.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dopq_common::id::WorkerId;
use dopq_common::resources::{ByteSize, GpuDevice};
use dopq_common::wire::GpuUse;
use serde::Deserialize;

use super::look::{Look, Measured, Processes};

/// The file in the worker's data folder: an object with an [`Act`] for each GPU, by its place. It may be absent.
const FILE: &str = "simulated-gpus.json";

/// GPUs that are not there.
#[derive(Debug)]
pub(crate) struct Simulated {
    devices: Vec<GpuDevice>,
    file: PathBuf,
}

/// What one does.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Act {
    utilization_ratio: f64,
    memory_used_bytes: u64,
    temperature_celsius: f64,
    power_watts: f64,
    xid_errors: u64,
    /// A process on it that is not of a job.
    foreign: Option<String>,
}

impl Simulated {
    /// `count` GPUs of 24 GiB, named after the worker.
    pub(super) fn new(worker: &WorkerId, count: u32, data_dir: &Path) -> Self {
        Self {
            devices: devices(worker, count),
            file: data_dir.join(FILE),
        }
    }

    pub(super) fn look(&self) -> Look {
        let acts = self.acts();
        let measured = (0_u32..).zip(&self.devices).map(|(place, device)| {
            let act = acts.get(&place).cloned().unwrap_or_default();
            Measured {
                usage: GpuUse {
                    utilization_ratio: act.utilization_ratio,
                    memory_used_bytes: act.memory_used_bytes,
                    temperature_celsius: act.temperature_celsius,
                    power_watts: act.power_watts,
                    xid_errors: act.xid_errors,
                    ..GpuUse::unknown(device.id.clone())
                },
                counts_energy: false,
                processes: Processes::Simulated(act.foreign),
            }
        });
        Look {
            measured: measured.collect(),
            devices: self.devices.clone(),
        }
    }

    fn acts(&self) -> BTreeMap<u32, Act> {
        let Ok(text) = std::fs::read(&self.file) else {
            return BTreeMap::new();
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(%error, file = %self.file.display(), "cannot read what simulated GPUs do");
            BTreeMap::new()
        })
    }
}

fn devices(worker: &WorkerId, count: u32) -> Vec<GpuDevice> {
    let devices = (0..count).filter_map(|index| {
        // The longest worker name leaves no space for the rest; keep its end, which differs.
        let name = format!("GPU-sim-{worker}-{index}");
        let id = name.parse().or_else(|_| {
            let digest = blake3::hash(name.as_bytes()).to_hex();
            format!("GPU-sim-{digest}").parse()
        });
        Some(GpuDevice {
            id: id.ok()?,
            model: "Simulated GPU".to_owned(),
            memory: ByteSize(24 * ByteSize::GIB),
            healthy: true,
        })
    });
    devices.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_each_time_and_differ_from_each_other() {
        for name in ["w1", &"x".repeat(128)] {
            let worker: WorkerId = name.parse().expect("name");
            let first = devices(&worker, 3);
            assert_eq!(first, devices(&worker, 3));
            assert_eq!(first.len(), 3);
            assert_ne!(first[0].id, first[1].id);
        }
        let worker: WorkerId = "w1".parse().expect("name");
        assert_eq!(devices(&worker, 1)[0].id.as_str(), "GPU-sim-w1-0");
    }

    #[test]
    fn they_do_what_the_file_says() {
        let dir = tempfile::tempdir().expect("a folder");
        let worker: WorkerId = "w1".parse().expect("name");
        let simulated = Simulated::new(&worker, 2, dir.path());
        let busy = |simulated: &Simulated| -> Vec<f64> {
            let look = simulated.look().measured.into_iter();
            look.map(|gpu| gpu.usage.utilization_ratio).collect()
        };
        assert_eq!(busy(&simulated), [0.0, 0.0]);
        let file = dir.path().join(FILE);
        std::fs::write(&file, r#"{"1": {"utilization_ratio": 0.5}}"#).expect("written");
        assert_eq!(busy(&simulated), [0.0, 0.5]);
        std::fs::write(&file, "{").expect("written");
        assert_eq!(busy(&simulated), [0.0, 0.0]);
    }
}
