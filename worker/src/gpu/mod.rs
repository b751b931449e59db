//! The machine's GPUs: through NVML, simulated, or none.
//!
//! A GPU that failed once is quarantined until the worker restarts: it stays in the inventory, marked unhealthy, so
//! that nothing is placed on it. [`access`] decides how GPUs get into containers. [`devices`] keeps the driver from
//! shutting idle GPUs down.

mod access;
mod devices;
mod look;
mod nvml;
mod owners;
mod simulated;
mod xid;

use std::path::Path;

use dopq_common::id::WorkerId;

pub(crate) use access::{Offer, offer};
#[cfg(test)]
pub(crate) use look::Processes;
pub(crate) use look::{Look, Measured};
pub(crate) use owners::{Owners, sees_processes};

use crate::options::GpuOptions;

/// The source of GPUs.
#[derive(Debug)]
pub(crate) enum Gpus {
    /// None.
    None,
    /// Simulated ones.
    Simulated(simulated::Simulated),
    /// The machine's own.
    Nvml(nvml::Nvml),
}

impl Gpus {
    /// Opens the configured source. A machine without NVIDIA's library has no GPUs, which is not an error. Simulated
    /// GPUs do what a file in `data_dir` says.
    pub(crate) async fn open(options: GpuOptions, worker: &WorkerId, data_dir: &Path) -> Self {
        if let Some(count) = options.simulated {
            return Self::Simulated(simulated::Simulated::new(worker, count, data_dir));
        }
        match options.mode {
            crate::GpuMode::None => Self::None,
            crate::GpuMode::Auto
            | crate::GpuMode::Cdi
            | crate::GpuMode::NvidiaRuntime
            | crate::GpuMode::DeviceRequests => match nvml::Nvml::open().await {
                Ok(nvml) => Self::Nvml(nvml),
                Err(why) => {
                    tracing::info!(why, "offering no GPUs");
                    Self::None
                }
            },
        }
    }

    /// Reads the GPUs and their usage. Never waits for long, even if a GPU hangs.
    pub(crate) async fn look(&self) -> Look {
        match self {
            Self::None => Look::default(),
            Self::Simulated(simulated) => simulated.look(),
            Self::Nvml(nvml) => nvml.look().await,
        }
    }
}
