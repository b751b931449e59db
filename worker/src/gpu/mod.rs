//! The machine's GPUs: through NVML, simulated, or none.
//!
//! A GPU that failed once is quarantined until the worker restarts: it stays in the inventory, marked unhealthy, so
//! that nothing is placed on it. [`access`] decides how GPUs get into containers. [`devices`] keeps the driver from
//! shutting idle GPUs down.

mod access;
mod devices;
mod look;
mod nvml;
mod simulated;

use dopq_common::id::WorkerId;
use dopq_common::resources::GpuDevice;
use dopq_common::wire::GpuUse;

pub(crate) use access::{Offer, offer};
pub(crate) use look::Look;

use crate::options::GpuOptions;

/// The source of GPUs.
#[derive(Debug)]
pub(crate) enum Gpus {
    /// None.
    None,
    /// Simulated ones.
    Simulated(Vec<GpuDevice>),
    /// The machine's own.
    Nvml(nvml::Nvml),
}

impl Gpus {
    /// Opens the configured source. A machine without NVIDIA's library has no GPUs, which is not an error.
    pub(crate) async fn open(options: GpuOptions, worker: &WorkerId) -> Self {
        if let Some(count) = options.simulated {
            return Self::Simulated(simulated::devices(worker, count));
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
            Self::Simulated(devices) => Look {
                devices: devices.clone(),
                uses: devices
                    .iter()
                    .map(|device| GpuUse {
                        id: device.id.clone(),
                        utilization_ratio: 0.0,
                        memory_used_bytes: 0,
                        temperature_celsius: 0.0,
                        power_watts: 0.0,
                    })
                    .collect(),
            },
            Self::Nvml(nvml) => nvml.look().await,
        }
    }
}
