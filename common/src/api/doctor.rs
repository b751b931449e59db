//! What `dopq doctor` asks a master for: facts that no other route tells. The reader judges them.

use serde::{Deserialize, Serialize};

/// `GET /v1/doctor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doctor {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// Why the store may lose what was accepted; empty if it keeps it. Only for operators.
    #[serde(default)]
    pub store_faults: Vec<String>,
    /// Messages that the broker gave up on; absent if it did not say, and for users.
    #[serde(default)]
    pub dead_letters: Option<Vec<DeadLetters>>,
    /// The machines, by name.
    #[serde(default)]
    pub nodes: Vec<NodeHealth>,
}

/// Messages that were given up on for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// The queue that they were in.
    pub queue: String,
    /// `rejected`, `delivery_limit` or what else the broker says.
    pub reason: String,
    /// How many; at most 100 are looked at in all.
    pub count: u64,
}

/// What a machine's last heartbeat tells about its health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// Its name.
    pub name: String,
    /// How far its clock is ahead of the master's, less the heartbeat's way; negative if behind.
    pub clock_ahead_seconds: Option<f64>,
    /// Bytes free where its spool lies.
    pub spool_free_bytes: Option<u64>,
    /// Bytes free on the engine's disk.
    pub engine_free_bytes: Option<u64>,
}
