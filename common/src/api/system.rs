//! The system: its parts, its machines, its users.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Version of the answering master.
    pub build: String,
    /// `leader` or `standby`.
    pub role: String,
    /// The leadership number.
    pub epoch: u64,
    /// How long the answering master has run.
    pub uptime_seconds: u64,
    /// `ingest`, `scheduler`, `leader`, `store`, `broker`, `bundles` and `retention`.
    pub components: Vec<Component>,
    /// Jobs by state.
    pub jobs: BTreeMap<String, u64>,
    /// Workers by state.
    pub workers: BTreeMap<String, u64>,
    /// Folders that jobs can ask for, by name.
    #[serde(default)]
    pub volumes: Vec<Volume>,
}

/// A folder that nodes offer to jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Whether jobs cannot write to it.
    pub read_only: bool,
    /// The groups whose members may use it; empty for everybody.
    pub groups: Vec<String>,
    /// The nodes that offer it so.
    pub nodes: Vec<String>,
}

/// One part of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// `up`, `degraded`, `down` or `off`.
    pub state: String,
    /// Since when it is in that state.
    pub since: DateTime<Utc>,
    /// What it is and what is wrong with it.
    pub detail: String,
}

/// `GET /v1/nodes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeList {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// By name.
    pub nodes: Vec<Node>,
}

/// One GPU machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `up`, `suspect` or `lost`.
    pub state: String,
    /// Why it is closed to new jobs, when it is.
    pub cordon: Option<String>,
    /// How far it is emptied, while it is being drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<NodeDrain>,
    /// The machine's own name and an address of it; empty if it does not say.
    #[serde(default)]
    pub host: String,
    /// Version of its agent.
    pub agent: String,
    /// Its container engine.
    pub engine: String,
    /// How GPUs get into containers.
    pub gpu_mode: String,
    /// What jobs reach: `open`, `internet` or `none`; empty if it does not say.
    #[serde(default)]
    pub egress: String,
    /// What build steps reach: `default`, `internet` or `none`; empty if it does not say.
    #[serde(default)]
    pub build_egress: String,
    /// When it was last heard from.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// Its GPUs.
    pub gpus: Vec<NodeGpu>,
    /// Cores for jobs.
    pub cpu_cores: f64,
    /// Cores that jobs hold.
    pub cpu_cores_held: f64,
    /// Bytes for jobs.
    pub memory_bytes: u64,
    /// Bytes that jobs hold.
    pub memory_held_bytes: u64,
    /// Ids of the jobs on it.
    pub jobs: Vec<u64>,
    /// How busy all its cores are, 0 to 1, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ratio: Option<f64>,
    /// Bytes that the whole machine uses, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Names of the volumes that it offers.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// A drain of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDrain {
    /// How many jobs are on it still, of all users; 0 once it is drained.
    pub jobs_left: u64,
    /// When those that are left are evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DateTime<Utc>>,
}

/// One GPU of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeGpu {
    /// UUID.
    pub id: String,
    /// Model.
    pub model: String,
    /// False while quarantined.
    pub healthy: bool,
    /// Bytes.
    pub memory_bytes: u64,
    /// How much of it jobs hold, 0 to 1.
    pub held_ratio: f64,
    /// How busy it is, 0 to 1, when known.
    pub utilization_ratio: Option<f64>,
    /// Bytes in use, when known.
    pub memory_used_bytes: Option<u64>,
    /// The jobs that hold it.
    #[serde(default)]
    pub holders: Vec<NodeGpuHolder>,
}

/// A job that holds a GPU or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGpuHolder {
    /// The job.
    pub job: u64,
    /// Which task of which array it is, for a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<super::Task>,
    /// Whose it is.
    pub user: String,
    /// Thousandths of the GPU.
    pub gpu_milli: u32,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Submit, and see and change one's own jobs.
    #[default]
    User,
    /// Also the machines and the lock.
    Operator,
    /// Everything.
    Admin,
}

/// `GET /v1/users`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserList {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// By name.
    pub users: Vec<User>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// The group that they are in.
    #[serde(default)]
    pub group: Option<String>,
    /// Penalty; the lower, the sooner.
    pub penalty: f64,
    /// Weight.
    pub weight: f64,
    /// What ranks them now; absent while no job of theirs waits for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<super::Turn>,
    /// Jobs waiting.
    pub queued: u64,
    /// Jobs with a machine.
    pub running: u64,
    /// Jobs finished that are still remembered.
    pub finished: u64,
    /// Since when the account is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<DateTime<Utc>>,
    /// Whether they have a password.
    #[serde(default)]
    pub has_password: bool,
    /// Tokens, without their secrets.
    pub tokens: Vec<super::Token>,
    /// Limits; nothing is limited where they are absent.
    #[serde(default)]
    pub limits: Limits,
    /// Weighted GPU-seconds, decayed until now.
    #[serde(default)]
    pub usage_gpu_seconds: f64,
    /// Weighted GPUs that are being charged.
    #[serde(default)]
    pub charged_gpus: f64,
}

/// What a user, or a group's members together, may have at once: `PUT /v1/users/{name}/limits` and
/// `PUT /v1/groups/{name}`, which replace all of it. The latter makes the group if there is none of that name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
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
    /// The group that a user is to be in; `Some(None)`, `null` in JSON, for none. When absent they stay where they
    /// are. Always absent for a group.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    pub group: Option<Option<String>>,
}

/// Tells `null` from what is absent.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// `GET /v1/whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
}

/// `POST /v1/prune`: what a sweep of the bundle store removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// By kind: `bundles`, `logs`, `results`, `checkpoints`, `archive`, and `unfinished` writes.
    pub kinds: Vec<PrunedKind>,
    /// How many objects could not be removed.
    #[serde(default)]
    pub failed_objects: u64,
    /// Why the first of them could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One kind of objects of the bundle store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedKind {
    /// The kind.
    pub kind: String,
    /// How many objects were removed.
    pub removed_objects: u64,
    /// Their size.
    pub removed_bytes: u64,
    /// How many objects stay.
    pub kept_objects: u64,
    /// Their size.
    pub kept_bytes: u64,
}
