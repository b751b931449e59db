//! Groups of users.

use serde::{Deserialize, Serialize};

/// `GET /v1/groups`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupList {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// By name.
    pub groups: Vec<Group>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Who is in it, by name.
    pub members: Vec<String>,
    /// What its members have had together, by its weight; the lower, the sooner.
    pub penalty: f64,
    /// Weight.
    pub weight: f64,
    /// Jobs of its members waiting.
    pub queued: u64,
    /// Jobs of its members with a machine.
    pub running: u64,
    /// GPUs that those hold, in thousandths.
    pub held_gpus_milli: u64,
    /// Limits; nothing is limited where they are absent.
    pub limits: GroupLimits,
    /// Weighted GPU-seconds of its members, decayed until now.
    pub usage_gpu_seconds: f64,
    /// Weighted GPUs that are being charged to its members.
    pub charged_gpus: f64,
}

/// What a group's members may have together at once: `PUT /v1/groups/{name}`, which replaces all of it and makes
/// the group if there is none of that name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupLimits {
    /// More than 1 means more than an equal share; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// GPUs held at once, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_gpus_milli: Option<u32>,
    /// Jobs with a machine at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// Jobs waiting at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u32>,
    /// GPUs that are guaranteed, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_gpus_milli: Option<u32>,
}
