//! The receipt of what a user is charged.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// `GET /v1/users/{name}/usage`. All GPU-seconds are weighted; what is "left" has decayed until `at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// Whose.
    pub user: String,
    /// As of when.
    pub at: DateTime<Utc>,
    /// What ranks users: `usage`, `recency` or `fifo`. Under the latter two the usage ranks nobody.
    pub policy: String,
    /// The penalty by that policy, divided by the weight; the lower, the sooner.
    pub penalty: f64,
    /// The weight.
    pub weight: f64,
    /// The usage: the sum of what is left of `lines`, of `more` and of what came `earlier`.
    pub usage_gpu_seconds: f64,
    /// Weighted GPUs that are being charged.
    pub charged_gpus: f64,
    /// Weighted GPUs of the whole cluster.
    pub capacity_gpus: f64,
    /// After so long half of the usage is forgotten.
    pub half_life_seconds: f64,
    /// Each attempt is charged at least for so long.
    pub min_charge_seconds: f64,
    /// How long the usage takes to fall to a tenth once nothing is charged any more.
    pub tenth_in_seconds: f64,
    /// The attempts, the one that was placed last first.
    pub lines: Vec<UsageLine>,
    /// The sum of the older attempts that were left out for the sake of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<UsageSum>,
    /// What is left of attempts that are not remembered one by one. Below 0 only where a changed half-life
    /// or minimum makes older lines come out larger than they were charged.
    pub earlier_gpu_seconds: f64,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageLine {
    /// The job.
    pub job: u64,
    /// Its name.
    pub name: String,
    /// The attempt's number.
    pub attempt: u32,
    /// Weighted GPUs that are charged while it holds its machine.
    pub gpus: f64,
    /// When it was placed.
    pub from: DateTime<Utc>,
    /// When it ended; absent while it holds its machine.
    pub to: Option<DateTime<Utc>>,
    /// `held` while it holds its machine; then `as_held` (for the time), `at_least_minimum` (for the time, or
    /// for the minimum if that is more) or `refunded`.
    pub end: String,
    /// What was charged, before refund and decay.
    pub charged_gpu_seconds: f64,
    /// What of that was given back.
    pub refunded_gpu_seconds: f64,
    /// What is left of the minimum, which is taken at once and given back to an attempt that outlasts it; 0
    /// once it has ended.
    pub deposit_gpu_seconds: f64,
    /// What of it is in the usage now, the deposit included.
    pub left_gpu_seconds: f64,
}

/// The sum of several attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageSum {
    /// How many.
    pub lines: u64,
    /// What was charged, before refunds and decay.
    pub charged_gpu_seconds: f64,
    /// What of that was given back.
    pub refunded_gpu_seconds: f64,
    /// What of it is in the usage now.
    pub left_gpu_seconds: f64,
}
