//! What an attempt used, as it is reported, stored and archived.

use serde::{Deserialize, Serialize};

use super::io::Io;

/// The most points of a series.
pub const POINTS_MAX: usize = 120;

/// The most attempts whose figures a job keeps; the oldest go first.
const ATTEMPTS_MAX: usize = 8;

/// One value for each figure that is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PerFigure<T> {
    /// How busy its GPUs are together, in thousandths of one GPU.
    pub gpu_milli: T,
    /// Memory in use on its GPUs together, in bytes.
    pub gpu_memory_bytes: T,
    /// Power of its GPUs together, in thousandths of a watt.
    pub gpu_milliwatts: T,
    /// CPU, in thousandths of a core.
    pub cpu_milli: T,
    /// Memory in use, in bytes.
    pub memory_bytes: T,
}

impl<T> PerFigure<T> {
    /// The same of each value.
    pub fn map<U>(&self, of: impl Fn(&T) -> U) -> PerFigure<U> {
        PerFigure {
            gpu_milli: of(&self.gpu_milli),
            gpu_memory_bytes: of(&self.gpu_memory_bytes),
            gpu_milliwatts: of(&self.gpu_milliwatts),
            cpu_milli: of(&self.cpu_milli),
            memory_bytes: of(&self.memory_bytes),
        }
    }

    /// The same of each pair of values.
    pub fn zip<U, V>(&self, other: &PerFigure<U>, of: impl Fn(&T, &U) -> V) -> PerFigure<V> {
        PerFigure {
            gpu_milli: of(&self.gpu_milli, &other.gpu_milli),
            gpu_memory_bytes: of(&self.gpu_memory_bytes, &other.gpu_memory_bytes),
            gpu_milliwatts: of(&self.gpu_milliwatts, &other.gpu_milliwatts),
            cpu_milli: of(&self.cpu_milli, &other.cpu_milli),
            memory_bytes: of(&self.memory_bytes, &other.memory_bytes),
        }
    }
}

/// What an attempt used over its whole time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The attempt's number.
    pub attempt: u32,
    /// From the first sample to the last.
    pub span_ms: u64,
    /// How much of that the samples cover; less where the worker was away meanwhile.
    pub covered_ms: u64,
    /// Means over the time covered, rounded down.
    pub mean: PerFigure<u64>,
    /// The largest samples.
    pub peak: PerFigure<u64>,
    /// What it held of GPUs over that time, in thousandths of a GPU-second.
    #[serde(default)]
    pub gpu_milli_seconds: u64,
    /// Energy of its GPUs, in thousandths of a joule; of a GPU that it shared, by its share.
    #[serde(default)]
    pub gpu_millijoules: u64,
    /// What it read and wrote.
    #[serde(default, skip_serializing_if = "Io::is_none")]
    pub io: Io,
    /// Its course. A job keeps only that of its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}

/// The course of an attempt's figures in at most [`POINTS_MAX`] points of equal length, from the first sample on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The length of a point.
    pub step_ms: u64,
    /// The mean over each point, in thousandths of the figure's peak; -1 where nothing was measured. Empty for a figure
    /// that was always 0.
    pub points: PerFigure<Vec<i16>>,
}

impl Measured {
    /// The same without a series that is longer than any that a worker makes.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let lengths = self
            .series
            .as_ref()
            .map(|series| series.points.map(Vec::len));
        let is_long = lengths.is_some_and(|lengths| {
            let most = [
                lengths.gpu_milli,
                lengths.gpu_memory_bytes,
                lengths.gpu_milliwatts,
                lengths.cpu_milli,
                lengths.memory_bytes,
            ];
            most.iter().any(|length| *length > POINTS_MAX)
        });
        if is_long {
            self.series = None;
        }
        self
    }
}

/// Keeps what an attempt used; replaces what is kept of the same attempt.
pub fn write_down(kept: &mut Vec<Measured>, measured: Measured) {
    kept.retain(|earlier| earlier.attempt != measured.attempt);
    for earlier in kept.iter_mut() {
        earlier.series = None;
    }
    if kept.len() >= ATTEMPTS_MAX {
        kept.remove(0);
    }
    kept.push(measured);
}
