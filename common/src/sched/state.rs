//! What the scheduler knows. Its collections are ordered; its indexes are derived and never stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{Digest, JobId, UserName, WorkerId};
use crate::job::Job;
use crate::resources::Capacity;
use crate::time::Timestamp;

use super::effect::Change;
use super::settings::{Guards, Settings};

/// The scheduler's whole memory; also what readers and a standby keep, fed by committed changes.
#[derive(Debug, Clone)]
pub struct State {
    settings: Settings,
    meta: Meta,
    jobs: BTreeMap<JobId, Arc<Job>>,
    users: BTreeMap<UserName, User>,
    workers: BTreeMap<WorkerId, Arc<Worker>>,
    keys: BTreeMap<Arc<str>, JobId>,
}

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
    /// More than 1 means more than an equal share.
    pub weight: f64,
    /// Limits.
    pub guards: Guards,
    /// The `recency` penalty as of [`User::recency_at`] finished jobs.
    pub recency: f64,
    /// The count of finished jobs that `recency` is as of.
    pub recency_at: u64,
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

impl State {
    /// An empty cluster.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            meta: Meta::default(),
            jobs: BTreeMap::new(),
            users: BTreeMap::new(),
            workers: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Takes over a committed change: how a state is loaded from the store and how replicas follow.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Job(job) => drop(self.jobs.insert(job.id, job)),
            Change::JobDropped(id) => drop(self.jobs.remove(&id)),
            Change::User(user) => drop(self.users.insert(user.name.clone(), user)),
            Change::Worker(worker) => drop(self.workers.insert(worker.id.clone(), worker)),
            Change::WorkerDropped(id) => drop(self.workers.remove(&id)),
            Change::Key(key, job) => drop(self.keys.insert(key, job)),
            Change::Meta(meta) => self.meta = meta,
        }
    }

    /// The settings it was made with.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Counters and lock.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Arc<Job>> {
        self.jobs.get(&id)
    }

    /// Every job in memory, by id.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    /// One user.
    #[must_use]
    pub fn user(&self, name: &UserName) -> Option<&User> {
        self.users.get(name)
    }

    /// Every user, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// One worker.
    #[must_use]
    pub fn worker(&self, id: &WorkerId) -> Option<&Arc<Worker>> {
        self.workers.get(id)
    }

    /// Every worker, by name.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.workers.values()
    }

    /// The job that an idempotency key was given to.
    #[must_use]
    pub fn job_of_key(&self, key: &str) -> Option<JobId> {
        self.keys.get(key).copied()
    }
}
