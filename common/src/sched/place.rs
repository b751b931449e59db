//! Gives waiting jobs their machines: in the order of [`super::order`], to the machine that
//! [`super::score`] likes best. A job that does not fit is passed over, never waited on.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::id::{AttemptId, JobId, UserName, WorkerId};
use crate::job::{Active, Job, JobState, Phase};
use crate::penalty::usage::Rate;
use crate::resources::Allocation;
use crate::time::Timestamp;

use super::account::{penalty_of, rank, rate_of};
use super::effect::Effect;
use super::finish::enter;
use super::fit::{Blocker, fit, is_open, needs};
use super::index::{Desk, ShapeId};
use super::order::{Merge, Place, Rank};
use super::room::Room;
use super::settings::Guards;
use super::state::{Health, State};
use super::step::Step;

/// Why a user's guards keep a job back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarded {
    /// The user runs as many jobs as they may.
    Running {
        /// How many they may.
        max: u32,
    },
    /// The user would hold more GPUs than they may.
    Gpus {
        /// Thousandths that they may.
        max: u32,
    },
}

/// Whether nothing may be placed at `now`.
pub(super) fn is_locked(state: &State, now: Timestamp) -> bool {
    let lock = state.meta().lock.as_ref();
    lock.is_some_and(|lock| now < lock.until)
}

/// Whether the user may run one more job.
pub(super) fn may_run(guards: &Guards, desk: &Desk) -> Result<(), Guarded> {
    match guards.max_running {
        Some(max) if desk.active >= max => Err(Guarded::Running { max }),
        _ => Ok(()),
    }
}

/// Whether the user may hold what the job would be given.
pub(super) fn may_hold(guards: &Guards, desk: &Desk, more: &Allocation) -> Result<(), Guarded> {
    match guards.max_gpus {
        Some(max) if more.milli_gpus() > 0 && desk.gpus + more.milli_gpus() > u64::from(max.0) => {
            Err(Guarded::Gpus { max: max.0 })
        }
        _ => Ok(()),
    }
}

/// The machine to keep away from: the one that the last attempt failed on, as long as another that is
/// up and open could run the job some day.
pub(super) fn avoided<'a>(state: &State, job: &'a Job) -> Option<&'a WorkerId> {
    let avoid = match &job.state {
        JobState::Queued(queued) => queued.avoid.as_ref()?,
        JobState::Assigned(_)
        | JobState::Building(_)
        | JobState::Running(_)
        | JobState::Paused(_)
        | JobState::Stopping(..)
        | JobState::Finished(_) => return None,
    };
    let mut workers = state.workers();
    let has_other = workers.any(|worker| {
        worker.id != *avoid
            && worker.health == Health::Up
            && worker.cordon.is_none()
            && needs(&worker.capacity, &job.spec.request).is_ok()
    });
    has_other.then_some(avoid)
}

impl Step<'_> {
    /// Places what can be placed, if anything changed that could let a job start.
    pub(super) fn place(&mut self) {
        let watch = self.state.watch();
        if !watch.is_stirred() || !watch.is_link_up() || is_locked(self.state, self.now) {
            return;
        }
        let ready: Vec<ShapeId> = self.state.index().ready_shapes().collect();
        let (open, full): (Vec<_>, Vec<_>) = ready
            .into_iter()
            .partition(|shape| self.state.has_room(*shape));
        self.state.watch_mut().settle();
        if open.is_empty() {
            return;
        }
        let mut pass = Pass::new(self.state, self.now, full);
        while let Some(turn) = pass.next(self.state) {
            match self.try_place(turn.job, turn.shape) {
                Ok(()) => {}
                Err(Kept::Job) => {}
                Err(Kept::Shape) => {
                    pass.full.insert(turn.shape);
                }
                Err(Kept::ShapeOfUser) => pass.skip_shape(&turn),
                Err(Kept::User) => continue,
            }
            pass.put_up(self.state, &turn);
        }
        self.state.watch_mut().settle();
    }

    fn try_place(&mut self, id: JobId, shape: ShapeId) -> Result<(), Kept> {
        let job = self.state.job(id).ok_or(Kept::Job)?;
        let JobState::Queued(queued) = &job.state else {
            return Err(Kept::Job);
        };
        let guards = self.state.user(&job.user).map(|user| &user.guards);
        let desk = self.state.index().desk(&job.user);
        let guarded = guards.zip(desk);
        if guarded.is_some_and(|(guards, desk)| may_run(guards, desk).is_err()) {
            return Err(Kept::User);
        }
        let avoids = queued.avoid.is_some();
        let chosen = self.state.choose(id, shape);
        let kept = if avoids { Kept::Job } else { Kept::Shape };
        let (worker, allocation) = chosen.ok_or(kept)?;
        let job = self.state.job(id).ok_or(Kept::Job)?;
        let guards = self.state.user(&job.user).map(|user| &user.guards);
        let guarded = guards.zip(self.state.index().desk(&job.user));
        if guarded.is_some_and(|(guards, desk)| may_hold(guards, desk, &allocation).is_err()) {
            return Err(Kept::ShapeOfUser);
        }
        self.assign(id, worker, allocation);
        Ok(())
    }

    fn assign(&mut self, id: JobId, worker: WorkerId, allocation: Allocation) {
        let now = self.now;
        let mut attempt = AttemptId { job: id, number: 0 };
        let Some(job) = self.state.job(id) else {
            return;
        };
        let user = job.user.clone();
        let room = self.state.index().room(&worker);
        let rate = room.map_or(Rate(0), |room| {
            rate_of(&self.state.settings().usage, room, job, &allocation)
        });
        self.settle(&user);
        self.charge_deposit(&user, rate);
        self.edit(id, |job| {
            job.last_attempt += 1;
            attempt.number = job.last_attempt;
            let note = worker.to_string();
            let active = Active {
                attempt: attempt.number,
                worker: worker.clone(),
                allocation,
                rate,
                assigned_at: now,
                started_at: None,
                confirmed: false,
            };
            job.state = JobState::Assigned(active);
            enter(job, now, Phase::Assigned, note);
        });
        self.state.watch_mut().order(id);
        self.act(Effect::Run { worker, attempt });
    }
}

/// What is passed over when a job cannot be placed.
enum Kept {
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
struct Pass {
    merge: Merge<usize>,
    takers: Vec<Taker>,
    /// Shapes that no machine has room for.
    full: BTreeSet<ShapeId>,
    now: Timestamp,
}

/// A user who takes part in a pass.
struct Taker {
    user: UserName,
    /// Shapes of theirs that their guards keep back.
    kept: BTreeSet<ShapeId>,
}

/// A job whose turn it is.
struct Turn {
    taker: usize,
    shape: ShapeId,
    place: Place,
    job: JobId,
}

impl Pass {
    fn new(state: &State, now: Timestamp, full: Vec<ShapeId>) -> Self {
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
            full: full.into_iter().collect(),
            now,
        };
        for taker in 0..pass.takers.len() {
            pass.push(state, taker, None);
        }
        pass
    }

    fn next(&mut self, state: &State) -> Option<Turn> {
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
    fn put_up(&mut self, state: &State, turn: &Turn) {
        self.push(state, turn.taker, Some(turn.place));
    }

    fn skip_shape(&mut self, turn: &Turn) {
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

/// Why the machine in `room` does not take the job now.
pub(super) fn blocker(state: &State, room: &Room, job: &Job) -> Option<Blocker> {
    is_open(state.settings(), room, avoided(state, job))
        .and_then(|()| fit(room, &job.spec.request).map(drop))
        .err()
}
