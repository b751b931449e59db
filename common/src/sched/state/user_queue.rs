//! One user's jobs, kept up to date by [`super::index`] as jobs come and go. Derived, never stored.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::id::{GroupName, JobId};
use crate::job::{Class, Job};
use crate::penalty::usage::Rate;
use crate::resources::MilliGpu;
use crate::sched::model::entities::User;
use crate::sched::model::lane::Lane;
use crate::sched::model::queue_key::QueueKey;
use crate::sched::model::shape::ShapeId;
use crate::time::Timestamp;

use super::counts::Counts;

/// One user's jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct UserQueue {
    /// Jobs that wait only for their turn and a node.
    pub(crate) ready: BTreeMap<Lane, LaneQueue>,
    /// The same jobs by class and age.
    by_age: BTreeSet<Age>,
    /// The first of these.
    pub(crate) oldest: Option<Age>,
    /// Jobs that wait for something else: a hold, another job, a retry's time.
    pub(crate) parked: BTreeSet<QueueKey>,
    /// How many jobs there are and what they hold.
    pub(crate) counts: Counts,
    /// What is charged for the jobs that have a node.
    pub(crate) rate: Rate,
    /// Copied from the user.
    pub(crate) group: Option<GroupName>,
    /// Copied from the user.
    pub(crate) floor: Option<MilliGpu>,
    /// Copied from the user, so that ranking all users looks none of them up.
    pub(crate) usage: UsageSnapshot,
}

/// Orders the jobs of one user by class, then by age, whatever their priorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    pub(crate) class: Class,
    pub(crate) submitted_at: Timestamp,
    pub(crate) job: JobId,
}

impl Age {
    fn of(job: &Job) -> Self {
        Self {
            class: job.spec.class,
            submitted_at: job.submitted_at,
            job: job.id,
        }
    }

    /// A key that no job of the same class and age goes before.
    pub(crate) const fn key(self) -> QueueKey {
        QueueKey {
            class: self.class,
            priority: Reverse(i32::MAX),
            submitted_at: self.submitted_at,
            next: JobId(0),
            job: self.job,
        }
    }
}

impl UserQueue {
    /// Adds a job that waits only for its turn.
    pub(crate) fn enter(&mut self, shape: ShapeId, job: &Job) {
        self.by_age.insert(Age::of(job));
        self.oldest = self.by_age.first().copied();
        let (lane, key) = (Lane::of(shape, &job.spec), QueueKey::of(job));
        match self.ready.entry(lane) {
            Entry::Vacant(lane) => {
                lane.insert(LaneQueue::of(key));
            }
            Entry::Occupied(mut lane) => lane.get_mut().enter(key),
        }
    }

    /// Removes a job. Returns whether it waited only for its turn.
    pub(crate) fn leave(&mut self, shape: ShapeId, job: &Job) -> bool {
        let lane = Lane::of(shape, &job.spec);
        let Some(queue) = self.ready.get_mut(&lane) else {
            return false;
        };
        let was_ready = queue.keys.remove(&QueueKey::of(job));
        if was_ready {
            self.by_age.remove(&Age::of(job));
            self.oldest = self.by_age.first().copied();
        }
        match queue.keys.first() {
            Some(first) => queue.first = *first,
            None => {
                self.ready.remove(&lane);
            }
        }
        was_ready
    }
}

/// The jobs of one lane that wait only for their turn; at least one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LaneQueue {
    /// The first of the keys. A pass reads it of many lanes, most of which it reads no more of.
    pub(crate) first: QueueKey,
    keys: BTreeSet<QueueKey>,
}

impl LaneQueue {
    fn of(first: QueueKey) -> Self {
        let keys = BTreeSet::from([first]);
        Self { first, keys }
    }

    fn enter(&mut self, key: QueueKey) {
        self.first = self.first.min(key);
        self.keys.insert(key);
    }

    /// The jobs in their order.
    pub(crate) const fn keys(&self) -> &BTreeSet<QueueKey> {
        &self.keys
    }

    /// The job that comes after this one.
    pub(crate) fn after(&self, key: QueueKey) -> Option<QueueKey> {
        let after = (Bound::Excluded(key), Bound::Unbounded);
        self.keys.range(after).next().copied()
    }
}

/// What a user was charged, as [`crate::sched::User`] says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct UsageSnapshot {
    pub(crate) weight: f64,
    pub(crate) usage: f64,
    pub(crate) usage_at: Timestamp,
    pub(crate) recency: f64,
    pub(crate) recency_at: u64,
}

impl UsageSnapshot {
    pub(crate) const fn of(user: &User) -> Self {
        Self {
            weight: user.weight,
            usage: user.usage,
            usage_at: user.usage_at,
            recency: user.recency,
            recency_at: user.recency_at,
        }
    }
}

impl Default for UsageSnapshot {
    fn default() -> Self {
        Self {
            weight: 1.0,
            usage: 0.0,
            usage_at: Timestamp::default(),
            recency: 0.0,
            recency_at: 0,
        }
    }
}
