//! One walk over the waiting jobs in the order of [`crate::sched::rank::order`], and what it learns on the way.
//!
//! A walk looks only at what may start, as [`crate::sched::place::news`] says, and of that only at the jobs of users whose turn may
//! have come. Once no shape has room any more it is over, however many jobs wait. A user's own jobs are looked at
//! in their own order; where a floor may serve one of a later shape first, each shape's in theirs.

use std::ops::Bound;

use crate::id::{JobId, UserName};
use crate::time::Timestamp;

use crate::sched::fit::reserve::Plan;
use crate::sched::model::settings::Backfill;
use crate::sched::model::shape::ShapeId;
use crate::sched::place::news::Recent;
use crate::sched::place::planner::{avoided, may_start};
use crate::sched::place::sought::Sought;
use crate::sched::rank::floor::has_floor;
use crate::sched::rank::order::{Merge, Place};
use crate::sched::rank::ranks::Ranks;
use crate::sched::state::core::{Blocked, State};

/// What is passed over when a job cannot be placed.
pub(crate) enum Kept {
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
pub(crate) struct Pass {
    now: Timestamp,
    backfill: Backfill,
    sought: Sought,
    merge: Merge<ShapeId>,
    pub(crate) blocked: Option<Blocked>,
    pub(crate) plan: Option<Plan>,
    looked_behind: usize,
    /// Whether it gave up before it had come to every job.
    pub(crate) is_cut: bool,
}

/// A job whose turn it is.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) job: JobId,
    pub(crate) shape: ShapeId,
    /// Whether it is known that no machine has room for it.
    pub(crate) is_full: bool,
    user: UserName,
    place: Place,
    /// What the user had had, if that counts for a group.
    had: Option<f64>,
}

/// What follows from a job that was placed or kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The walk goes on.
    On,
    /// It is over.
    Over,
    /// It is over, and another is due: what was kept for a job is so no more.
    Anew,
}

/// Whether of all jobs that guards let start, on any machine, it is this one's turn first.
pub(crate) fn is_first(state: &mut State, now: Timestamp, job: JobId) -> bool {
    let mut pass = Pass::new(state, now, None, None);
    while let Some(candidate) = pass.next(state) {
        let kept = match may_start(state, candidate.job) {
            Ok(()) if candidate.job == job => return true,
            Ok(()) => {
                let first = state.job(candidate.job);
                if first.is_none_or(|first| avoided(state, first).is_none()) {
                    return false;
                }
                Kept::Job
            }
            Err(kept) => kept,
        };
        pass.kept(state, &candidate, &kept);
    }
    false
}

impl Pass {
    /// A walk over what is new, or over everything, behind the job that something is kept for.
    pub(crate) fn new(
        state: &mut State,
        now: Timestamp,
        recent: Option<Recent>,
        plan: Option<Plan>,
    ) -> Self {
        let backfill = state.settings().backfill;
        let looks_for_blocked = match backfill {
            Backfill::Easy => plan.is_none() && !state.is_hopeless(now),
            Backfill::Strict => true,
            Backfill::BestEffort => false,
        };
        let reservation = plan.as_ref().map(|plan| &plan.reservation);
        let sought = match recent {
            Some(recent) if !looks_for_blocked => {
                let reserved = reservation.map(|reservation| &reservation.worker);
                Sought::recent(state, now, recent, reserved)
            }
            Some(_) | None => Sought::everything(state, now, looks_for_blocked),
        };
        let mut merge = Merge::new(Ranks::new(state, now));
        sought.put_up(state, &mut merge);
        Self {
            now,
            backfill,
            sought,
            merge,
            blocked: reservation.cloned().map(Blocked::Reserved),
            plan,
            looked_behind: 0,
            is_cut: false,
        }
    }

    pub(crate) fn next(&mut self, state: &State) -> Option<Candidate> {
        loop {
            if self.sought.is_empty() {
                return None;
            }
            let sought = &self.sought;
            self.merge
                .look(|ranks, line| sought.head_in_line(state, ranks, line));
            let head = self.merge.pop()?;
            let (place, shape) = (head.place, head.with);
            let user = state.job(place.job)?.user.clone();
            let desk = state.index().desk(&user)?;
            if !sought.looks_at(&user, shape, place) {
                // The head was put up before it was known that there is no room for it.
                self.put_up(state, &user, shape, place);
                continue;
            }
            if self.merge.ranks.has_moved(desk) {
                let ranks = &self.merge.ranks;
                let anew = sought.head(state, ranks, &user, desk, Bound::Included(place));
                if let Some(anew) = anew.filter(|anew| !head.is_still(anew)) {
                    self.merge.push(anew);
                    continue;
                }
            }
            return Some(Candidate {
                job: place.job,
                shape,
                is_full: self.sought.is_full(shape),
                had: self.merge.ranks.had(state, desk),
                user,
                place,
            });
        }
    }

    /// Takes note of a job that was placed.
    pub(crate) fn placed(&mut self, state: &mut State, candidate: &Candidate) -> Then {
        // The job that something is kept for has started, its user or group has got what leaves no room for it
        // under a limit, or one that goes before it has taken what was kept.
        let is_void = self.plan.as_ref().is_some_and(|plan| {
            let kept = plan.reservation.job;
            kept == candidate.job || may_start(state, kept).is_err() || !plan.fits()
        });
        if is_void {
            return Then::Anew;
        }
        if let Some(desk) = state.index().desk(&candidate.user) {
            self.merge.ranks.charge(state, desk, candidate.had);
        }
        self.sought.drop_outgrown(state);
        // Of an array a further task may wait.
        let job = state.job(candidate.job).filter(|job| state.is_ready(job));
        if let Some(job) = job {
            let (user, shape) = (&candidate.user, candidate.shape);
            self.sought
                .go_on(user, shape, candidate.place, Place::of(job));
        }
        self.put_up(state, &candidate.user, candidate.shape, candidate.place);
        Then::On
    }

    /// Takes note of a job that was not placed.
    pub(crate) fn kept(&mut self, state: &mut State, candidate: &Candidate, kept: &Kept) -> Then {
        if self.plan.is_some() {
            self.looked_behind += 1;
            if self.looked_behind > state.settings().backfill_window {
                self.is_cut = true;
                return Then::Over;
            }
        }
        match kept {
            Kept::Job => {}
            Kept::Shape => {
                self.sought.drop(candidate.shape);
                if self.waits_for(state, candidate) {
                    return Then::Over;
                }
            }
            Kept::ShapeOfUser => self.sought.drop_of(candidate.user.clone(), candidate.shape),
            Kept::User => return Then::On,
        }
        self.put_up(state, &candidate.user, candidate.shape, candidate.place);
        Then::On
    }

    /// What follows from the first job that cannot start. Whether all wait for it.
    fn waits_for(&mut self, state: &mut State, candidate: &Candidate) -> bool {
        if self.blocked.is_some() {
            return false;
        }
        match self.backfill {
            Backfill::BestEffort => false,
            Backfill::Strict => {
                self.blocked = Some(Blocked::Awaited(candidate.job));
                true
            }
            Backfill::Easy => {
                if state.is_hopeless(self.now) {
                    return false;
                }
                let before = match state.blocked() {
                    Some(Blocked::Reserved(kept)) => Some(kept.clone()),
                    Some(Blocked::Awaited(_) | Blocked::Unknown(..)) | None => None,
                };
                let job = state.job(candidate.job).cloned();
                match job.and_then(|job| state.reserve(self.now, &job, before.as_ref())) {
                    Some(reservation) => {
                        self.plan = Plan::new(state, self.now, &reservation);
                        self.blocked = Some(Blocked::Reserved(reservation));
                    }
                    None => self.blocked = Some(Blocked::Unknown(candidate.job, self.now)),
                }
                self.sought.drop_full();
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
            self.sought.looked_at(user, shape, place);
        }
        let (ranks, from) = (&self.merge.ranks, Bound::Excluded(place));
        if let Some(head) = self.sought.head(state, ranks, user, desk, from) {
            self.merge.push(head);
        }
    }
}
