//! Jobs that go before a reservation and may have others stopped: urgent ones and those within a floor.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{GroupName, JobId, UserName};
use crate::job::{Active, Class, Job};
use crate::resources::MilliGpu;
use crate::sched::model::demand::Demand;
use crate::sched::model::reservation::Reservation;
use crate::sched::rank::account::penalty;
use crate::sched::rank::floor::{Extra, Floor, floor_of, has_floor, is_within};
use crate::sched::rank::next::{Entry, next_of};
use crate::sched::rank::order::{Head, Merge};
use crate::sched::rank::ranks::Ranks;
use crate::sched::state::core::State;
use crate::sched::state::counts::Counts;
use crate::time::Timestamp;

/// Whether a job may take what is reserved for another: an urgent one from one that is not, and one within a floor
/// from one that no floor can serve and that has no better class. As jobs are placed this may cease to hold, but
/// not begin to, so that a pass misses nothing that may start after it.
pub(crate) fn outranks(state: &State, job: &Job, other: &Job) -> bool {
    let is_urgent = |job: &Job| job.spec.class == Class::Urgent;
    if is_urgent(job) != is_urgent(other) {
        return is_urgent(job);
    }
    let index = state.index();
    let is_within_floor = || {
        let demand = Demand::of(index.cluster_size(), &job.spec.request);
        let user_queue = index.user_queue(&job.user);
        user_queue.is_some_and(|user_queue| {
            floor_of(index, user_queue, Extra::default(), demand).is_some()
        })
    };
    let may_be_served = || {
        let user_queue = index.user_queue(&other.user);
        user_queue.is_some_and(|user_queue| has_floor(index, user_queue))
    };
    job.spec.class <= other.spec.class && is_within_floor() && !may_be_served()
}

/// Whether what is reserved for another job is out of this one's reach.
pub(crate) fn is_reserved_from(state: &State, reservation: &Reservation, job: &Job) -> bool {
    let other = state.job(reservation.job);
    reservation.job != job.id && !other.is_some_and(|other| outranks(state, job, other))
}

/// Whether a queued job [`outranks`] this one.
pub(crate) fn is_outranked(state: &State, now: Timestamp, job: &Job) -> bool {
    let urgent = state.index().urgent().first().map(|key| key.job);
    let within = within_floors(state, now);
    let within = within.iter().map(|(job, _)| *job);
    let mut others = urgent.into_iter().chain(within);
    others.any(|other| {
        let other = state.job(other);
        other.is_some_and(|other| other.id != job.id && outranks(state, other, job))
    })
}

/// Whether anybody has a floor.
pub(crate) fn has_any_floor(state: &State) -> bool {
    let index = state.index();
    let mut groups = index.group_states().values();
    !index.floors().is_empty() || groups.any(|group| group.floor.is_some())
}

/// The jobs for which others may be stopped because of a floor, of each lane the first, in the order of their turns.
/// Nice jobs have nobody stopped; urgent ones need no floor for it.
pub(crate) fn within_floors(state: &State, now: Timestamp) -> Vec<(JobId, Floor)> {
    if !has_any_floor(state) {
        return Vec::new();
    }
    let index = state.index();
    let is_below = |floor: Option<MilliGpu>, counts: Counts| is_within(floor, counts.gpus + 1);
    let of_users = index.floors().iter().filter(|user| {
        let user_queue = index.user_queue(user);
        user_queue.is_some_and(|user_queue| is_below(user_queue.floor, user_queue.counts))
    });
    let of_groups = index
        .group_states()
        .values()
        .filter(|group| is_below(group.floor, group.counts))
        .flat_map(|group| &group.members);
    let users: BTreeSet<&UserName> = of_users.chain(of_groups).collect();
    let ranks = Ranks::new(state, now);
    let mut heads = Vec::new();
    for user in users {
        let Some(user_queue) = index.user_queue(user) else {
            continue;
        };
        let penalty = penalty(state, now, user_queue);
        for (lane, queue) in &user_queue.ready {
            let request = index.request(lane.shape);
            let demand = request.map(|request| Demand::of(index.cluster_size(), request));
            let floor =
                demand.and_then(|demand| floor_of(index, user_queue, Extra::default(), demand));
            let mut keys = queue.keys().iter();
            let key = keys.find(|key| key.class != Class::Urgent);
            let key = key.filter(|key| key.class == Class::Normal);
            let (Some(demand), Some(floor), Some(key)) = (demand, floor, key) else {
                continue;
            };
            let entry = Entry::new(state, now, user, lane, *key, demand);
            let only = std::iter::once((entry, floor));
            let next = next_of(state, &ranks, user_queue, 0, only);
            heads.extend(next.map(|next| {
                let ranked = next.ranked(state, &ranks, penalty);
                Head::new(ranked, next, user_queue)
            }));
        }
    }
    let mut merge = Merge::new(ranks, heads);
    std::iter::from_fn(|| merge.pop())
        .map(|head| (head.key.job, head.with))
        .collect()
}

/// What must be left to the owners of jobs that may be stopped for one within a floor.
pub(crate) struct FloorGuard<'a> {
    state: &'a State,
    asker: &'a Job,
    floor: Floor,
    /// Milli-GPU that the asker will hold.
    gain: u64,
    /// Milli-GPU of the jobs that may be stopped so far.
    users: BTreeMap<&'a UserName, u64>,
    groups: BTreeMap<&'a GroupName, u64>,
}

impl<'a> FloorGuard<'a> {
    pub(crate) fn new(state: &'a State, asker: &'a Job, floor: Floor) -> Self {
        let demand = Demand::of(state.index().cluster_size(), &asker.spec.request);
        Self {
            state,
            asker,
            floor,
            gain: demand.milli,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Whether the job may be stopped besides those before it; then it counts as stopped.
    pub(crate) fn lets(&mut self, job: &'a Job, active: &Active) -> bool {
        let index = self.state.index();
        let Some(user_queue) = index.user_queue(&job.user) else {
            return false;
        };
        let group_of = |user| {
            let user_queue = index.user_queue(user);
            user_queue.and_then(|user_queue| user_queue.group.as_ref())
        };
        let is_same_group =
            user_queue.group.is_some() && group_of(&self.asker.user) == user_queue.group.as_ref();
        if job.user == self.asker.user || (is_same_group && self.floor == Floor::Group) {
            return false;
        }
        let milli = active.allocation.milli_gpus();
        let user = self.users.entry(&job.user).or_default();
        if breaks(user_queue.floor, user_queue.counts, *user + milli, 0) && milli > 0 {
            return false;
        }
        if let (Some(name), Some(state)) = (group_of(&job.user), index.group_state_of(user_queue)) {
            let group = self.groups.entry(name).or_default();
            let gain = if is_same_group { self.gain } else { 0 };
            if breaks(state.floor, state.counts, *group + milli, gain) && milli > 0 {
                return false;
            }
            *group += milli;
        }
        *user += milli;
        true
    }
}

/// Whether less than a floor is left once so much is lost and so much gained.
fn breaks(floor: Option<MilliGpu>, counts: Counts, lost: u64, gained: u64) -> bool {
    let left = (counts.gpus - counts.leaving + gained).saturating_sub(lost);
    floor.is_some_and(|floor| left < u64::from(floor.0))
}
