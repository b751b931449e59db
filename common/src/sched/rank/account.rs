//! What users and groups are charged. Where that ranks them is left to [`crate::sched::rank::ranks`].
//!
//! An attempt is charged from its placing to its end. Its minimum is charged at once, as a deposit, so
//! that of two users with nothing to their account the second goes next; a longer attempt gets it back
//! at its end. What the infrastructure caused is taken off again as if it had never been.

use std::time::Duration;

use crate::id::{GroupName, UserName};
use crate::job::{Active, Charge, ChargeEnd, Class, Job};
use crate::penalty::recency;
use crate::penalty::usage::{Meter, Rate, after, charged, falls_to, kept};
use crate::resources::Allocation;
use crate::time::Timestamp;

use crate::sched::events::step::Step;
use crate::sched::model::settings::{Policy, UsageSettings};
use crate::sched::state::core::State;
use crate::sched::state::node_load::Room;
use crate::sched::state::user_queue::{Desk, Had};

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
    let desks = state
        .members(name)
        .filter_map(|name| state.index().desk(name));
    for desk in desks {
        account.usage += usage_at(state, now, desk);
        account.rate += desk.rate.gpus();
        account.penalty += unweighted(state, now, desk) / weight;
    }
    account
}

fn usage_of(state: &State, now: Timestamp, name: &UserName) -> (f64, Rate) {
    let desk = state.index().desk(name);
    desk.map_or((0.0, Rate(0)), |desk| {
        (usage_at(state, now, desk), desk.rate)
    })
}

fn usage_at(state: &State, now: Timestamp, desk: &Desk) -> f64 {
    let half_life = state.settings().usage.half_life;
    let elapsed = now.since(desk.had.usage_at);
    after(desk.had.usage, desk.rate, elapsed, half_life)
}

/// How much a user has had lately, divided by their weight; 0 for one who is not known.
#[must_use]
pub fn penalty_of(state: &State, now: Timestamp, name: &UserName) -> f64 {
    let desk = state.index().desk(name);
    desk.map_or(0.0, |desk| penalty(state, now, desk))
}

/// The same for one whose desk is at hand.
pub(crate) fn penalty(state: &State, now: Timestamp, desk: &Desk) -> f64 {
    unweighted(state, now, desk) / desk.had.weight
}

/// How much a user has had lately by the policy in force, whatever their weight.
pub(crate) fn unweighted(state: &State, now: Timestamp, desk: &Desk) -> f64 {
    Ruler::of(state, now).unweighted(&desk.had, desk.rate)
}

/// Measures by the policy in force what users have had; the one measure of placing, listing and explaining.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ruler {
    now: Timestamp,
    policy: Policy,
    meter: Meter,
    finished: u64,
}

impl Ruler {
    pub(crate) fn of(state: &State, now: Timestamp) -> Self {
        let half_life = state.settings().usage.half_life;
        Self {
            now,
            policy: state.settings().policy,
            meter: Meter::new(state.index().capacity(), half_life),
            finished: state.meta().finished_jobs,
        }
    }

    pub(crate) fn penalty(&self, had: &Had, rate: Rate) -> f64 {
        self.unweighted(had, rate) / had.weight
    }

    fn unweighted(&self, had: &Had, rate: Rate) -> f64 {
        match self.policy {
            Policy::Usage => {
                let (now, then) = (self.now.as_millis(), had.usage_at.as_millis());
                let millis = now.saturating_sub(then);
                self.meter.measure(had.usage, rate, millis)
            }
            Policy::Recency => {
                let since = self.finished.saturating_sub(had.recency_at);
                recency::decayed(had.recency, since)
            }
            Policy::Fifo => 0.0,
        }
    }
}

/// What an attempt with this allocation is charged.
pub(crate) fn rate_of(settings: &UsageSettings, room: &Room, job: &Job, held: &Allocation) -> Rate {
    if job.spec.class == Class::Nice {
        return Rate(0);
    }
    let Some(worker) = &room.worker else {
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
    let charges = held.gpus.iter().map(|(id, milli)| {
        let gpu = capacity.gpus.iter().find(|gpu| gpu.id == *id);
        let whole = gpu.map_or(Rate::GPU, |gpu| settings.gpu_rate(&gpu.model));
        whole.0 * u64::from(milli.0) / 1000
    });
    Rate(charges.sum())
}

impl Step<'_> {
    /// Brings a user's stored usage up to now; before anything changes what they are charged.
    pub(crate) fn settle(&mut self, name: &UserName) {
        let (usage, _) = usage_of(self.state, self.now, name);
        let now = self.now;
        self.edit_user(name, |user| {
            user.usage = usage.max(0.0);
            user.usage_at = now;
        });
    }

    /// Takes the minimum of an attempt that begins.
    pub(crate) fn charge_deposit(&mut self, name: &UserName, rate: Rate) {
        let deposit = rate.gpus() * self.state.settings().usage.min_charge.as_secs_f64();
        self.edit_user(name, |user| user.usage += deposit);
    }

    /// Closes the account of an attempt that has ended; the user is settled. What is returned is to be
    /// written down with the job.
    pub(crate) fn close_account(
        &mut self,
        name: &UserName,
        active: &Active,
        end: ChargeEnd,
    ) -> Charge {
        let charge = Charge {
            attempt: active.attempt,
            rate: active.rate,
            from: active.assigned_at,
            to: self.now,
            end,
        };
        let held = charge.to.since(charge.from);
        let settings = &self.state.settings().usage;
        let refund = Added::after(settings, charge.rate, held).refund(end);
        // Below zero there is only what sums are rounded by.
        self.edit_user(name, |user| user.usage = (user.usage - refund).max(0.0));
        charge
    }
}

/// What an attempt has added to its user's usage, decayed until the end of the time that it was held.
pub(crate) struct Added {
    /// The minimum, which was taken at once.
    pub(crate) deposit: f64,
    /// What was charged since.
    pub(crate) live: f64,
    has_lasted: bool,
}

impl Added {
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
