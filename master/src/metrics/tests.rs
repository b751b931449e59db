//! What a scrape looks like.

use std::time::Duration;

use dopq_common::sched::Settings;
use prometheus_client::encoding::text::encode;

use super::{Metrics, registry};
use crate::view::View;

#[test]
fn a_scrape_has_every_family_in_base_units() {
    let metrics = Metrics::default();
    metrics.queue_waited(Duration::from_secs(3));
    metrics.scheduler_cycled(Duration::from_micros(80));
    metrics.committed(Duration::from_millis(1));
    metrics.dispatched(Duration::from_millis(2));
    metrics.fenced("report");
    metrics.bundle_rejected("name_parent");
    metrics.job_submitted();
    metrics.job_finished("succeeded");
    metrics.runtime_estimated("learned", 0.7);
    metrics.http_answered("GET", "/v1/jobs/{id}", 200);
    metrics.auth_failed();
    metrics.swept("logs", 3, 100, 50);
    let registry = registry(&metrics, &View::new(Settings::default()));
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    for line in [
        "dopq_job_queue_wait_seconds_sum 3.0",
        "dopq_scheduler_cycle_seconds_count 1",
        "dopq_store_commit_seconds_count 1",
        "dopq_dispatch_latency_seconds_count 1",
        "dopq_fenced_messages_total{kind=\"report\"} 1",
        "dopq_bundle_rejected_total{rule=\"name_parent\"} 1",
        "dopq_jobs_submitted_total 1",
        "dopq_jobs_finished_total{cause=\"succeeded\"} 1",
        "dopq_job_runtime_estimate_ratio_bucket{le=\"0.5\",by=\"learned\"} 0",
        "dopq_job_runtime_estimate_ratio_bucket{le=\"0.8\",by=\"learned\"} 1",
        "dopq_http_requests_total{method=\"GET\",route=\"/v1/jobs/{id}\",status=\"200\"} 1",
        "dopq_http_auth_failures_total 1",
        "dopq_retention_removed_objects_total{kind=\"logs\"} 3",
        "dopq_retention_removed_bytes_total{kind=\"logs\"} 100",
        "dopq_bundle_store_bytes{kind=\"logs\"} 50",
        "dopq_jobs{state=\"queued\"} 0.0",
        "dopq_workers{state=\"up\"} 0.0",
        "dopq_leader 0.0",
        "# TYPE dopq_gpu_utilization_ratio gauge",
        "# TYPE dopq_worker_gpus gauge",
        "# TYPE dopq_gpu_energy_joules counter",
        "# TYPE dopq_gpu_xid_errors counter",
        "# TYPE dopq_gpu_clock_hertz gauge",
        "# TYPE dopq_worker_cpu_ratio gauge",
        "# TYPE dopq_user_memory_bytes gauge",
        "# TYPE dopq_worker_images gauge",
        "# TYPE DCGM_FI_DEV_GPU_UTIL gauge",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
