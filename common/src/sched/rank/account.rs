//! What users and groups are charged. Where that ranks them is left to [`crate::sched::rank::ranks`].
//!
//! An attempt is charged from its placing to its end. Its minimum is charged at once, as a deposit, so
//! that of two users with nothing to their account the second goes next; a longer attempt gets it back
//! at its end. What the infrastructure caused is taken off again as if it had never been.

use std::time::Duration;

use crate::id::{GroupName, UserName};
use crate::job::{ChargeEnd, Class, Job};
use crate::penalty::recency;
use crate::penalty::usage::{Meter, Rate, after, charged, falls_to, kept};
use crate::resources::Allocation;
use crate::time::Timestamp;

use crate::sched::model::settings::{Policy, UsageSettings};
use crate::sched::state::core::State;
use crate::sched::state::node_load::NodeLoad;
use crate::sched::state::user_queue::{UsageSnapshot, UserQueue};

/// What a user or a group has had, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Weighted GPU-seconds, decayed until now.
    pub usage: f64,
    /// Weighted GPUs that are being charged.
    pub rate: f64,
    /// Weighted GPUs of the whole cluster.
    pub capacity: f64,
    /// Their weight.
    pub weight: f64,
    /// The penalty by the policy in force, divided by the weight; the lower, the sooner.
    pub penalty: f64,
    /// How long somebody idle waits until the usage is a tenth of what it is.
    pub tenth_in: Duration,
}

/// What a user has had; all zero for one who is not known.
#[must_use]
pub fn account_of(state: &State, now: Timestamp, name: &UserName) -> Account {
    let half_life = state.settings().usage.half_life;
    let (usage, rate) = usage_of(state, now, name);
    Account {
        usage,
        rate: rate.gpus(),
        capacity: state.index().capacity().gpus(),
        weight: state.user(name).map_or(1.0, |user| user.weight),
        penalty: penalty_of(state, now, name),
        tenth_in: falls_to(0.1, half_life),
    }
}

/// What the members of a group have had together; all zero for one that is not known.
#[must_use]
pub fn group_account_of(state: &State, now: Timestamp, name: &GroupName) -> Account {
    let half_life = state.settings().usage.half_life;
    let weight = state.group(name).map_or(1.0, |group| group.weight);
    let mut account = Account {
        usage: 0.0,
        rate: 0.0,
        capacity: state.index().capacity().gpus(),
        weight,
        penalty: 0.0,
        tenth_in: falls_to(0.1, half_life),
    };
    let user_queues = state
        .members(name)
        .filter_map(|name| state.index().user_queue(name));
    for user_queue in user_queues {
        account.usage += usage_at(state, now, user_queue);
        account.rate += user_queue.rate.gpus();
        account.penalty += unweighted(state, now, user_queue) / weight;
    }
    account
}

pub(crate) fn usage_of(state: &State, now: Timestamp, name: &UserName) -> (f64, Rate) {
    let user_queue = state.index().user_queue(name);
    user_queue.map_or((0.0, Rate(0)), |user_queue| {
        (usage_at(state, now, user_queue), user_queue.rate)
    })
}

fn usage_at(state: &State, now: Timestamp, user_queue: &UserQueue) -> f64 {
    let half_life = state.settings().usage.half_life;
    let elapsed = now.since(user_queue.usage.usage_at);
    after(user_queue.usage.usage, user_queue.rate, elapsed, half_life)
}

/// How much a user has had lately, divided by their weight; 0 for one who is not known.
#[must_use]
pub fn penalty_of(state: &State, now: Timestamp, name: &UserName) -> f64 {
    let user_queue = state.index().user_queue(name);
    user_queue.map_or(0.0, |user_queue| penalty(state, now, user_queue))
}

/// The same for one whose desk is at hand.
pub(crate) fn penalty(state: &State, now: Timestamp, user_queue: &UserQueue) -> f64 {
    unweighted(state, now, user_queue) / user_queue.usage.weight
}

/// How much a user has had lately by the policy in force, whatever their weight.
pub(crate) fn unweighted(state: &State, now: Timestamp, user_queue: &UserQueue) -> f64 {
    PenaltyMeter::of(state, now).unweighted(&user_queue.usage, user_queue.rate)
}

/// Measures by the policy in force what users have had; the one measure of placing, listing and explaining.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PenaltyMeter {
    now: Timestamp,
    policy: Policy,
    meter: Meter,
    finished: u64,
}

impl PenaltyMeter {
    pub(crate) fn of(state: &State, now: Timestamp) -> Self {
        let half_life = state.settings().usage.half_life;
        Self {
            now,
            policy: state.settings().policy,
            meter: Meter::new(state.index().capacity(), half_life),
            finished: state.meta().finished_jobs,
        }
    }

    pub(crate) fn penalty(&self, snapshot: &UsageSnapshot, rate: Rate) -> f64 {
        self.unweighted(snapshot, rate) / snapshot.weight
    }

    fn unweighted(&self, snapshot: &UsageSnapshot, rate: Rate) -> f64 {
        match self.policy {
            Policy::Usage => {
                let (now, then) = (self.now.as_millis(), snapshot.usage_at.as_millis());
                let millis = now.saturating_sub(then);
                self.meter.measure(snapshot.usage, rate, millis)
            }
            Policy::Recency => {
                let since = self.finished.saturating_sub(snapshot.recency_at);
                recency::decayed(snapshot.recency, since)
            }
            Policy::Fifo => 0.0,
        }
    }
}

/// What an attempt with this allocation is charged.
pub(crate) fn rate_of(
    settings: &UsageSettings,
    node: &NodeLoad,
    job: &Job,
    held: &Allocation,
) -> Rate {
    if job.spec.class == Class::Nice {
        return Rate(0);
    }
    let Some(worker) = &node.worker else {
        return Rate(0);
    };
    let capacity = &worker.capacity;
    if held.gpus.is_empty() {
        let machine = settings.machine_rate().0;
        let part = |held: u64, all: u64| {
            let charged = u128::from(machine) * u128::from(held);
            charged.checked_div(u128::from(all)).unwrap_or(0)
        };
        let cpu = part(held.cpu.0, capacity.cpu.0);
        let memory = part(held.memory.0, capacity.memory.0);
        return Rate(u64::try_from(cpu.max(memory)).unwrap_or(u64::MAX));
    }
    let charges = held.gpus.iter().map(|share| {
        let gpu = capacity.gpus.iter().find(|gpu| gpu.id == share.id);
        let whole = gpu.map_or(Rate::GPU, |gpu| settings.gpu_rate(&gpu.model));
        whole.0 * u64::from(share.milli.0) / 1000
    });
    Rate(charges.sum())
}

/// What an attempt has added to its user's usage, decayed until the end of the time that it was held.
pub(crate) struct AttemptCharge {
    /// The minimum, which was taken at once.
    pub(crate) deposit: f64,
    /// What was charged since.
    pub(crate) live: f64,
    has_lasted: bool,
}

impl AttemptCharge {
    pub(crate) fn after(settings: &UsageSettings, rate: Rate, held: Duration) -> Self {
        let (min_charge, half_life) = (settings.min_charge, settings.half_life);
        Self {
            deposit: rate.gpus() * min_charge.as_secs_f64() * kept(held, half_life),
            live: charged(rate, held, half_life),
            has_lasted: held >= min_charge,
        }
    }

    /// What is taken off again when the account is closed.
    pub(crate) fn refund(&self, end: ChargeEnd) -> f64 {
        match end {
            ChargeEnd::Refunded => self.deposit + self.live,
            ChargeEnd::AsHeld => self.deposit,
            ChargeEnd::AtLeastMinimum if self.has_lasted => self.deposit,
            ChargeEnd::AtLeastMinimum => self.live,
        }
    }
}
