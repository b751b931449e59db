//! The receipt: what a user's usage is made of, attempt by attempt.
//!
//! Usage is linear, so that it is the sum of what each attempt has left in it after decay. The lines are
//! computed from the attempts alone and held against the user's account, which knows nothing of them: what
//! they do not explain is told as such and not hidden.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{JobId, UserName};
use crate::job::{Active, Charge, ChargeEnd, Job};
use crate::penalty::usage::{Rate, kept};
use crate::time::Timestamp;

use crate::sched::model::settings::{Policy, UsageSettings};
use crate::sched::rank::account::{Account, AttemptCharge, account_of};
use crate::sched::state::core::State;
use crate::sched::state::user_queue::LaneQueue;

/// A difference below this part of the usage is what floating-point numbers are rounded by …
const ROUNDING_PART: f64 = 1e-9;
/// … and so is one of less than a millionth of a GPU-second, where larger sums cancelled out.
const ROUNDING_SECONDS: f64 = 1e-6;

/// What a user's usage is made of at one instant, in weighted GPU-seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The account; its usage is the sum of the lines' `left` and of `earlier`.
    pub account: Account,
    /// The penalty in force; under another than `usage` the usage is kept up to date and ranks nobody.
    pub policy: Policy,
    /// After so long half of everything is forgotten.
    pub half_life: Duration,
    /// Each attempt is charged at least for so long.
    pub min_charge: Duration,
    /// The attempts, the one that was placed last first.
    pub lines: Vec<Line>,
    /// What is left of attempts that are on no line because their jobs, or all but a job's latest charges,
    /// are forgotten. After a change of the half-life or the minimum it also holds the difference that this
    /// makes to older lines, and can be below 0.
    pub earlier: f64,
}

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Of which job.
    pub job: JobId,
    /// Its number.
    pub attempt: u32,
    /// What is charged while it holds its machine.
    pub rate: Rate,
    /// When it was placed.
    pub from: Timestamp,
    /// How it went on.
    pub course: Course,
    /// What was charged for it, before any refund and any decay.
    pub charged: f64,
    /// What of it is in the usage now.
    pub left: f64,
}

/// How an attempt went on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Course {
    /// It holds its machine, or did so until now and is still to be settled.
    Held {
        /// What is left of its minimum, which was taken at once and is in the usage besides what it is
        /// charged for the time. It is given back at the end if the attempt outlasts the minimum.
        deposit: f64,
    },
    /// It has ended.
    Ended {
        /// When.
        to: Timestamp,
        /// How its account was closed.
        end: ChargeEnd,
    },
}

impl Line {
    /// What of the charge was given back.
    #[must_use]
    pub const fn refunded(&self) -> f64 {
        match self.course {
            Course::Ended {
                end: ChargeEnd::Refunded,
                ..
            } => self.charged,
            Course::Ended {
                end: ChargeEnd::AtLeastMinimum | ChargeEnd::AsHeld,
                ..
            }
            | Course::Held { .. } => 0.0,
        }
    }

    fn of_held(job: &Job, active: &Active, now: Timestamp, settings: &UsageSettings) -> Self {
        let until = active.charged_until(now);
        let held = until.since(active.assigned_at);
        let added = AttemptCharge::after(settings, active.rate, held);
        let kept = kept(now.since(until), settings.half_life);
        Self {
            job: job.id,
            attempt: active.attempt,
            rate: active.rate,
            from: active.assigned_at,
            course: Course::Held {
                deposit: added.deposit * kept,
            },
            charged: active.rate.gpus() * held.as_secs_f64(),
            left: (added.deposit + added.live) * kept,
        }
    }

    fn of_charge(job: &Job, charge: &Charge, now: Timestamp, settings: &UsageSettings) -> Self {
        let held = charge.to.since(charge.from);
        let added = AttemptCharge::after(settings, charge.rate, held);
        let stayed = added.deposit + added.live - added.refund(charge.end);
        let billed = match charge.end {
            ChargeEnd::AsHeld => held,
            ChargeEnd::AtLeastMinimum | ChargeEnd::Refunded => held.max(settings.min_charge),
        };
        Self {
            job: job.id,
            attempt: charge.attempt,
            rate: charge.rate,
            from: charge.from,
            course: Course::Ended {
                to: charge.to,
                end: charge.end,
            },
            charged: charge.rate.gpus() * billed.as_secs_f64(),
            left: stayed * kept(now.since(charge.to), settings.half_life),
        }
    }
}

/// What a user's usage is made of; empty for one who is not known.
#[must_use]
pub fn receipt(state: &State, now: Timestamp, name: &UserName) -> Receipt {
    let settings = &state.settings().usage;
    let account = account_of(state, now, name);
    let mut lines: Vec<Line> = Vec::new();
    for job in jobs_that_were_placed(state, name) {
        let ended = job.charges.iter();
        lines.extend(ended.map(|charge| Line::of_charge(job, charge, now, settings)));
        let held = job.state.active().filter(|active| active.rate != Rate(0));
        lines.extend(held.map(|active| Line::of_held(job, active, now, settings)));
    }
    lines.sort_by_key(|line| Reverse((line.from, line.job, line.attempt)));
    let explained: f64 = lines.iter().map(|line| line.left).sum();
    let rest = account.usage - explained;
    let is_rounding = rest.abs() <= ROUNDING_SECONDS.max(ROUNDING_PART * account.usage);
    Receipt {
        earlier: if is_rounding { 0.0 } else { rest },
        account,
        policy: state.settings().policy,
        half_life: settings.half_life,
        min_charge: settings.min_charge,
        lines,
    }
}

/// The user's jobs that have, had or may have had a machine, without a look at others' waiting ones.
fn jobs_that_were_placed<'a>(
    state: &'a State,
    name: &'a UserName,
) -> impl Iterator<Item = &'a Arc<Job>> {
    let index = state.index();
    let finished = index.history().iter().map(|(_, job)| *job);
    let nodes = index.nodes().values();
    let held = nodes.flat_map(|node| node.jobs.keys().copied());
    let user_queue = index.user_queue(name).into_iter();
    let waiting = user_queue.flat_map(|user_queue| {
        user_queue
            .ready
            .values()
            .flat_map(LaneQueue::keys)
            .chain(&user_queue.parked)
    });
    let ids = finished.chain(held).chain(waiting.map(|place| place.job));
    ids.filter_map(|id| state.job(id))
        .filter(move |job| job.user == *name)
}
