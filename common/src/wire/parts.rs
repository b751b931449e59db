//! The parts that orders, reports and stored records share, with their conversions.

use serde::{Deserialize, Serialize};

use crate::id::{GpuId, ParseIdError, UserName};
use crate::job::{BundleRef, Cause, Outcome};
use crate::resources::{Allocation, ByteSize, MilliCpu, MilliGpu};

/// A [`BundleRef`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireBundle {
    /// BLAKE3 in hexadecimal.
    pub digest: String,
    /// Bytes.
    pub size_bytes: u64,
}

impl From<BundleRef> for WireBundle {
    fn from(bundle: BundleRef) -> Self {
        Self {
            digest: bundle.digest.to_string(),
            size_bytes: bundle.size_bytes,
        }
    }
}

impl TryFrom<&WireBundle> for BundleRef {
    type Error = ParseIdError;

    fn try_from(wire: &WireBundle) -> Result<Self, Self::Error> {
        Ok(Self {
            digest: wire.digest.parse()?,
            size_bytes: wire.size_bytes,
        })
    }
}

/// A part of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireGpuShare {
    /// UUID.
    pub id: String,
    /// Thousandths.
    pub milli: u32,
}

/// An [`Allocation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireAllocation {
    /// GPUs held.
    pub gpus: Vec<WireGpuShare>,
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

impl From<&Allocation> for WireAllocation {
    fn from(allocation: &Allocation) -> Self {
        let gpus = allocation.gpus.iter();
        Self {
            gpus: gpus
                .map(|(id, milli)| WireGpuShare {
                    id: id.to_string(),
                    milli: milli.0,
                })
                .collect(),
            cpu_milli: allocation.cpu.0,
            memory_bytes: allocation.memory.0,
        }
    }
}

impl TryFrom<&WireAllocation> for Allocation {
    type Error = ParseIdError;

    fn try_from(wire: &WireAllocation) -> Result<Self, Self::Error> {
        let gpus = wire.gpus.iter();
        let gpus = gpus.map(|gpu| Ok((gpu.id.parse::<GpuId>()?, MilliGpu(gpu.milli))));
        Ok(Self {
            gpus: gpus.collect::<Result<_, ParseIdError>>()?,
            cpu: MilliCpu(wire.cpu_milli),
            memory: ByteSize(wire.memory_bytes),
        })
    }
}

/// An [`Outcome`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireOutcome {
    /// The cause's word.
    pub cause: String,
    /// Who cancelled, for `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The container's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// One sentence of facts.
    pub detail: String,
}

impl From<&Outcome> for WireOutcome {
    fn from(outcome: &Outcome) -> Self {
        let by = match &outcome.cause {
            Cause::Cancelled(by) => Some(by.to_string()),
            _ => None,
        };
        Self {
            cause: outcome.cause.as_str().to_owned(),
            by,
            exit_code: outcome.exit_code,
            detail: outcome.detail.clone(),
        }
    }
}

impl From<&WireOutcome> for Outcome {
    /// A cause that this version does not know becomes `engine_error` with the word in the detail, so
    /// that a newer worker's report still ends its job.
    fn from(wire: &WireOutcome) -> Self {
        let by = wire
            .by
            .as_deref()
            .and_then(|by| by.parse::<UserName>().ok());
        let (cause, detail) = match Cause::from_word(&wire.cause, by) {
            Some(cause) => (cause, wire.detail.clone()),
            None => (
                Cause::EngineError,
                format!("{}: {}", wire.cause, wire.detail),
            ),
        };
        Self {
            cause,
            exit_code: wire.exit_code,
            detail,
        }
    }
}
