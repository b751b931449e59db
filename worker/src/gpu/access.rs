//! Decides how GPUs get into containers, from the settings and what the engine can do.

use crate::docker::{EngineInfo, GpuAccess};
use crate::options::{GpuMode, GpuOptions};

/// The OCI runtime of NVIDIA's toolkit.
const NVIDIA_RUNTIME: &str = "nvidia";

/// Which GPUs the worker offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// None.
    None,
    /// Simulated ones.
    Simulated,
    /// The machine's own.
    Real(GpuAccess),
}

impl Offer {
    /// The value in a worker's hello.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Simulated | Self::Real(GpuAccess::EnvironmentOnly) => "simulated",
            Self::Real(GpuAccess::Cdi) => "cdi",
            Self::Real(GpuAccess::NvidiaRuntime) => "nvidia-runtime",
            Self::Real(GpuAccess::DeviceRequests) => "device-requests",
        }
    }

    /// How containers get GPUs.
    pub(crate) const fn access(self) -> GpuAccess {
        match self {
            Self::None | Self::Simulated => GpuAccess::EnvironmentOnly,
            Self::Real(access) => access,
        }
    }
}

/// Selects the mode. Prefers CDI, because containers with the older hook lose their GPU when systemd reloads.
pub(crate) fn offer(options: GpuOptions, have_gpus: bool, engine: &EngineInfo) -> Offer {
    if options.simulated.is_some() {
        return Offer::Simulated;
    }
    if !have_gpus {
        return Offer::None;
    }
    match options.mode {
        GpuMode::None => Offer::None,
        GpuMode::Cdi => Offer::Real(GpuAccess::Cdi),
        GpuMode::NvidiaRuntime => Offer::Real(GpuAccess::NvidiaRuntime),
        GpuMode::DeviceRequests => Offer::Real(GpuAccess::DeviceRequests),
        GpuMode::Auto if engine.cdi => Offer::Real(GpuAccess::Cdi),
        GpuMode::Auto if engine.has_runtime(NVIDIA_RUNTIME) => {
            Offer::Real(GpuAccess::NvidiaRuntime)
        }
        GpuMode::Auto => {
            tracing::warn!(
                "the machine has GPUs, but the engine has neither CDI nor NVIDIA's runtime; with the older hook only, set gpu.mode = \"device-requests\""
            );
            Offer::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_that_there_is_is_taken() {
        let plain = EngineInfo::default();
        let cdi = EngineInfo {
            cdi: true,
            runtimes: vec!["nvidia".to_owned()],
            ..EngineInfo::default()
        };
        let runtime = EngineInfo {
            cdi: false,
            ..cdi.clone()
        };
        let auto = GpuOptions::default();
        let told = GpuOptions {
            mode: GpuMode::DeviceRequests,
            simulated: None,
        };
        let simulated = GpuOptions {
            mode: GpuMode::Auto,
            simulated: Some(2),
        };
        let table = [
            (auto, false, &cdi, "none"),
            (auto, true, &cdi, "cdi"),
            (auto, true, &runtime, "nvidia-runtime"),
            (auto, true, &plain, "none"),
            (told, true, &plain, "device-requests"),
            (simulated, false, &plain, "simulated"),
        ];
        for (options, have, engine, expected) in table {
            assert_eq!(offer(options, have, engine).as_str(), expected);
        }
    }
}
