//! What the scheduler knows of users and machines, and of the cluster as a whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{Digest, GroupName, UserName, WorkerId};
use crate::resources::Capacity;
use crate::time::Timestamp;

use crate::sched::model::settings::Guards;

/// Counters and the lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The last job id that was given.
    pub last_job: u64,
    /// How many finished jobs count for the `recency` penalty, which this dates: those that had a
    /// machine and did not end by the infrastructure's fault.
    pub finished_jobs: u64,
    /// Set while the queue is locked.
    pub lock: Option<QueueLock>,
}

/// Why nothing new is placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLock {
    /// Who locked it.
    pub by: UserName,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// What the scheduler knows of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Who.
    pub name: UserName,
    /// The group whose share they have a part of; `None` for one with a share of their own.
    pub group: Option<GroupName>,
    /// More than 1 means more than an equal share.
    pub weight: f64,
    /// Limits.
    pub guards: Guards,
    /// The `recency` penalty as of [`User::recency_at`] finished jobs.
    pub recency: f64,
    /// The count of finished jobs that `recency` is as of.
    pub recency_at: u64,
    /// Weighted GPU-seconds as of [`User::usage_at`].
    pub usage: f64,
    /// What `usage` is as of; since then the user is charged what their attempts hold.
    pub usage_at: Timestamp,
}

/// What the scheduler knows of a group. Its members name it, not the reverse.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// More than 1 means more than an equal share.
    pub weight: f64,
    /// Limits of all members together.
    pub guards: Guards,
}

/// What the scheduler knows of a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Which.
    pub id: WorkerId,
    /// The agent's session.
    pub session: Arc<str>,
    /// What it offers.
    pub capacity: Capacity,
    /// Digests of the bundles whose images it holds.
    pub images: BTreeSet<Digest>,
    /// When it first joined.
    pub joined_at: Timestamp,
    /// Whether it is heard from.
    pub health: Health,
    /// Set while it is closed to new jobs.
    pub cordon: Option<Cordon>,
}

/// Whether a worker is heard from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Heard from lately.
    Up,
    /// Silent for a short time: nothing is placed there.
    Suspect {
        /// Since when.
        since: Timestamp,
    },
    /// Silent for a long time: its jobs were given to others.
    Lost {
        /// Since when.
        since: Timestamp,
    },
}

/// Why a worker is closed to new jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cordon {
    /// Who closed it.
    pub by: UserName,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
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
