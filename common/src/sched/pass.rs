//! One walk over the waiting jobs in the order of [`super::order`], and what it learns on the way.
//!
//! A walk looks at users only, and at their jobs only of shapes that may still start: once no shape has room
//! any more it is over, however many jobs wait. A user's own jobs are looked at in their own order; where a
//! floor may serve one of a later shape first, each shape's in theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::id::{JobId, UserName};
use crate::job::Class;
use crate::time::Timestamp;

use super::account::penalty;
use super::desk::Desk;
use super::floor::has_floor;
use super::index::ShapeId;
use super::order::{Head, Merge, Place};
use super::rank::{Asked, Ranks};
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
    /// The shapes that are looked at, and what each asks for.
    shapes: BTreeMap<ShapeId, Asked>,
    /// Those of them that no machine has room for, but of which one may be the first that cannot start.
    full: BTreeSet<ShapeId>,
    /// What users' guards keep back.
    guarded: BTreeSet<(UserName, ShapeId)>,
    /// How far the jobs of users with a floor were looked at.
    looked_at: BTreeMap<(UserName, ShapeId), Place>,
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
    /// What the user had had, if that counts for a group.
    had: Option<f64>,
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
            Some((*shape, Asked::by(state, request)))
        });
        let mut pass = Self {
            now,
            backfill,
            shapes: shapes.collect(),
            full: full.iter().copied().collect(),
            guarded: BTreeSet::new(),
            looked_at: BTreeMap::new(),
            merge: Merge::new(Ranks::new(state, now)),
            blocked: None,
            plan: kept.as_ref().and_then(|kept| Plan::new(state, now, kept)),
            looked_behind: 0,
        };
        pass.blocked = kept.map(Blocked::Reserved);
        let desks = state.index().desks().iter();
        let heads = desks.filter_map(|(user, desk)| pass.head(state, user, desk, Bound::Unbounded));
        let heads: Vec<_> = heads.collect();
        pass.merge.fill(heads.into_iter());
        pass
    }

    pub(super) fn next(&mut self, state: &State) -> Option<Turn> {
        loop {
            if self.shapes.is_empty() {
                return None;
            }
            let head = self.merge.pop()?;
            let (place, shape) = (head.place, head.with);
            let user = state.job(place.job)?.user.clone();
            let desk = state.index().desk(&user)?;
            let is_ruled_out = !self.shapes.contains_key(&shape)
                || (!self.guarded.is_empty() && self.guarded.contains(&(user.clone(), shape)));
            if is_ruled_out {
                // The head was put up before it was known that there is no room for it.
                self.put_up(state, &user, shape, place);
                continue;
            }
            if self.merge.ranks.has_moved(desk) {
                let anew = self.head(state, &user, desk, Bound::Included(place));
                if let Some(anew) = anew.filter(|anew| !head.is_still(anew)) {
                    self.merge.push(anew);
                    continue;
                }
            }
            return Some(Turn {
                job: place.job,
                shape,
                is_full: self.full.contains(&shape),
                had: self.merge.ranks.had(state, desk),
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
        if let Some(desk) = state.index().desk(&turn.user) {
            self.merge.ranks.charge(state, desk, turn.had);
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
        self.put_up(state, &turn.user, turn.shape, turn.place);
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
        self.put_up(state, &turn.user, turn.shape, turn.place);
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

    /// Puts up the user's next job after this one.
    fn put_up(&mut self, state: &State, user: &UserName, shape: ShapeId, place: Place) {
        let Some(desk) = state.index().desk(user) else {
            return;
        };
        if has_floor(state.index(), desk) {
            self.looked_at.insert((user.clone(), shape), place);
        }
        if let Some(head) = self.head(state, user, desk, Bound::Excluded(place)) {
            self.merge.push(head);
        }
    }

    /// The user's first job from there on that may still be looked at.
    fn head(
        &self,
        state: &State,
        user: &UserName,
        desk: &Desk,
        from: Bound<Place>,
    ) -> Option<Head<ShapeId>> {
        let may = |shape: ShapeId| {
            self.guarded.is_empty() || !self.guarded.contains(&(user.clone(), shape))
        };
        let has_floor = has_floor(state.index(), desk);
        let ranks = &self.merge.ranks;
        let mut first: Option<((Class, bool, Place), ShapeId, Asked)> = None;
        for (shape, asked) in &self.shapes {
            let Some(places) = desk.ready.get(shape).filter(|_| may(*shape)) else {
                continue;
            };
            let from = if has_floor {
                let before = self.looked_at.get(&(user.clone(), *shape));
                before.map_or(Bound::Unbounded, |place| Bound::Excluded(*place))
            } else {
                from
            };
            let place = match from {
                Bound::Unbounded => places.first(),
                Bound::Included(_) | Bound::Excluded(_) => {
                    places.range((from, Bound::Unbounded)).next()
                }
            };
            if let Some(place) = place {
                let is_past = !has_floor || ranks.is_past_floor(state, desk, 0, *asked);
                let order = (place.class, is_past, *place);
                if first.is_none_or(|(first, ..)| order < first) {
                    first = Some((order, *shape, *asked));
                }
            }
        }
        let ((_, is_past, place), shape, asked) = first?;
        let penalty = penalty(state, self.now, desk);
        let since = place.submitted_at;
        let standing = ranks.standing(state.settings(), penalty, is_past, asked, since);
        Some(Head::new(standing, place, desk, shape))
    }
}
