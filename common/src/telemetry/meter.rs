//! Adds up samples. The series thins as it grows: when its points no longer reach, each two become one.

use serde::{Deserialize, Serialize};

use super::io::Io;
use super::measured::{Measured, POINTS_MAX, PerFigure, Series};
use crate::time::Timestamp;

/// The length of a point at first.
const STEP_MS: u64 = 2000;
/// A sample says nothing about more time before it than this.
const SPAN_MAX_MS: u64 = 10_000;
/// A point's value is in this part of the peak.
const SCALE: u128 = 1000;
/// In a point where nothing was measured.
const UNKNOWN: i16 = -1;

/// What is known of one attempt so far. A worker keeps it on its disk, so that a restart loses little of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// What the attempt holds of GPUs, in thousandths.
    held_milli: u64,
    /// When the last sample was taken.
    #[serde(rename = "last_ms")]
    last: Timestamp,
    /// From the first sample to the last, whatever the clock did.
    span_ms: u64,
    whole: Sums,
    peak: PerFigure<u64>,
    gpu_millijoules: u64,
    io: Io,
    step_ms: u64,
    points: Vec<Sums>,
}

/// Samples by the time that they stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    ms: u64,
    sums: PerFigure<u128>,
}

impl Sums {
    fn add(&mut self, ms: u64, sample: &PerFigure<u64>) {
        self.ms += ms;
        self.sums = self.sums.zip(sample, |sum, value| {
            sum.saturating_add(u128::from(*value) * u128::from(ms))
        });
    }

    fn join(self, other: &Self) -> Self {
        Self {
            ms: self.ms + other.ms,
            sums: self
                .sums
                .zip(&other.sums, |one, other| one.saturating_add(*other)),
        }
    }

    /// The means, rounded down; zero where nothing was measured.
    fn means(&self) -> PerFigure<u64> {
        self.sums.map(|sum| {
            let mean = sum.checked_div(u128::from(self.ms)).unwrap_or_default();
            u64::try_from(mean).unwrap_or(u64::MAX)
        })
    }
}

impl Meter {
    /// Begins now, for an attempt that holds so many thousandths of GPUs.
    #[must_use]
    pub fn new(now: Timestamp, held_milli: u64) -> Self {
        Self {
            held_milli,
            last: now,
            span_ms: 0,
            whole: Sums::default(),
            peak: PerFigure::default(),
            gpu_millijoules: 0,
            io: Io::default(),
            step_ms: STEP_MS,
            points: Vec::new(),
        }
    }

    /// Adds what is used now, and the energy since the sample before. It stands for the time since that sample, of a
    /// longer time for the last 10 s. A clock that was set back adds no time.
    pub fn add(&mut self, now: Timestamp, sample: &PerFigure<u64>, millijoules: u64, io: Io) {
        let since = now.since(self.last).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.last = now;
        self.peak = self.peak.zip(sample, |peak, value| *peak.max(value));
        self.gpu_millijoules = self.gpu_millijoules.saturating_add(millijoules);
        self.io = io;
        self.span_ms = self.span_ms.saturating_add(since);
        self.reach(self.span_ms);
        let covered = since.min(SPAN_MAX_MS);
        self.whole.add(covered, sample);
        let mut from = self.span_ms - covered;
        while from < self.span_ms {
            let place = from / self.step_ms;
            let to = (place + 1).saturating_mul(self.step_ms).min(self.span_ms);
            let point = usize::try_from(place).unwrap_or(usize::MAX);
            if let Some(point) = self.points.get_mut(point) {
                point.add(to - from, sample);
            }
            from = to;
        }
    }

    /// Makes points up to this time, and as few as may be.
    fn reach(&mut self, span_ms: u64) {
        let most = u64::try_from(POINTS_MAX).unwrap_or(u64::MAX);
        while span_ms.div_ceil(self.step_ms) > most {
            self.step_ms = self.step_ms.saturating_mul(2);
            let pairs = self.points.chunks(2);
            self.points = pairs
                .map(|pair| {
                    let none = Sums::default();
                    pair.iter().fold(none, Sums::join)
                })
                .collect();
        }
        let points = usize::try_from(span_ms.div_ceil(self.step_ms)).unwrap_or(POINTS_MAX);
        self.points.resize(points, Sums::default());
    }

    /// What it comes to; `None` before any time is covered.
    #[must_use]
    pub fn measured(&self, attempt: u32) -> Option<Measured> {
        if self.whole.ms == 0 {
            return None;
        }
        let held = u128::from(self.held_milli) * u128::from(self.span_ms) / 1000;
        Some(Measured {
            attempt,
            span_ms: self.span_ms,
            covered_ms: self.whole.ms,
            mean: self.whole.means(),
            peak: self.peak,
            gpu_milli_seconds: u64::try_from(held).unwrap_or(u64::MAX),
            gpu_millijoules: self.gpu_millijoules,
            io: self.io,
            series: Some(self.series()),
        })
    }

    fn series(&self) -> Series {
        let mut points: PerFigure<Vec<i16>> = PerFigure::default();
        for point in &self.points {
            let parts = point.means().zip(&self.peak, |mean, peak| {
                if point.ms == 0 {
                    return UNKNOWN;
                }
                let part = u128::from(*mean) * SCALE;
                let part = part.checked_div(u128::from(*peak)).unwrap_or_default();
                i16::try_from(part).unwrap_or(i16::MAX)
            });
            for (points, part) in [
                (&mut points.gpu_milli, parts.gpu_milli),
                (&mut points.gpu_memory_bytes, parts.gpu_memory_bytes),
                (&mut points.gpu_milliwatts, parts.gpu_milliwatts),
                (&mut points.cpu_milli, parts.cpu_milli),
                (&mut points.memory_bytes, parts.memory_bytes),
            ] {
                points.push(part);
            }
        }
        Series {
            step_ms: self.step_ms,
            points: points.zip(&self.peak, |points, peak| {
                if *peak == 0 {
                    Vec::new()
                } else {
                    points.clone()
                }
            }),
        }
    }
}
