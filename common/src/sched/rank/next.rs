//! A user's next job. The only place that orders the jobs of one user.
//!
//! Class goes first, then jobs within a floor, then priority. Among equal jobs the one with the largest slowdown
//! goes first, (wait + expected) / expected, so that short jobs do not wait as long as long ones; with
//! [`JobOrder::Submission`] the one that was submitted first.

use std::time::Duration;

use crate::id::UserName;
use crate::sched::model::demand::Demand;
use crate::sched::model::lane::Lane;
use crate::sched::model::queue_key::QueueKey;
use crate::sched::model::settings::JobOrder;
use crate::sched::state::core::State;
use crate::sched::state::run_times::planned_length;
use crate::sched::state::user_queue::UserQueue;
use crate::time::Timestamp;

use super::floor::has_floor;
use super::ranks::{Ranked, Ranks};
use super::value::Value;

/// No job counts as shorter than this, so that a slowdown is finite.
const SHORTEST: Duration = Duration::from_secs(1);

/// A queued job of a user, with what orders it among the user's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) key: QueueKey,
    pub(crate) demand: Demand,
    urgency: Value,
}

impl Entry {
    /// A job of this lane, at this instant.
    pub(crate) fn new(
        state: &State,
        now: Timestamp,
        user: &UserName,
        lane: &Lane,
        key: QueueKey,
        demand: Demand,
    ) -> Self {
        Self {
            key,
            demand,
            urgency: urgency(state, now, user, lane, key.submitted_at),
        }
    }

    /// Where the job stands among those of its user that are equal in class and floors.
    pub(crate) fn own_order(&self) -> impl Ord + use<> {
        let key = &self.key;
        let (since, task) = (key.submitted_at, key.next);
        (key.priority, self.urgency, since, task, key.job)
    }
}

/// The next job of a user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next<T> {
    pub(crate) entry: Entry,
    pub(crate) is_past_floor: bool,
    /// What the caller gave with the job.
    pub(crate) with: T,
}

impl<T> Next<T> {
    /// Where a user with this penalty ranks with the job.
    pub(crate) fn ranked(&self, state: &State, ranks: &Ranks, penalty: f64) -> Ranked {
        let Entry { key, demand, .. } = self.entry;
        let since = key.submitted_at;
        ranks.ranked(state.settings(), penalty, self.is_past_floor, demand, since)
    }

    /// The slowdown of the job, negated so that the largest goes first; 0 in [`JobOrder::Submission`].
    pub(crate) const fn urgency(&self) -> Value {
        self.entry.urgency
    }
}

/// The next of these jobs of a user. `extra` milli-GPU are counted as held by the user besides what they hold.
pub(crate) fn next_of<T>(
    state: &State,
    ranks: &Ranks,
    user_queue: &UserQueue,
    extra: u64,
    entries: impl Iterator<Item = (Entry, T)>,
) -> Option<Next<T>> {
    let has_floor = has_floor(state.index(), user_queue);
    let nexts = entries.map(|(entry, with)| {
        let is_past_floor =
            !has_floor || ranks.is_past_floor(state, user_queue, extra, entry.demand);
        Next {
            entry,
            is_past_floor,
            with,
        }
    });
    nexts.min_by_key(|next| {
        let entry = &next.entry;
        (entry.key.class, next.is_past_floor, entry.own_order())
    })
}

/// The next of all jobs of a user that wait only for their turn.
pub(crate) fn next_ready(
    state: &State,
    ranks: &Ranks,
    user: &UserName,
    user_queue: &UserQueue,
) -> Option<Next<()>> {
    let index = state.index();
    let entries = user_queue.ready.iter().filter_map(|(lane, queue)| {
        let demand = Demand::of(index.cluster_size(), index.request(lane.shape)?);
        let entry = Entry::new(state, ranks.now(), user, lane, queue.first, demand);
        Some((entry, ()))
    });
    next_of(state, ranks, user_queue, 0, entries)
}

/// The slowdown of a lane's job that waits since then, negated.
fn urgency(state: &State, now: Timestamp, user: &UserName, lane: &Lane, since: Timestamp) -> Value {
    match state.settings().order {
        JobOrder::Submission => Value(0.0),
        JobOrder::Slowdown => {
            let expected = planned_length(state, user, lane, None)
                .max(SHORTEST)
                .as_secs_f64();
            let waited = now.since(since).as_secs_f64();
            Value(-(waited + expected) / expected)
        }
    }
}
