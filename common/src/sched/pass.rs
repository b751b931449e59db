//! One walk over the waiting jobs in the order of [`super::order`], and what it learns on the way.
//!
//! A walk looks at users only, and at their jobs only of shapes that may still start: once no shape has room
//! any more it is over, however many jobs wait.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::id::{JobId, UserName};
use crate::time::Timestamp;

use super::account::{part_asked, penalty, rank};
use super::index::{Desk, ShapeId};
use super::order::{Head, Merge, Place};
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
    now: Timestamp,
    backfill: Backfill,
    /// The shapes that are looked at, and the part of all GPUs that each asks for.
    shapes: BTreeMap<ShapeId, f64>,
    /// Those of them that no machine has room for, but of which one may be the first that cannot start.
    full: BTreeSet<ShapeId>,
    /// What users' guards keep back.
    guarded: BTreeSet<(UserName, ShapeId)>,
    merge: Merge<ShapeId>,
    pub(super) blocked: Option<Blocked>,
    pub(super) plan: Option<Plan>,
    looked_behind: usize,
}

/// A job whose turn it is.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) job: JobId,
    pub(super) shape: ShapeId,
    /// Whether it is known that no machine has room for it.
    pub(super) is_full: bool,
    user: UserName,
    place: Place,
}

impl Pass {
    /// A walk over jobs of the `open` shapes, for which there is room, and, as long as the first job that
    /// cannot start is not known, of the `full` ones.
    pub(super) fn new(
        state: &State,
        now: Timestamp,
        open: &[ShapeId],
        full: &[ShapeId],
        kept: Option<Reservation>,
    ) -> Self {
        let backfill = state.settings().backfill;
        let looks_for_blocked = match backfill {
            Backfill::Easy => kept.is_none() && !state.is_hopeless(now),
            Backfill::Strict => true,
            Backfill::BestEffort => false,
        };
        let full: &[ShapeId] = if looks_for_blocked { full } else { &[] };
        let shapes = open.iter().chain(full).filter_map(|shape| {
            let request = state.index().request(*shape)?;
            Some((*shape, part_asked(state, request)))
        });
        let mut pass = Self {
            now,
            backfill,
            shapes: shapes.collect(),
            full: full.iter().copied().collect(),
            guarded: BTreeSet::new(),
            merge: Merge::of(std::iter::empty()),
            blocked: None,
            plan: kept.as_ref().and_then(|kept| Plan::new(state, now, kept)),
            looked_behind: 0,
        };
        pass.blocked = kept.map(Blocked::Reserved);
        let desks = state.index().desks().values();
        let heads = desks.filter_map(|desk| pass.head(state, desk, Bound::Unbounded, None));
        pass.merge = Merge::of(heads);
        pass
    }

    pub(super) fn next(&mut self, state: &State) -> Option<Turn> {
        loop {
            if self.shapes.is_empty() {
                return None;
            }
            let (place, shape) = self.merge.pop()?;
            let user = state.job(place.job)?.user.clone();
            let is_ruled_out = !self.shapes.contains_key(&shape)
                || (!self.guarded.is_empty() && self.guarded.contains(&(user.clone(), shape)));
            if is_ruled_out {
                // The head was put up before it was known that there is no room for it.
                self.put_up(state, &user, Bound::Excluded(place));
                continue;
            }
            return Some(Turn {
                job: place.job,
                shape,
                is_full: self.full.contains(&shape),
                user,
                place,
            });
        }
    }

    /// Takes note of a job that was placed: nothing is kept for it any more, and `open` says for which of the
    /// shapes there is still room.
    pub(super) fn placed(
        &mut self,
        state: &State,
        turn: &Turn,
        mut open: impl FnMut(ShapeId) -> bool,
    ) {
        let kept = self.plan.as_ref().map(|plan| plan.reservation.job);
        if kept == Some(turn.job) {
            self.plan = None;
            self.blocked = None;
        }
        let full = &mut self.full;
        let looks_on = self.backfill != Backfill::BestEffort && self.blocked.is_none();
        self.shapes.retain(|shape, _| {
            if full.contains(shape) || open(*shape) {
                return true;
            }
            // It is of interest only as what may be the first that cannot start.
            full.insert(*shape);
            looks_on
        });
        self.put_up(state, &turn.user.clone(), Bound::Excluded(turn.place));
    }

    /// Takes note of a job that was not placed. Whether the walk is over.
    pub(super) fn kept(&mut self, state: &State, turn: &Turn, kept: &Kept) -> bool {
        if self.plan.is_some() {
            self.looked_behind += 1;
            if self.looked_behind > state.settings().backfill_window {
                return true;
            }
        }
        match kept {
            Kept::Job => {}
            Kept::Shape => {
                self.shapes.remove(&turn.shape);
                if self.waits_for(state, turn) {
                    return true;
                }
            }
            Kept::ShapeOfUser => {
                self.guarded.insert((turn.user.clone(), turn.shape));
            }
            Kept::User => return false,
        }
        self.put_up(state, &turn.user.clone(), Bound::Excluded(turn.place));
        false
    }

    /// What follows from the first job that cannot start. Whether all wait for it.
    fn waits_for(&mut self, state: &State, turn: &Turn) -> bool {
        if self.blocked.is_some() {
            return false;
        }
        match self.backfill {
            Backfill::BestEffort => false,
            Backfill::Strict => {
                self.blocked = Some(Blocked::Awaited(turn.job));
                true
            }
            Backfill::Easy => {
                if state.is_hopeless(self.now) {
                    return false;
                }
                let job = state.job(turn.job);
                let reservation = job.and_then(|job| reserve(state, self.now, job, None));
                match reservation {
                    Some(reservation) => {
                        self.plan = Plan::new(state, self.now, &reservation);
                        self.blocked = Some(Blocked::Reserved(reservation));
                    }
                    None => self.blocked = Some(Blocked::Unknown(turn.job, self.now)),
                }
                let full = &self.full;
                self.shapes.retain(|shape, _| !full.contains(shape));
                false
            }
        }
    }

    fn put_up(&mut self, state: &State, user: &UserName, from: Bound<Place>) {
        let Some(desk) = state.index().desk(user) else {
            return;
        };
        if let Some(head) = self.head(state, desk, from, Some(user)) {
            self.merge.push(head);
        }
    }

    /// The user's first job from there on that may still be looked at.
    fn head(
        &self,
        state: &State,
        desk: &Desk,
        from: Bound<Place>,
        user: Option<&UserName>,
    ) -> Option<Head<ShapeId>> {
        let may = |shape: ShapeId| {
            self.guarded.is_empty()
                || user.is_none_or(|user| !self.guarded.contains(&(user.clone(), shape)))
        };
        let mut first: Option<(Place, ShapeId, f64)> = None;
        for (shape, asked) in &self.shapes {
            let Some(places) = desk.ready.get(shape).filter(|_| may(*shape)) else {
                continue;
            };
            let place = match from {
                Bound::Unbounded => places.first(),
                Bound::Included(_) | Bound::Excluded(_) => {
                    places.range((from, Bound::Unbounded)).next()
                }
            };
            if let Some(place) = place
                && first.is_none_or(|(first, ..)| *place < first)
            {
                first = Some((*place, *shape, *asked));
            }
        }
        let (place, shape, asked) = first?;
        let penalty = penalty(state, self.now, desk);
        let rank = rank(
            state.settings(),
            self.now,
            penalty,
            asked,
            place.submitted_at,
        );
        Some(Head::new(rank, place, shape))
    }
}
