//! What the scheduler knows of users and machines, and of the cluster as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{Digest, GpuId, GroupName, UserName, WorkerId};
use crate::resources::{Capacity, GpuDevice, GpuTaken};
use crate::time::Timestamp;

use crate::sched::model::settings::Guards;

/// Counters and the lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The last job id that was given.
    pub last_job: u64,
    /// How many finished jobs count for the `recency` penalty, which this dates: those that had a
    /// machine and did not end by the infrastructure's fault.
    pub finished_jobs: u64,
    /// Set while the queue is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<QueueLock>,
}

/// Why nothing new is placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueLock {
    /// Who locked it.
    pub by: UserName,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    #[serde(rename = "until_ms")]
    pub until: Timestamp,
}

/// What the scheduler knows of a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Who.
    pub name: UserName,
    /// The group whose share they have a part of; `None` for one with a share of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// More than 1 means more than an equal share.
    pub weight: f64,
    /// Limits.
    #[serde(default)]
    pub guards: Guards,
    /// The `recency` penalty as of [`User::recency_at`] finished jobs.
    pub recency: f64,
    /// The count of finished jobs that `recency` is as of.
    pub recency_at: u64,
    /// Weighted GPU-seconds as of [`User::usage_at`].
    #[serde(default)]
    pub usage: f64,
    /// What `usage` is as of; since then the user is charged what their attempts hold.
    #[serde(rename = "usage_at_ms", default)]
    pub usage_at: Timestamp,
}

/// What the scheduler knows of a group. Its members name it, not the reverse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// More than 1 means more than an equal share.
    pub weight: f64,
    /// Limits of all members together.
    #[serde(default)]
    pub guards: Guards,
}

/// What the scheduler knows of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Which.
    pub id: WorkerId,
    /// The agent's session.
    pub session: Arc<str>,
    /// What it offers.
    pub capacity: Capacity,
    /// Digests of the bundles whose images it holds.
    #[serde(default)]
    pub images: BTreeSet<Digest>,
    /// When it first joined.
    #[serde(rename = "joined_at_ms")]
    pub joined_at: Timestamp,
    /// Whether it is heard from.
    pub health: Health,
    /// Set while it is closed to new jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordon: Option<Cordon>,
    /// Why the machine itself takes no jobs now, such as too little disk space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Arc<str>>,
    /// The GPUs that are not given to jobs for now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub taken: BTreeMap<GpuId, GpuTaken>,
    /// Which machine it is, and what runs there.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub machine: Arc<Machine>,
}

/// What a worker tells of its machine, for people and to tell two machines with one name apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Of the agent's data folder, the same after every start of the agent; empty from older workers.
    pub instance: String,
    /// The machine's own name, and an address of it.
    pub host: String,
    /// Version of the agent.
    pub agent: String,
    /// The container engine's version.
    pub engine: String,
    /// How GPUs get into containers.
    pub gpu_mode: String,
    /// What jobs reach.
    pub egress: String,
    /// What build steps reach.
    pub build_egress: String,
}

fn is_unknown(machine: &Arc<Machine>) -> bool {
    **machine == Machine::default()
}

impl Worker {
    /// Whether jobs may be given the GPU at all.
    #[must_use]
    pub fn offers(&self, gpu: &GpuDevice) -> bool {
        gpu.healthy && !self.taken.contains_key(&gpu.id)
    }

    /// Whether it is heard from, and neither an operator nor the machine itself has closed it.
    #[must_use]
    pub fn takes_jobs(&self) -> bool {
        self.health == Health::Up && self.cordon.is_none() && self.closed.is_none()
    }

    /// Whether another machine has this name: it is heard from, and does not have this data folder.
    #[must_use]
    pub fn is_other_than(&self, instance: &str) -> bool {
        let own = &self.machine.instance;
        self.health == Health::Up && !own.is_empty() && !instance.is_empty() && own != instance
    }
}

/// Whether a worker is heard from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// Heard from lately.
    Up,
    /// Silent for a short time: nothing is placed there.
    Suspect {
        /// Since when.
        #[serde(rename = "since_ms")]
        since: Timestamp,
    },
    /// Silent for a long time: its jobs were given to others.
    Lost {
        /// Since when.
        #[serde(rename = "since_ms")]
        since: Timestamp,
    },
}

/// Why a worker is closed to new jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Who closed it.
    pub by: UserName,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// Set while it is being emptied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// That a worker is being emptied: its jobs may end, and nothing new comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Its jobs are evicted from then on; `None` lets them end.
    #[serde(
        rename = "deadline_ms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub deadline: Option<Timestamp>,
}

impl User {
    /// A user of whom nothing is known: an equal share, no limits, nothing had yet.
    #[must_use]
    pub fn new(name: UserName) -> Self {
        Self {
            name,
            group: None,
            weight: 1.0,
            guards: Guards::default(),
            recency: 0.0,
            recency_at: 0,
            usage: 0.0,
            usage_at: Timestamp::default(),
        }
    }
}
