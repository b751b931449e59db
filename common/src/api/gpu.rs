//! What GPUs and running jobs use now.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// `GET /v1/gpus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuList {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// By node and by the node's own order.
    pub gpus: Vec<Gpu>,
}

/// One GPU of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its node.
    pub node: String,
    /// Its place among the node's GPUs, from 0.
    pub index: u64,
    /// UUID.
    pub id: String,
    /// Model.
    pub model: String,
    /// Its memory.
    pub memory_bytes: u64,
    /// `held`, `free`, `closed` (its node takes no jobs), `silent` (its node is not heard from), `broken`
    /// (quarantined), `foreign` (a process uses it that is not of a job) or `dirty` (memory was not given back).
    pub state: String,
    /// By what it is foreign or dirty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// How much of it jobs hold, 0 to 1.
    pub held_ratio: f64,
    /// The jobs that hold it, by id.
    pub holders: Vec<GpuHolder>,
    /// What it does; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<GpuNow>,
}

/// A job that holds a GPU or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuHolder {
    /// Its id; absent where the caller may not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    /// Its name; absent where the caller may not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whose it is; absent where the caller may not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// How much of the GPU it holds, 0 to 1.
    pub held_ratio: f64,
}

/// What a GPU does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuNow {
    /// When the master received it.
    pub at: DateTime<Utc>,
    /// How busy it is, 0 to 1.
    pub utilization_ratio: f64,
    /// Bytes in use.
    pub memory_used_bytes: u64,
    /// Degrees Celsius.
    pub temperature_celsius: f64,
    /// Watts.
    pub power_watts: f64,
    /// Joules since the driver was loaded, or since the worker's start.
    pub energy_joules: f64,
    /// Of its multiprocessors, in MHz, when known.
    pub clock_mhz: Option<u32>,
    /// Of its memory, in MHz, when known.
    pub memory_clock_mhz: Option<u32>,
    /// Memory errors since the driver was loaded that were not corrected; null without ECC.
    pub ecc_errors: Option<u64>,
    /// Errors that the driver reported since the worker's start.
    pub xid_errors: u64,
    /// NVIDIA's number of the last of them.
    pub last_xid: Option<u64>,
    /// Processes that compute on it, when known.
    pub processes: Option<u32>,
}

/// What a running job uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobNow {
    /// When the master received it.
    pub at: DateTime<Utc>,
    /// How busy its GPUs are on average, 0 to 1; absent without GPU. Of a GPU that it shares, the whole GPU counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_utilization_ratio: Option<f64>,
    /// Bytes in use on its GPUs together; of a GPU that it shares, the whole GPU's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_used_bytes: Option<u64>,
    /// Watts of its GPUs together; of a GPU that it shares, the whole GPU's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_power_watts: Option<f64>,
    /// Cores in use.
    pub cpu_cores: f64,
    /// Bytes in use.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Read from disks since its start.
    pub disk_read_bytes: u64,
    /// Written to disks since its start.
    pub disk_written_bytes: u64,
    /// Received over its network since its start.
    pub received_bytes: u64,
    /// Sent over its network since its start.
    pub sent_bytes: u64,
}
