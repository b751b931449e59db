//! Where users stand, part by part: the numbers by which [`crate::sched::rank::ranks`] ranks them.

use std::sync::Arc;

use crate::id::UserName;
use crate::job::Job;
use crate::time::Timestamp;

use crate::sched::rank::account::penalty;
use crate::sched::rank::floor::has_floor;
use crate::sched::rank::order::Place;
use crate::sched::rank::ranks::{Added, Asked, Ranks, Standing};
use crate::sched::state::core::State;
use crate::sched::state::user_queue::Desk;

/// Where a user stands with the job that is next of theirs. Its class goes before all of this.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The job, the first of those that wait for nothing but their turn and a machine.
    pub job: Arc<Job>,
    /// Whether it is within a floor, and so goes before all that are not.
    pub is_within_floor: bool,
    /// The user's penalty.
    pub penalty: f64,
    /// The penalty of the group that they are in.
    pub group_penalty: Option<f64>,
    /// What the job's request adds to a penalty.
    pub ask: f64,
    /// What its waiting takes off.
    pub aging: f64,
}

impl Turn {
    /// What ranks the user among the members of their group, or at the top for one without; the lower, the sooner.
    #[must_use]
    pub fn rank_value(&self) -> f64 {
        self.penalty + (self.ask - self.aging)
    }

    /// What ranks their group at the top when this job is the next of its members'.
    #[must_use]
    pub fn group_rank_value(&self) -> Option<f64> {
        let penalty = self.group_penalty?;
        Some(penalty + (self.ask - self.aging))
    }
}

/// Where all users stand at one instant.
#[derive(Debug)]
pub struct Turns<'a> {
    state: &'a State,
    now: Timestamp,
    ranks: Ranks,
}

impl<'a> Turns<'a> {
    /// Measures what groups have had.
    #[must_use]
    pub fn new(state: &'a State, now: Timestamp) -> Self {
        let ranks = Ranks::new(state, now);
        Self { state, now, ranks }
    }

    /// Where a user stands; nothing for one of whom no job waits for its turn.
    #[must_use]
    pub fn of(&self, user: &UserName) -> Option<Turn> {
        let Self { state, now, ranks } = self;
        let desk = state.index().desk(user)?;
        let next = next_of(state, ranks, desk, 0, firsts(desk))?;
        let Added { ask, aging } =
            ranks.added(state.settings(), next.asked, next.place.submitted_at);
        Some(Turn {
            job: Arc::clone(state.job(next.place.job)?),
            is_within_floor: !next.is_past_floor,
            penalty: penalty(state, *now, desk),
            group_penalty: ranks.group_penalty(desk),
            ask,
            aging,
        })
    }
}

/// Which job of a user is next.
pub(crate) struct Next {
    pub(crate) place: Place,
    pub(crate) asked: Asked,
    pub(crate) is_past_floor: bool,
    /// Of which of the lots.
    pub(crate) lot: usize,
}

impl Next {
    /// Where a user with this penalty stands with it.
    pub(crate) fn standing(&self, state: &State, ranks: &Ranks, penalty: f64) -> Standing {
        let (settings, since) = (state.settings(), self.place.submitted_at);
        ranks.standing(settings, penalty, self.is_past_floor, self.asked, since)
    }
}

/// Which of the first jobs of a user's lots is next. `besides` is what the user is counted as holding besides what
/// they do.
pub(crate) fn next_of(
    state: &State,
    ranks: &Ranks,
    desk: &Desk,
    besides: u64,
    firsts: impl Iterator<Item = Option<Place>>,
) -> Option<Next> {
    let has_floor = has_floor(state.index(), desk);
    let nexts = firsts.enumerate().filter_map(|(lot, first)| {
        let place = first?;
        let asked = asked(state, place)?;
        let is_past_floor = !has_floor || ranks.is_past_floor(state, desk, besides, asked);
        Some(Next {
            place,
            asked,
            is_past_floor,
            lot,
        })
    });
    nexts.min_by_key(|next| (next.place.class, next.is_past_floor, next.place))
}

/// The first of a user's jobs of each shape that may start.
pub(crate) fn firsts(desk: &Desk) -> impl Iterator<Item = Option<Place>> {
    desk.ready.values().map(|places| places.first().copied())
}

/// What the job at a place asks for.
pub(crate) fn asked(state: &State, place: Place) -> Option<Asked> {
    let job = state.job(place.job)?;
    Some(Asked::by(state, &job.spec.request))
}
