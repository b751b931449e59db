//! Floors: GPUs that a user or a group is guaranteed. A job that keeps what is held within a floor goes before
//! every other of its class, and may have others stopped that their owners are not guaranteed.
//!
//! Floors are of GPUs, so jobs that ask for none have no part in them: there would be no end to what goes first.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{GroupName, UserName};
use crate::job::{Active, Class, Job};
use crate::resources::MilliGpu;
use crate::time::Timestamp;

use crate::sched::model::shape::ShapeId;
use crate::sched::rank::account::penalty;
use crate::sched::rank::order::{Head, Merge};
use crate::sched::rank::ranks::{Asked, Ranks};
use crate::sched::state::core::State;
use crate::sched::state::counts::Tally;
use crate::sched::state::index::Index;
use crate::sched::state::user_queue::Desk;

/// Whose floor a job is within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Its user's.
    User,
    /// That of its user's group alone.
    Group,
}

/// Thousandths of GPUs that are counted as held besides those that are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Besides {
    pub(crate) user: u64,
    pub(crate) group: u64,
}

/// Whether a floor may serve any job of the user of a desk.
pub(crate) fn has_floor(index: &Index, desk: &Desk) -> bool {
    let team = index.team_of(desk);
    desk.floor.is_some() || team.is_some_and(|team| team.floor.is_some())
}

/// The floor within which a job that asks for this keeps what its user, or their group, holds.
pub(crate) fn floor_of(
    index: &Index,
    desk: &Desk,
    besides: Besides,
    asked: Asked,
) -> Option<Floor> {
    if asked.milli == 0 {
        return None;
    }
    if holds(desk.floor, desk.tally.gpus + besides.user + asked.milli) {
        return Some(Floor::User);
    }
    let team = index.team_of(desk)?;
    let held = team.tally.gpus + besides.group + asked.milli;
    holds(team.floor, held).then_some(Floor::Group)
}

fn holds(floor: Option<MilliGpu>, held: u64) -> bool {
    floor.is_some_and(|floor| held <= u64::from(floor.0))
}

/// Whether a job may take what is kept for another: an urgent one from one that is not, and one within a floor
/// from one that no floor may serve and that has no better class. As jobs are placed this may cease to hold, but
/// not begin to, so that a pass passes over nothing that may start after it.
pub(crate) fn outranks(state: &State, job: &Job, other: &Job) -> bool {
    let is_urgent = |job: &Job| job.spec.class == Class::Urgent;
    if is_urgent(job) != is_urgent(other) {
        return is_urgent(job);
    }
    let index = state.index();
    let is_within = || {
        let asked = Asked::by(state, &job.spec.request);
        let desk = index.desk(&job.user);
        desk.is_some_and(|desk| floor_of(index, desk, Besides::default(), asked).is_some())
    };
    let may_be_served = || {
        let desk = index.desk(&other.user);
        desk.is_some_and(|desk| has_floor(index, desk))
    };
    job.spec.class <= other.spec.class && is_within() && !may_be_served()
}

/// Whether a job waits that [`outranks`] this one, of each user and shape the first.
pub(crate) fn is_outranked(state: &State, now: Timestamp, job: &Job) -> bool {
    let urgent = state.index().urgent().first().map(|place| place.job);
    let within = within_floors(state, now);
    let within = within.iter().map(|(head, _)| head.place.job);
    let mut others = urgent.into_iter().chain(within);
    others.any(|other| {
        let other = state.job(other);
        other.is_some_and(|other| other.id != job.id && outranks(state, other, job))
    })
}

/// The jobs for which others may be stopped by a floor, of each user and shape the first, in the order of their
/// turns. Nice jobs have nobody stopped; urgent ones need no floor for it.
pub(crate) fn within_floors(state: &State, now: Timestamp) -> Vec<(Head<ShapeId>, Floor)> {
    let index = state.index();
    let nobody_has_one =
        index.floors().is_empty() && index.teams().values().all(|team| team.floor.is_none());
    if nobody_has_one {
        return Vec::new();
    }
    let is_below = |floor: Option<MilliGpu>, tally: Tally| holds(floor, tally.gpus + 1);
    let of_users = index.floors().iter().filter(|user| {
        let desk = index.desk(user);
        desk.is_some_and(|desk| is_below(desk.floor, desk.tally))
    });
    let teams = index.teams().values();
    let of_groups = teams.filter(|team| is_below(team.floor, team.tally));
    let of_groups = of_groups.flat_map(|team| &team.members);
    let users: BTreeSet<&UserName> = of_users.chain(of_groups).collect();
    let mut floors = BTreeMap::new();
    let mut merge = Merge::new(Ranks::new(state, now));
    let desks = users.into_iter().filter_map(|user| index.desk(user));
    let mut heads = Vec::new();
    for desk in desks {
        let penalty = penalty(state, now, desk);
        for (shape, places) in &desk.ready {
            let asked = index
                .request(*shape)
                .map(|request| Asked::by(state, request));
            let floor = asked.and_then(|asked| floor_of(index, desk, Besides::default(), asked));
            let place = places.iter().find(|place| place.class != Class::Urgent);
            let place = place.filter(|place| place.class == Class::Normal);
            if let (Some(asked), Some(floor), Some(place)) = (asked, floor, place) {
                let (settings, since) = (state.settings(), place.submitted_at);
                let standing = merge.ranks.standing(settings, penalty, false, asked, since);
                heads.push(Head::new(standing, *place, desk, *shape));
                floors.insert(place.job, floor);
            }
        }
    }
    merge.fill(heads);
    let in_order = std::iter::from_fn(|| merge.pop());
    in_order
        .filter_map(|head| Some((floors.get(&head.place.job).copied()?, head)))
        .map(|(floor, head)| (head, floor))
        .collect()
}

/// What must be left to the owners of jobs that may be stopped for one within a floor.
pub(crate) struct Fence<'a> {
    state: &'a State,
    asker: &'a Job,
    floor: Floor,
    /// Thousandths of GPUs that the asker will hold.
    gain: u64,
    /// Thousandths of GPUs of the jobs that may be stopped so far.
    users: BTreeMap<&'a UserName, u64>,
    groups: BTreeMap<&'a GroupName, u64>,
}

impl<'a> Fence<'a> {
    pub(crate) fn new(state: &'a State, asker: &'a Job, floor: Floor) -> Self {
        Self {
            state,
            asker,
            floor,
            gain: Asked::by(state, &asker.spec.request).milli,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Whether the job may be stopped besides those before it; then it counts as stopped.
    pub(crate) fn lets(&mut self, job: &'a Job, active: &Active) -> bool {
        let index = self.state.index();
        let Some(desk) = index.desk(&job.user) else {
            return false;
        };
        let group_of = |user| index.desk(user).and_then(|desk| desk.group.as_ref());
        let is_same_group =
            desk.group.is_some() && group_of(&self.asker.user) == desk.group.as_ref();
        if job.user == self.asker.user || (is_same_group && self.floor == Floor::Group) {
            return false;
        }
        let milli = active.allocation.milli_gpus();
        let user = self.users.entry(&job.user).or_default();
        if breaks(desk.floor, desk.tally, *user + milli, 0) && milli > 0 {
            return false;
        }
        if let (Some(name), Some(team)) = (group_of(&job.user), index.team_of(desk)) {
            let group = self.groups.entry(name).or_default();
            let gain = if is_same_group { self.gain } else { 0 };
            if breaks(team.floor, team.tally, *group + milli, gain) && milli > 0 {
                return false;
            }
            *group += milli;
        }
        *user += milli;
        true
    }
}

/// Whether less than a floor is left once so much is lost and so much gained.
fn breaks(floor: Option<MilliGpu>, tally: Tally, lost: u64, gained: u64) -> bool {
    let left = (tally.gpus - tally.leaving + gained).saturating_sub(lost);
    floor.is_some_and(|floor| left < u64::from(floor.0))
}
