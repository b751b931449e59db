//! What a machine has and what a job asks for: GPUs in thousandths, CPU in thousandths, bytes of memory.
//!
//! Choosing where a request goes is left to [`crate::sched`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{GpuId, GroupName, VolumeName};

/// Thousandths of one GPU; 1000 is a whole one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MilliGpu(pub u32);

impl MilliGpu {
    /// One whole GPU.
    pub const WHOLE: Self = Self(1000);
}

/// Thousandths of one CPU core.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MilliCpu(pub u64);

/// A size in bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// One binary gigabyte, 2^30 bytes.
    pub const GIB: u64 = 1 << 30;
    /// One binary megabyte, 2^20 bytes.
    pub const MIB: u64 = 1 << 20;
}

impl fmt::Display for ByteSize {
    /// The largest binary unit that leaves a value of at least one, with one decimal unless whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("TiB", 1 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ];
        for (unit, size) in UNITS {
            if self.0 >= size {
                let (whole, rest) = (self.0 / size, self.0 % size);
                let tenth = u128::from(rest) * 10 / u128::from(size);
                return if tenth == 0 {
                    f.pad(&format!("{whole} {unit}"))
                } else {
                    f.pad(&format!("{whole}.{tenth} {unit}"))
                };
            }
        }
        f.pad(&format!("{} B", self.0))
    }
}

/// One GPU of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuDevice {
    /// The UUID that the container runtime is given.
    pub id: GpuId,
    /// The model's name as NVML reports it, for example `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// Its memory.
    #[serde(rename = "memory_bytes")]
    pub memory: ByteSize,
    /// False while it is quarantined; then nothing is placed on it.
    pub healthy: bool,
}

/// That a GPU that works must not be given to a job for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTaken {
    /// By what.
    pub by: TakenBy,
    /// In a few words, such as `pid 4711 (python3 of bert)`.
    pub detail: String,
}

/// What keeps a GPU from being given to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenBy {
    /// A process that is not of a job.
    Foreign,
    /// Memory that was not given back.
    Dirty,
}

impl TakenBy {
    /// The word that the API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Dirty => "dirty",
        }
    }
}

/// What one machine offers to jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// CPU for jobs.
    #[serde(rename = "cpu_milli")]
    pub cpu: MilliCpu,
    /// Memory for jobs.
    #[serde(rename = "memory_bytes")]
    pub memory: ByteSize,
    /// GPUs in the machine's own order.
    pub gpus: Vec<GpuDevice>,
    /// How many slots one GPU has (DoPQ 1.0's sharing unit), at least 1; 0 is read as 1.
    #[serde(deserialize_with = "at_least_one")]
    pub slots_per_gpu: u32,
    /// Free-form labels that jobs may require.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Folders that jobs may ask for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<VolumeName, Volume>,
}

/// A folder that a machine offers to jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Volume {
    /// Whether jobs cannot write to it.
    pub read_only: bool,
    /// The groups whose members may use it; empty for everybody.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
}

impl Volume {
    /// Whether it may be used by whom `group` has as a member; `None` for a user without a group.
    #[must_use]
    pub fn admits(&self, group: Option<&GroupName>) -> bool {
        self.groups.is_empty() || group.is_some_and(|group| self.groups.contains(group))
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(u32::deserialize(deserializer)?.max(1))
}

impl Capacity {
    /// The model of the GPUs in an allocation; `None` without GPUs. Where they differ, the model of the first.
    #[must_use]
    pub fn model_of(&self, allocation: &Allocation) -> Option<&str> {
        let first = allocation.gpus.first()?;
        let gpu = self.gpus.iter().find(|gpu| gpu.id == first.id)?;
        Some(&gpu.model)
    }
}

/// How much of each of its GPUs a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuAmount {
    /// This many slots of each; what a slot is worth is the machine's own setting.
    Slots(u32),
    /// This many thousandths of each.
    Milli(MilliGpu),
}

impl GpuAmount {
    /// The thousandths of one GPU on a machine with `slots_per_gpu` slots; `None` when more than one
    /// GPU's worth is asked of each GPU. Rounded down, so that as many one-slot jobs fit as there are
    /// slots, but never to nothing.
    #[must_use]
    pub fn on(self, slots_per_gpu: u32) -> Option<MilliGpu> {
        let milli = match self {
            Self::Milli(milli) => milli,
            Self::Slots(slots) => {
                let of = u64::from(slots_per_gpu.max(1));
                let milli = (u64::from(slots) * 1000) / of;
                MilliGpu(u32::try_from(milli.max(1)).unwrap_or(u32::MAX))
            }
        };
        (milli <= MilliGpu::WHOLE).then_some(milli)
    }
}

/// What a job asks of one machine. Its order only serves to index jobs that ask for the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// How many different GPUs; 0 for a job without GPU.
    pub gpus: u32,
    /// How much of each GPU.
    pub gpu_amount: GpuAmount,
    /// Models it may run on, compared ignoring case, a part of the name being enough; empty is any.
    pub gpu_models: Vec<String>,
    /// The least memory that each of its GPUs must have in all.
    pub gpu_memory: Option<ByteSize>,
    /// CPU, or the machine's proportional share when `None`.
    pub cpu: Option<MilliCpu>,
    /// The container's memory limit, or the machine's proportional share when `None`.
    pub memory: Option<ByteSize>,
    /// Labels that the machine must have.
    pub labels: BTreeMap<String, String>,
    /// Volumes that the machine must offer.
    pub volumes: BTreeSet<VolumeName>,
}

/// A part of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuShare {
    /// Of which GPU.
    pub id: GpuId,
    /// How much of it.
    pub milli: MilliGpu,
}

/// What an attempt holds of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allocation {
    /// The GPUs and how much of each.
    pub gpus: Vec<GpuShare>,
    /// CPU held.
    #[serde(rename = "cpu_milli")]
    pub cpu: MilliCpu,
    /// Memory held, which is also the container's limit.
    #[serde(rename = "memory_bytes")]
    pub memory: ByteSize,
}

impl Allocation {
    /// The thousandths of all its GPUs together.
    #[must_use]
    pub fn milli_gpus(&self) -> u64 {
        let shares = self.gpus.iter();
        shares.map(|share| u64::from(share.milli.0)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_become_thousandths_of_the_machine_they_land_on() {
        assert_eq!(GpuAmount::Slots(1).on(1), Some(MilliGpu(1000)));
        assert_eq!(GpuAmount::Slots(1).on(3), Some(MilliGpu(333)));
        assert_eq!(GpuAmount::Slots(2).on(1), None);
        assert_eq!(GpuAmount::Milli(MilliGpu(250)).on(1), Some(MilliGpu(250)));
        assert_eq!(GpuAmount::Milli(MilliGpu(1001)).on(1), None);
    }

    #[test]
    fn a_capacity_is_checked_when_it_is_read() {
        let read = |gpu: &str, slots: &str| {
            serde_json::from_str::<Capacity>(&format!(
                r#"{{"cpu_milli":1,"memory_bytes":2,"slots_per_gpu":{slots},"later":true,
                "gpus":[{{"id":"{gpu}","model":"m","memory_bytes":3,"healthy":true}}]}}"#
            ))
        };
        let capacity = read("GPU-1", "0").expect("an unknown field and no labels");
        assert_eq!(capacity.slots_per_gpu, 1);
        assert_eq!(capacity.memory, ByteSize(2));
        for (gpu, slots) in [
            ("a/b", "1"),
            ("", "1"),
            ("GPU-1", "-1"),
            ("GPU-1", "4294967296"),
        ] {
            assert!(read(gpu, slots).is_err(), "{gpu:?} {slots}");
        }
    }

    #[test]
    fn sizes_are_shown_in_binary_units() {
        assert_eq!(ByteSize(512).to_string(), "512 B");
        assert_eq!(ByteSize(20 * ByteSize::GIB).to_string(), "20 GiB");
        assert_eq!(ByteSize(3 * ByteSize::GIB / 2).to_string(), "1.5 GiB");
    }
}
