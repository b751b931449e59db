//! Gives waiting jobs their machines: in the order of [`crate::sched::rank::order`], to the machine that
//! [`crate::sched::fit::score`] likes best. What happens behind a job that does not fit is the setting [`crate::sched::Backfill`].

use std::sync::Arc;

use crate::id::{AttemptId, JobId, WorkerId};
use crate::job::{Active, Job, JobState, Phase};
use crate::penalty::usage::Rate;
use crate::resources::Allocation;
use crate::time::Timestamp;

use crate::sched::events::finish::enter;
use crate::sched::events::step::Step;
use crate::sched::fit::fits::{Blocker, fit, is_open, needs};
use crate::sched::fit::guard::{may_hold, may_run};
use crate::sched::fit::reserve::{Plan, Reservation};
use crate::sched::fit::run_times::of_request;
use crate::sched::model::effect::Effect;
use crate::sched::model::entities::Health;
use crate::sched::model::shape::ShapeId;
use crate::sched::place::pass::{Kept, Pass, Then, is_first};
use crate::sched::rank::account::rate_of;
use crate::sched::rank::floor::{is_outranked, outranks};
use crate::sched::rank::ranks::Asked;
use crate::sched::state::core::{Blocked, State};
use crate::sched::state::node_load::Room;

/// Whether nothing may be placed at `now`.
pub(crate) fn is_locked(state: &State, now: Timestamp) -> bool {
    let lock = state.meta().lock.as_ref();
    lock.is_some_and(|lock| now < lock.until)
}

/// The machine to keep away from: the one that the last attempt failed on, as long as another that is
/// up and open could run the job some day.
pub(crate) fn avoided<'a>(state: &State, job: &'a Job) -> Option<&'a WorkerId> {
    let avoid = match &job.state {
        JobState::Queued(queued) => queued.avoid.as_ref()?,
        JobState::Array(_)
        | JobState::Assigned(_)
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

/// Whether the guards let the job start, as far as can be said without a machine.
pub(crate) fn may_start(state: &State, id: JobId) -> Result<(), Kept> {
    let job = state.job(id).ok_or(Kept::Job)?;
    may_run(state, &job.user).map_err(|_| Kept::User)?;
    let asked = Asked::by(state, &job.spec.request);
    may_hold(state, &job.user, asked.milli).map_err(|_| Kept::ShapeOfUser)
}

impl Step<'_> {
    /// Places what can be placed, if anything changed that could let a job start.
    pub(crate) fn place(&mut self) {
        let state = &*self.state;
        if !state.watch().is_link_up() || is_locked(state, self.now) {
            return;
        }
        let mut is_overtaken = self.is_overtaken();
        if is_overtaken {
            self.state.news_mut().anything();
        }
        // Once the instant of a reservation is past, time alone may leave others more room beside it: what else has
        // become overdue is taken to end at once as well.
        if matches!(self.state.blocked(), Some(Blocked::Reserved(kept)) if kept.at < self.now) {
            self.state.news_mut().stir();
        }
        while self.state.news().is_due() {
            let (acts, is_whole) = (self.effects.acts.len(), self.state.news().is_anything());
            let kept = if is_overtaken {
                None
            } else {
                self.honour_reservation()
            };
            let then = self.walk(kept);
            // A walk over everything that starts nothing finds whose turn it is, and changes it no more.
            let may_move = !is_whole || self.effects.acts.len() > acts;
            is_overtaken = may_move && self.is_overtaken();
            if then == Then::Anew || is_overtaken {
                self.state.news_mut().anything();
            }
        }
    }

    /// Whether a place is kept on an assumption, which is no promise, for a job that is not first any more. Time alone
    /// may bring that about.
    fn is_overtaken(&mut self) -> bool {
        let job = match self.state.blocked() {
            Some(Blocked::Reserved(kept)) if !kept.is_promise => kept.job,
            Some(Blocked::Reserved(_) | Blocked::Awaited(_) | Blocked::Unknown(..)) | None => {
                return false;
            }
        };
        !is_first(self.state, self.now, job)
    }

    /// Walks over the waiting jobs, behind what is kept for one of them.
    fn walk(&mut self, kept: Option<Reservation>) -> Then {
        let now = self.now;
        let plan = kept.and_then(|kept| Plan::new(self.state, now, &kept));
        let recent = self.state.take_news(now, plan.as_ref());
        let mut pass = Pass::new(self.state, now, recent, plan);
        let mut then = Then::On;
        while then == Then::On
            && let Some(candidate) = pass.next(self.state)
        {
            let placed = if candidate.is_full {
                may_start(self.state, candidate.job).and(Err(Kept::Shape))
            } else {
                self.try_place(candidate.job, candidate.shape, pass.plan.as_mut())
            };
            then = match placed {
                Ok(()) => pass.placed(self.state, &candidate),
                Err(kept) => pass.kept(self.state, &candidate, &kept),
            };
        }
        match pass.blocked {
            // What was found hopeless lately stays so.
            None if self.state.is_hopeless(now) => {}
            blocked => self.state.set_blocked(blocked),
        }
        self.state.settle_news(now, pass.plan, pass.is_cut);
        then
    }

    /// Starts the job that a place was promised to once its time has come, or says what is still kept for it.
    /// A promise holds although others have come to rank before the job since it was given, but not against
    /// those that others' jobs may be stopped for: they have their turns before it. What is kept on an assumption
    /// is no promise, and kept for the job no longer than it is first.
    fn honour_reservation(&mut self) -> Option<Reservation> {
        let reservation = match self.state.blocked()? {
            Blocked::Reserved(reservation) => reservation.clone(),
            Blocked::Awaited(_) | Blocked::Unknown(..) => return None,
        };
        let job = Arc::clone(self.state.job(reservation.job)?);
        if !self.state.is_ready(&job) || may_start(self.state, job.id).is_err() {
            return None;
        }
        if self.now >= reservation.at && !is_outranked(self.state, self.now, &job) {
            let shape = self.state.index().shape_of(&job.spec.request)?;
            if self.try_place(job.id, shape, None).is_ok() {
                return None;
            }
        }
        self.state.reserve(self.now, &job, Some(&reservation))
    }

    fn try_place(
        &mut self,
        id: JobId,
        shape: ShapeId,
        plan: Option<&mut Plan>,
    ) -> Result<(), Kept> {
        may_start(self.state, id)?;
        let job = Arc::clone(self.state.job(id).ok_or(Kept::Job)?);
        let kept = if avoided(self.state, &job).is_some() {
            Kept::Job
        } else {
            Kept::Shape
        };
        let chosen = self.state.choose(id, shape, None).ok_or(kept)?;
        let (worker, allocation) = match &plan {
            Some(plan) if is_kept_from(self.state, &plan.reservation, &job) => {
                let clear = self.clear_of(plan, &job, shape, chosen);
                clear.ok_or(Kept::Job)?
            }
            Some(_) | None => chosen,
        };
        let more = allocation.milli_gpus();
        may_hold(self.state, &job.user, more).map_err(|_| Kept::ShapeOfUser)?;
        if let Some(plan) = plan
            && plan.reservation.worker == worker
        {
            plan.note(self.state, self.now, &job, &allocation);
        }
        self.assign(id, worker, allocation);
        Ok(())
    }

    /// The chosen place if it delays nobody with a reservation, or else the best that does not.
    fn clear_of(
        &mut self,
        plan: &Plan,
        job: &Job,
        shape: ShapeId,
        chosen: (WorkerId, Allocation),
    ) -> Option<(WorkerId, Allocation)> {
        let reserved = &plan.reservation.worker;
        if chosen.0 != *reserved || !plan.is_delayed_by(self.state, self.now, job, &chosen.1) {
            return Some(chosen);
        }
        // Other GPUs of the same machine may do, if not the ones that the scorer likes best.
        let room = self.state.index().room(reserved);
        let tightest = room.and_then(|room| fit(room, &job.spec.request).ok());
        if let Some(tightest) = tightest
            && !plan.is_delayed_by(self.state, self.now, job, &tightest)
        {
            return Some((chosen.0, tightest));
        }
        self.state.choose(job.id, shape, Some(reserved))
    }

    fn assign(&mut self, id: JobId, worker: WorkerId, allocation: Allocation) {
        let now = self.now;
        let Some(id) = self.begun(id) else {
            return;
        };
        let mut attempt = AttemptId { job: id, number: 0 };
        let Some(job) = self.state.job(id) else {
            return;
        };
        let user = job.user.clone();
        let room = self.state.index().room(&worker);
        let rate = room.map_or(Rate(0), |room| {
            rate_of(&self.state.settings().usage, room, job, &allocation)
        });
        let gpu_model = room.and_then(|room| room.model_of(&allocation));
        let expected = of_request(self.state, job, gpu_model);
        let gpu_model = gpu_model.map(Arc::from);
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
                gpu_model,
                expected,
            };
            job.state = JobState::Assigned(active);
            enter(job, now, Phase::Assigned, note);
        });
        self.state.watch_mut().order(id);
        self.act(Effect::Run { worker, attempt });
    }
}

/// Whether what is kept for another job is kept from this one: not from one that others' jobs may be stopped
/// for, as [`outranks`] says.
pub(crate) fn is_kept_from(state: &State, reservation: &Reservation, job: &Job) -> bool {
    let other = state.job(reservation.job);
    reservation.job != job.id && !other.is_some_and(|other| outranks(state, job, other))
}

/// Why the machine in `room` does not take the job now.
pub(crate) fn blocker(state: &State, now: Timestamp, room: &Room, job: &Job) -> Option<Blocker> {
    let fits = is_open(state.settings(), room, avoided(state, job))
        .and_then(|()| fit(room, &job.spec.request));
    match fits {
        Ok(allocation) => {
            let reservation = match state.blocked()? {
                Blocked::Reserved(reservation) => reservation,
                Blocked::Awaited(_) | Blocked::Unknown(..) => return None,
            };
            let id = room.worker.as_ref().map(|worker| &worker.id);
            if id != Some(&reservation.worker) || !is_kept_from(state, reservation, job) {
                return None;
            }
            let plan = Plan::new(state, now, reservation)?;
            let delayed = plan.is_delayed_by(state, now, job, &allocation);
            delayed.then_some(Blocker::Reserved)
        }
        Err(blocker) => Some(blocker),
    }
}
