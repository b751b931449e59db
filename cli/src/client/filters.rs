//! What lists and logs are narrowed to.

use chrono::{DateTime, Utc};
use dopq_common::id::JobId;

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobFilter {
    /// In any of these states; all states when empty.
    pub(crate) states: Vec<String>,
    /// Of this user.
    pub(crate) user: Option<String>,
    /// Ids and ranges, such as `3-7,12`.
    pub(crate) ids: Option<String>,
    /// The started tasks of this array, instead of jobs.
    pub(crate) array: Option<JobId>,
    /// Only arrays.
    pub(crate) arrays: bool,
    /// With all of these labels, each `name=value`.
    pub(crate) labels: Vec<String>,
    /// Submitted then or later.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Submitted before.
    pub(crate) until: Option<DateTime<Utc>>,
}

/// Which part of the queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueueFilter {
    /// Of this user.
    pub(crate) user: Option<String>,
    /// With all of these labels, each `name=value`.
    pub(crate) labels: Vec<String>,
}

/// Which part of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogQuery {
    /// Only this attempt.
    pub(crate) attempt: Option<u32>,
    /// Follow until the job finishes.
    pub(crate) follow: bool,
    /// Only this many last lines.
    pub(crate) tail: Option<u64>,
}

/// Which lines of the audit log.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditFilter {
    /// Of this user.
    pub(crate) user: Option<String>,
    /// Of this action.
    pub(crate) action: Option<String>,
    /// Not older.
    pub(crate) since: Option<DateTime<Utc>>,
}

/// Which finished jobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistoryFilter {
    /// Of this user.
    pub(crate) user: Option<String>,
    /// Of this group's users.
    pub(crate) group: Option<String>,
    /// Ended by one of these causes, separated by commas.
    pub(crate) cause: Option<String>,
    /// With all of these labels.
    pub(crate) label: Vec<String>,
    /// Ended then or later.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Ended before.
    pub(crate) until: Option<DateTime<Utc>>,
    /// Also tasks of arrays.
    pub(crate) tasks: bool,
    /// The `next` of the page before.
    pub(crate) before: Option<String>,
}
