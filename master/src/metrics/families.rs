//! The metric families that the master's parts update, in base units.
//!
//! No label contains a job's id, because their number is unbounded.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Labels = [(&'static str, String); 1];

/// The counters and histograms. Cheap to clone; all clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    queue_wait: Histogram,
    scheduler_cycle: Histogram,
    commit: Histogram,
    dispatch_latency: Histogram,
    fenced_messages: Family<Labels, Counter>,
    bundle_rejected: Family<Labels, Counter>,
    jobs_submitted: Counter,
    jobs_finished: Family<Labels, Counter>,
    runtime_estimate: Family<Labels, Histogram, fn() -> Histogram>,
    http_requests: Family<[(&'static str, String); 3], Counter>,
    auth_failures: Counter,
    swept_objects: Family<Labels, Counter>,
    swept: Family<Labels, Counter>,
    stored: Family<Labels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        // 100 microseconds to about 1.7 minutes.
        let short = || Histogram::new(exponential_buckets(1e-4, 4.0, 11));
        Self {
            // A quarter of a second to about 12 days.
            queue_wait: Histogram::new(exponential_buckets(0.25, 4.0, 12)),
            scheduler_cycle: short(),
            commit: short(),
            dispatch_latency: short(),
            fenced_messages: Family::default(),
            bundle_rejected: Family::default(),
            jobs_submitted: Counter::default(),
            jobs_finished: Family::default(),
            runtime_estimate: Family::new_with_constructor(ratios),
            http_requests: Family::default(),
            auth_failures: Counter::default(),
            swept_objects: Family::default(),
            swept: Family::default(),
            stored: Family::default(),
        }
    }
}

/// Fine buckets around 1, the value of good estimates.
fn ratios() -> Histogram {
    Histogram::new([
        0.01, 0.1, 0.25, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 2.0, 4.0, 10.0,
    ])
}

impl Metrics {
    /// A job's container started `wait` after the job was accepted.
    pub fn queue_waited(&self, wait: Duration) {
        self.queue_wait.observe(wait.as_secs_f64());
    }

    /// One batch of events was stepped in `took`.
    pub fn scheduler_cycled(&self, took: Duration) {
        self.scheduler_cycle.observe(took.as_secs_f64());
    }

    /// One batch was committed to the store in `took`.
    pub fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    /// An order was confirmed by the broker `took` after its commit.
    pub fn dispatched(&self, took: Duration) {
        self.dispatch_latency.observe(took.as_secs_f64());
    }

    /// A stale or forged message was dropped; `kind` is one of a few words, such as `report`.
    pub fn fenced(&self, kind: &'static str) {
        self.fenced_messages
            .get_or_create(&[("kind", kind.to_owned())])
            .inc();
    }

    /// A bundle was refused for breaking `rule`.
    pub fn bundle_rejected(&self, rule: &'static str) {
        self.bundle_rejected
            .get_or_create(&[("rule", rule.to_owned())])
            .inc();
    }

    /// A new job was accepted.
    pub fn job_submitted(&self) {
        self.jobs_submitted.inc();
    }

    /// A job finished for good; `cause` is its outcome's word.
    pub fn job_finished(&self, cause: &'static str) {
        self.jobs_finished
            .get_or_create(&[("cause", cause.to_owned())])
            .inc();
    }

    /// A successful job took `ratio` times its expected run time; `by` is the source of the estimate.
    pub fn runtime_estimated(&self, by: &'static str, ratio: f64) {
        self.runtime_estimate
            .get_or_create(&[("by", by.to_owned())])
            .observe(ratio);
    }

    /// A request was answered; `route` is the route's pattern, not the path.
    pub fn http_answered(&self, method: &str, route: &str, status: u16) {
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.to_string()),
        ];
        self.http_requests.get_or_create(&labels).inc();
    }

    /// A request had no valid token.
    pub fn auth_failed(&self) {
        self.auth_failures.inc();
    }

    /// A sweep of the bundle store removed objects of `kind`, of so many bytes, and left so many bytes.
    pub fn swept(&self, kind: &'static str, objects: u64, bytes: u64, left_bytes: u64) {
        let labels = [("kind", kind.to_owned())];
        self.swept_objects.get_or_create(&labels).inc_by(objects);
        self.swept.get_or_create(&labels).inc_by(bytes);
        let left = i64::try_from(left_bytes).unwrap_or(i64::MAX);
        self.stored.get_or_create(&labels).set(left);
    }

    /// Adds the families to `registry`, which has the prefix `dopq`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "job_queue_wait",
            "Time from acceptance to the container's start",
            Unit::Seconds,
            self.queue_wait.clone(),
        );
        registry.register_with_unit(
            "scheduler_cycle",
            "Time to step and plan one batch of events",
            Unit::Seconds,
            self.scheduler_cycle.clone(),
        );
        registry.register_with_unit(
            "store_commit",
            "Time to commit one batch",
            Unit::Seconds,
            self.commit.clone(),
        );
        registry.register_with_unit(
            "dispatch_latency",
            "Time from commit to the broker's confirmation of the order",
            Unit::Seconds,
            self.dispatch_latency.clone(),
        );
        registry.register(
            "fenced_messages",
            "Stale or forged messages dropped",
            self.fenced_messages.clone(),
        );
        registry.register(
            "bundle_rejected",
            "Refused bundles, by broken rule",
            self.bundle_rejected.clone(),
        );
        registry.register(
            "jobs_submitted",
            "Jobs accepted",
            self.jobs_submitted.clone(),
        );
        registry.register(
            "jobs_finished",
            "Finished jobs, by cause",
            self.jobs_finished.clone(),
        );
        registry.register_with_unit(
            "job_runtime_estimate",
            "Actual over expected run time of successful jobs, by source of the estimate",
            Unit::Other("ratio".to_owned()),
            self.runtime_estimate.clone(),
        );
        registry.register(
            "http_requests",
            "Answered requests",
            self.http_requests.clone(),
        );
        registry.register(
            "http_auth_failures",
            "Requests without a valid token",
            self.auth_failures.clone(),
        );
        registry.register(
            "retention_removed_objects",
            "Objects that sweeps of the bundle store removed, by kind",
            self.swept_objects.clone(),
        );
        registry.register_with_unit(
            "retention_removed",
            "Bytes that sweeps of the bundle store removed, by kind",
            Unit::Bytes,
            self.swept.clone(),
        );
        registry.register_with_unit(
            "bundle_store",
            "Size of the bundle store after the last sweep, by kind",
            Unit::Bytes,
            self.stored.clone(),
        );
    }
}
