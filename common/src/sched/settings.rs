//! The scheduler's settings. The master's configuration fills them; the core only reads them.

use std::time::Duration;

use crate::resources::MilliGpu;

/// Settings of the whole cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Not heard from for so long: suspect, nothing is placed there.
    pub suspect_after: Duration,
    /// Not heard from for so long: lost, its jobs are given to others.
    pub lost_after: Duration,
    /// How often a job is tried again after the infrastructure's fault before it ends with that cause.
    pub infrastructure_retries: u32,
    /// Wait before the first retry; doubled for each further one, up to a hundredfold.
    pub retry_backoff: Duration,
    /// How many finished jobs are kept in memory and in the store's history.
    pub history_max_jobs: usize,
    /// The most attempts that one worker is given before their containers run.
    pub starts_per_worker: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            suspect_after: Duration::from_secs(15),
            lost_after: Duration::from_secs(600),
            infrastructure_retries: 3,
            retry_backoff: Duration::from_secs(5),
            history_max_jobs: 10_000,
            starts_per_worker: 64,
        }
    }
}

/// Limits of one user or group; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// GPUs held at once.
    pub max_gpus: Option<MilliGpu>,
    /// Jobs active at once.
    pub max_running: Option<u32>,
    /// Jobs waiting at once.
    pub max_queued: Option<u32>,
}
