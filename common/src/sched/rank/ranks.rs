//! What ranks users and groups.
//!
//! There are two levels. At the top stand the groups and the users without a group: each has its share of the
//! cluster by its weight, and what one member of a group uses counts against the whole group. Within a group its
//! members are ranked in the same way. This is the idea of Slurm's Fair Tree: siblings are ranked, and each one's
//! own follow in their own order.
//!
//! The rank value is the penalty divided by the weight, plus what the next job asks for, minus how long it has
//! waited. A job within a floor ([`super::floor`]) goes before all that. [`super::order`] makes one order of the two
//! levels.

use std::collections::BTreeMap;

use crate::id::GroupName;
use crate::sched::model::demand::Demand;
use crate::sched::model::settings::{Policy, Settings};
use crate::sched::state::core::State;
use crate::sched::state::user_queue::UserQueue;
use crate::time::Timestamp;

use super::account::unweighted;
use super::floor::{Extra, floor_of};
use super::value::Value;

/// The rank of a user's or a group's next job; the lowest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// False goes first.
    pub(crate) is_past_floor: bool,
    value: Value,
}

/// What the next job adds to a penalty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct JobTerms {
    /// What it asks for counts against it.
    pub(crate) ask: f64,
    /// How long it has waited counts for it.
    pub(crate) aging: f64,
}

impl JobTerms {
    fn sum(self) -> f64 {
        self.ask - self.aging
    }
}

/// The rank of a user's next job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranked {
    /// Among the members of their group, or at the top for a user without a group.
    pub(crate) rank: Rank,
    /// What the job itself adds, on either level.
    pub(crate) job_terms: Value,
}

/// Ranks users and groups at one instant.
#[derive(Debug)]
pub(crate) struct Ranks {
    now: Timestamp,
    groups: BTreeMap<GroupName, GroupRank>,
}

/// What ranks a group.
#[derive(Debug)]
struct GroupRank {
    /// The usage of its members together.
    usage: f64,
    weight: f64,
    has_floor: bool,
    /// Milli-GPU that are counted as held by members besides what they hold.
    extra: u64,
    /// Whether what its members hold, or are counted as holding, has changed since.
    has_changed: bool,
}

impl GroupRank {
    fn penalty(&self) -> f64 {
        self.usage / self.weight
    }
}

impl Ranks {
    pub(crate) fn new(state: &State, now: Timestamp) -> Self {
        let index = state.index();
        let groups = index.group_states().iter().map(|(name, group)| {
            let rank = GroupRank {
                usage: 0.0,
                weight: group.weight,
                has_floor: group.floor.is_some(),
                extra: 0,
                has_changed: false,
            };
            (name.clone(), rank)
        });
        let mut groups: BTreeMap<_, _> = groups.collect();
        if !groups.is_empty() {
            for user_queue in index.user_queues().values() {
                let group = user_queue.group.as_ref();
                if let Some(group) = group.and_then(|name| groups.get_mut(name)) {
                    group.usage += unweighted(state, now, user_queue);
                }
            }
        }
        Self { now, groups }
    }

    /// The instant.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// The rank of a user with this penalty whose next job asks for `demand` and waits since `submitted_at`.
    pub(crate) fn ranked(
        &self,
        settings: &Settings,
        penalty: f64,
        is_past_floor: bool,
        demand: Demand,
        submitted_at: Timestamp,
    ) -> Ranked {
        let terms = self.job_terms(settings, demand, submitted_at).sum();
        Ranked {
            rank: Rank {
                is_past_floor,
                value: Value(penalty + terms),
            },
            job_terms: Value(terms),
        }
    }

    /// What the next job adds to a penalty. Only the policy `usage` adds anything.
    pub(crate) fn job_terms(
        &self,
        settings: &Settings,
        demand: Demand,
        submitted_at: Timestamp,
    ) -> JobTerms {
        match settings.policy {
            Policy::Recency | Policy::Fifo => JobTerms::default(),
            Policy::Usage => {
                let usage = &settings.usage;
                let waited = self.now.since(submitted_at).as_secs_f64();
                let aged = (waited / usage.aging_after.as_secs_f64()).min(1.0);
                JobTerms {
                    ask: usage.ask_weight * demand.share,
                    aging: usage.aging * aged,
                }
            }
        }
    }

    /// Whether a job with this demand is outside every floor; `extra` milli-GPU are counted as held by its user
    /// besides what they hold.
    pub(crate) fn is_past_floor(
        &self,
        state: &State,
        user_queue: &UserQueue,
        extra: u64,
        demand: Demand,
    ) -> bool {
        let extra = Extra {
            user: extra,
            group: self.group(user_queue).map_or(0, |group| group.extra),
        };
        floor_of(state.index(), user_queue, extra, demand).is_none()
    }

    /// The rank of a group at the top, given the rank of its first job among its members.
    pub(crate) fn at_the_top(&self, group: &GroupName, rank: Rank, job_terms: Value) -> Rank {
        self.groups.get(group).map_or(rank, |group| Rank {
            value: Value(group.penalty() + job_terms.0),
            ..rank
        })
    }

    /// The penalty of the user's group.
    pub(crate) fn group_penalty(&self, user_queue: &UserQueue) -> Option<f64> {
        self.group(user_queue).map(GroupRank::penalty)
    }

    /// What a user was charged, where it counts for a group: to be given to [`Self::charge`] later.
    pub(crate) fn usage(&self, state: &State, user_queue: &UserQueue) -> Option<f64> {
        let is_grouped = user_queue.group.is_some();
        is_grouped.then(|| unweighted(state, self.now, user_queue))
    }

    /// Notes that a user, who was charged `before`, was given a node.
    pub(crate) fn charge(&mut self, state: &State, user_queue: &UserQueue, before: Option<f64>) {
        let now = self.now;
        if let (Some(group), Some(before)) = (self.group_mut(user_queue), before) {
            group.usage += unweighted(state, now, user_queue) - before;
            group.has_changed = true;
        }
    }

    /// Counts a job as held by its user's group, as if it had been given a node.
    pub(crate) fn count(&mut self, user_queue: &UserQueue, demand: Demand) {
        if let Some(group) = self.group_mut(user_queue) {
            group.extra += demand.milli;
            group.has_changed = true;
        }
    }

    /// Whether other members of the group may have used up a floor since the user was ranked.
    pub(crate) fn has_changed(&self, user_queue: &UserQueue) -> bool {
        let group = self.group(user_queue);
        group.is_some_and(|group| group.has_floor && group.has_changed)
    }

    fn group(&self, user_queue: &UserQueue) -> Option<&GroupRank> {
        self.groups.get(user_queue.group.as_ref()?)
    }

    fn group_mut(&mut self, user_queue: &UserQueue) -> Option<&mut GroupRank> {
        self.groups.get_mut(user_queue.group.as_ref()?)
    }
}
