//! What a job's attempts used over their time.

use serde::{Deserialize, Serialize};

/// What one attempt used, from its first sample to its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// The attempt's number.
    pub attempt: u32,
    /// How long that was.
    pub seconds: f64,
    /// How much of it the samples cover; less where the worker was away meanwhile.
    pub covered_seconds: f64,
    /// How busy its GPUs were on average, 0 to 1; absent without GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_utilization_ratio: Option<MeanPeak>,
    /// Bytes in use on its GPUs together; absent without GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<MeanPeak>,
    /// Watts of its GPUs together; absent without GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_power_watts: Option<MeanPeak>,
    /// Cores.
    pub cpu_cores: MeanPeak,
    /// Bytes.
    pub memory_bytes: MeanPeak,
    /// GPUs that it held, times the seconds.
    pub gpu_seconds: f64,
    /// Energy of its GPUs in joules; of a GPU that it shared, by its share.
    pub gpu_joules: f64,
    /// Read from disks.
    pub disk_read_bytes: u64,
    /// Written to disks.
    pub disk_written_bytes: u64,
    /// Received over its network.
    pub received_bytes: u64,
    /// Sent over its network.
    pub sent_bytes: u64,
    /// Its course; only of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<UsedSeries>,
}

/// A mean over time and the largest sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanPeak {
    /// Mean.
    pub mean: f64,
    /// Peak.
    pub peak: f64,
}

/// The course of an attempt in at most 120 points of equal length. Each value is the mean over its point, to the
/// thousandth of the peak; null where nothing was measured. A list is empty if the figure was always 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsedSeries {
    /// The length of a point.
    pub step_seconds: f64,
    /// How busy its GPUs were.
    pub gpu_utilization_ratio: Vec<Option<f64>>,
    /// Bytes in use on its GPUs.
    pub gpu_memory_bytes: Vec<Option<f64>>,
    /// Watts of its GPUs.
    pub gpu_power_watts: Vec<Option<f64>>,
    /// Cores.
    pub cpu_cores: Vec<Option<f64>>,
    /// Bytes.
    pub memory_bytes: Vec<Option<f64>>,
}
