//! The machine's GPUs: counted and looked after by NVML, pretended for trials and tests, or none.
//!
//! A GPU that failed once is quarantined until the agent starts anew: it stays in the inventory, marked
//! unhealthy, so that nothing is placed on it. How GPUs get into containers is decided in [`access`].

mod access;
mod nvml;
mod simulated;

use dopq_common::id::WorkerId;
use dopq_common::resources::GpuDevice;
use dopq_common::wire::GpuUse;

pub(crate) use access::{Offer, offer};

use crate::options::GpuOptions;

/// Where GPUs come from.
#[derive(Debug)]
pub(crate) enum Gpus {
    /// There are none, or they are not offered.
    None,
    /// Pretended ones.
    Simulated(Vec<GpuDevice>),
    /// The machine's own.
    Nvml(nvml::Nvml),
}

/// What was seen at one look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Look {
    /// The GPUs in the machine's order.
    pub(crate) devices: Vec<GpuDevice>,
    /// What the healthy ones do.
    pub(crate) uses: Vec<GpuUse>,
}

impl Gpus {
    /// Opens what the options ask for. A machine without NVIDIA's library has no GPUs, which is no fault.
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

    /// Counts them and reads what they do. Never waits for long, even where a GPU hangs.
    pub(crate) async fn look(&self) -> Look {
        match self {
            Self::None => Look::default(),
            Self::Simulated(devices) => Look {
                devices: devices.clone(),
                uses: devices
                    .iter()
                    .map(|device| GpuUse {
                        id: device.id.to_string(),
                        ..GpuUse::default()
                    })
                    .collect(),
            },
            Self::Nvml(nvml) => nvml.look().await,
        }
    }
}
