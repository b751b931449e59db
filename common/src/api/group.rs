//! Groups of users.

use serde::{Deserialize, Serialize};

use super::Limits;

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
    pub limits: Limits,
    /// Weighted GPU-seconds of its members, decayed until now.
    pub usage_gpu_seconds: f64,
    /// Weighted GPUs that are being charged to its members.
    pub charged_gpus: f64,
}
