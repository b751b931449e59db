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
    /// What ranks them now; absent while no job of theirs waits for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
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

/// What ranks a user: the penalty, and what the job that is next of theirs adds to it. The class of that job goes
/// before all of this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The first of their jobs that wait for nothing but their turn and a machine; of an array, the array.
    pub job: u64,
    /// Its class.
    pub class: String,
    /// Whether it is within a floor, and so goes before all of its class that are not.
    pub within_floor: bool,
    /// The penalty, and `ask`, less `aging`: what ranks the user among the members of their group, or among all groups
    /// and users without one; the lower, the sooner.
    pub rank_value: f64,
    /// What the job asks for counts against it: `scheduler.ask_weight` for all GPUs of the cluster.
    pub ask: f64,
    /// How long it has waited counts for it: `scheduler.aging` after `scheduler.aging_after`, and no more.
    pub aging: f64,
    /// Where the group that they are in stands with this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupTurn>,
}

/// What ranks a group, were this job the next of its members'.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupTurn {
    /// The group's penalty.
    pub penalty: f64,
    /// The same with what the job adds; the lower, the sooner.
    pub rank_value: f64,
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
