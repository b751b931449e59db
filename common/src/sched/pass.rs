//! One walk over the waiting jobs in the order of [`super::order`], and what it learns on the way.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::id::{JobId, UserName};
use crate::time::Timestamp;

use super::account::{penalty_of, rank};
use super::index::ShapeId;
use super::order::{Merge, Place, Rank};
use super::reserve::{Plan, Reservation, reserve};
use super::settings::Backfill;
use super::state::{Blocked, State};

/// What is passed over when a job cannot be placed.
pub(super) enum Kept {
    /// It alone.
    Job,
    /// Every job that asks for the same.
    Shape,
    /// Every job of its user that asks for the same.
    ShapeOfUser,
    /// Every job of its user.
    User,
}

/// One walk over the waiting jobs.
pub(super) struct Pass {
    merge: Merge<usize>,
    takers: Vec<Taker>,
    /// Shapes that are passed over, because no machine has room for them.
    pub(super) full: BTreeSet<ShapeId>,
    /// Shapes that no machine has room for but that may be the first that cannot start.
    pub(super) known_full: BTreeSet<ShapeId>,
    pub(super) blocked: Option<Blocked>,
    pub(super) plan: Option<Plan>,
    pub(super) looked_behind: usize,
    now: Timestamp,
}

/// A user who takes part in a pass.
struct Taker {
    user: UserName,
    /// Shapes of theirs that their guards keep back.
    kept: BTreeSet<ShapeId>,
}

/// A job whose turn it is.
pub(super) struct Turn {
    taker: usize,
    pub(super) shape: ShapeId,
    place: Place,
    pub(super) job: JobId,
}

impl Pass {
    pub(super) fn new(
        state: &State,
        now: Timestamp,
        full: Vec<ShapeId>,
        backfill: Backfill,
    ) -> Self {
        let desks = state.index().desks().iter();
        let takers: Vec<Taker> = desks
            .filter(|(_, desk)| !desk.ready.is_empty())
            .map(|(user, _)| Taker {
                user: user.clone(),
                kept: BTreeSet::new(),
            })
            .collect();
        let mut pass = Self {
            merge: Merge::new(),
            takers,
            full: BTreeSet::new(),
            known_full: full.into_iter().collect(),
            blocked: None,
            plan: None,
            looked_behind: 0,
            now,
        };
        if backfill == Backfill::BestEffort {
            pass.pass_over_full();
        }
        for taker in 0..pass.takers.len() {
            pass.push(state, taker, None);
        }
        pass
    }

    /// Jobs that nobody has room for are of no further interest.
    fn pass_over_full(&mut self) {
        self.full.append(&mut self.known_full);
    }

    /// Keeps a place from the start on.
    pub(super) fn keep(&mut self, state: &State, reservation: Reservation) {
        self.plan = Plan::new(state, self.now, &reservation);
        self.blocked = Some(Blocked::Reserved(reservation));
        self.pass_over_full();
    }

    /// Keeps nothing any more for a job that was placed.
    pub(super) fn release(&mut self, placed: JobId) {
        let kept = self.plan.as_ref().map(|plan| plan.reservation.job);
        if kept == Some(placed) {
            self.plan = None;
            self.blocked = None;
        }
    }

    /// What follows from the first job that cannot start: whether the pass ends there.
    pub(super) fn waits_for(&mut self, state: &State, turn: &Turn, backfill: Backfill) -> bool {
        if self.blocked.is_some() {
            return false;
        }
        match backfill {
            Backfill::BestEffort => false,
            Backfill::Strict => {
                self.blocked = Some(Blocked::Awaited(turn.job));
                true
            }
            Backfill::Easy => {
                let job = state.job(turn.job);
                let reservation = job.and_then(|job| reserve(state, self.now, job, None));
                if let Some(reservation) = reservation {
                    self.keep(state, reservation);
                }
                false
            }
        }
    }

    pub(super) fn next(&mut self, state: &State) -> Option<Turn> {
        loop {
            let (taker, place) = self.merge.pop()?;
            // The head was put up before later findings; what they rule out is passed over here.
            match self.head(state, taker, Bound::Included(place)) {
                Some((shape, head)) if head == place => {
                    return Some(Turn {
                        taker,
                        shape,
                        place,
                        job: place.job,
                    });
                }
                Some((_, head)) => {
                    let rank = self.rank(state, taker, head);
                    self.merge.push(taker, rank, head);
                }
                None => {}
            }
        }
    }

    /// Puts up the job after this turn's.
    pub(super) fn put_up(&mut self, state: &State, turn: &Turn) {
        self.push(state, turn.taker, Some(turn.place));
    }

    pub(super) fn skip_shape(&mut self, turn: &Turn) {
        if let Some(taker) = self.takers.get_mut(turn.taker) {
            taker.kept.insert(turn.shape);
        }
    }

    fn push(&mut self, state: &State, taker: usize, after: Option<Place>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        if let Some((_, head)) = self.head(state, taker, from) {
            let rank = self.rank(state, taker, head);
            self.merge.push(taker, rank, head);
        }
    }

    fn head(&self, state: &State, taker: usize, from: Bound<Place>) -> Option<(ShapeId, Place)> {
        let taker = self.takers.get(taker)?;
        let desk = state.index().desk(&taker.user)?;
        let shapes = desk.ready.iter();
        shapes
            .filter(|(shape, _)| !self.full.contains(shape) && !taker.kept.contains(shape))
            .filter_map(|(shape, places)| {
                let place = places.range((from, Bound::Unbounded)).next()?;
                Some((*shape, *place))
            })
            .min_by_key(|(_, place)| *place)
    }

    fn rank(&self, state: &State, taker: usize, place: Place) -> Rank {
        let ranked = self.takers.get(taker).zip(state.job(place.job));
        ranked.map_or(Rank(f64::INFINITY), |(taker, job)| {
            rank(
                state,
                self.now,
                penalty_of(state, self.now, &taker.user),
                job,
            )
        })
    }
}
