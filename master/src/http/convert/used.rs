//! What a job's attempts used, in the API's units.

use dopq_common::api::{self, MeanPeak};
use dopq_common::job::Job;
use dopq_common::telemetry::Measured;

/// Thousandths in one.
const MILLI: f64 = 1000.0;
/// A series' values are in this part of the peak.
const SCALE: f64 = 1000.0;

/// What each attempt of the job used, oldest first.
pub(super) fn used(job: &Job) -> Vec<api::Used> {
    let measured = job.measured.iter();
    measured
        .map(|measured| of_attempt(measured, job.spec.request.gpus))
        .collect()
}

fn of_attempt(measured: &Measured, gpus: u32) -> api::Used {
    let both = |mean: u64, peak: u64, unit: f64| MeanPeak {
        mean: number(mean) / unit,
        peak: number(peak) / unit,
    };
    let (mean, peak) = (&measured.mean, &measured.peak);
    let of_gpus = |value: MeanPeak| (gpus > 0).then_some(value);
    let whole = f64::from(gpus.max(1)) * MILLI;
    api::Used {
        attempt: measured.attempt,
        seconds: number(measured.span_ms) / MILLI,
        covered_seconds: number(measured.covered_ms) / MILLI,
        gpu_utilization_ratio: of_gpus(both(mean.gpu_milli, peak.gpu_milli, whole)),
        gpu_memory_bytes: of_gpus(both(mean.gpu_memory_bytes, peak.gpu_memory_bytes, 1.0)),
        gpu_power_watts: of_gpus(both(mean.gpu_milliwatts, peak.gpu_milliwatts, MILLI)),
        cpu_cores: both(mean.cpu_milli, peak.cpu_milli, MILLI),
        memory_bytes: both(mean.memory_bytes, peak.memory_bytes, 1.0),
        gpu_seconds: number(measured.gpu_milli_seconds) / MILLI,
        gpu_joules: number(measured.gpu_millijoules) / MILLI,
        disk_read_bytes: measured.io.disk_read_bytes,
        disk_written_bytes: measured.io.disk_written_bytes,
        received_bytes: measured.io.received_bytes,
        sent_bytes: measured.io.sent_bytes,
        series: measured.series.as_ref().map(|series| {
            let points = &series.points;
            let course = |parts: &[i16], peak: u64, unit: f64| -> Vec<Option<f64>> {
                let value = |part: i16| f64::from(part) / SCALE * number(peak) / unit;
                let parts = parts.iter();
                parts
                    .map(|part| (*part >= 0).then(|| value(*part)))
                    .collect()
            };
            api::UsedSeries {
                step_seconds: number(series.step_ms) / MILLI,
                gpu_utilization_ratio: course(&points.gpu_milli, peak.gpu_milli, whole),
                gpu_memory_bytes: course(&points.gpu_memory_bytes, peak.gpu_memory_bytes, 1.0),
                gpu_power_watts: course(&points.gpu_milliwatts, peak.gpu_milliwatts, MILLI),
                cpu_cores: course(&points.cpu_milli, peak.cpu_milli, MILLI),
                memory_bytes: course(&points.memory_bytes, peak.memory_bytes, 1.0),
            }
        }),
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people and graphs")]
fn number(value: u64) -> f64 {
    value as f64
}
