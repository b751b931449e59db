//! What has changed since the last walk over the waiting jobs that could let one of them start. Never stored: a new
//! leader looks at everything first.
//!
//! A walk leaves nothing behind that could start. Time alone lets nothing start either: a job that would have
//! delayed another with a reservation would do so later as well. Two things are not so, and [`crate::sched::place::planner`] asks for
//! them at each event: whether the instant of a reservation is past, and whether one that is no promise is for a job
//! that is not first any more. Else what the next walk has to look at is what is
//! new: jobs that have begun to wait, jobs that fit on machines on which something has changed, and all jobs of
//! users who may have more than before. What the scheduler costs follows from what happens, not from how much there
//! is.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{JobId, UserName, WorkerId};
use crate::time::Timestamp;

use crate::sched::fit::reserve::Plan;
use crate::sched::state::index::Index;

/// Beyond so many new things of a kind a walk looks at everything, which then costs less.
const NEWS_MAX: usize = 64;

/// How long jobs that a walk did not come to, because it had looked at enough of them, wait for another.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    /// Whether nothing has changed that could let a job start.
    is_settled: bool,
    /// What could start; `None` is anything.
    recent: Option<Recent>,
    /// How far the log of changed machines has been read.
    read: (u64, usize),
    /// What was kept for a job when the last walk ended, and for how long it was to wait.
    kept: Option<(Plan, Duration)>,
    /// When jobs are looked at again that a walk did not come to.
    again_at: Option<Timestamp>,
}

/// What could start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent {
    /// Jobs that have begun to wait for nothing but a machine.
    pub(crate) jobs: BTreeSet<JobId>,
    /// Users who may have more than before.
    pub(crate) users: BTreeSet<UserName>,
    /// Users of whose runs was learned how long they take.
    pub(crate) learned: BTreeSet<UserName>,
    /// Machines on which something has changed.
    pub(crate) rooms: BTreeSet<WorkerId>,
}

impl News {
    /// Whether anything has changed that could let a job start.
    pub(crate) const fn is_due(&self) -> bool {
        !self.is_settled
    }

    /// Whether anything could start.
    pub(crate) const fn is_anything(&self) -> bool {
        self.recent.is_none()
    }

    /// Anything could start.
    pub(crate) fn anything(&mut self) {
        self.is_settled = false;
        self.recent = None;
    }

    /// The log of changed machines tells what could start.
    pub(crate) const fn stir(&mut self) {
        self.is_settled = false;
    }

    /// The job has begun to wait for nothing but a machine.
    pub(crate) fn job(&mut self, job: JobId) {
        self.is_settled = false;
        self.note(|recent| {
            recent.jobs.insert(job);
            recent.jobs.len()
        });
    }

    /// The user may have more than before.
    pub(crate) fn user(&mut self, user: &UserName) {
        self.is_settled = false;
        self.note(|recent| {
            recent.users.insert(user.clone());
            recent.users.len()
        });
    }

    /// How long the user's jobs take has been learned anew. That matters only where something is kept for another.
    pub(crate) fn learned(&mut self, user: &UserName) {
        if self.kept.is_some() {
            self.note(|recent| {
                recent.learned.insert(user.clone());
                recent.learned.len()
            });
        }
    }

    fn note(&mut self, note: impl FnOnce(&mut Recent) -> usize) {
        if self.recent.as_mut().map(note) > Some(NEWS_MAX) {
            self.recent = None;
        }
    }

    /// What could start, now that this is kept for a job; `None` is anything.
    pub(crate) fn take(
        &mut self,
        index: &Index,
        now: Timestamp,
        kept: Option<&Plan>,
    ) -> Option<Recent> {
        let mut recent = self.recent.take()?;
        let (era, changed) = index.changed_rooms();
        if era != self.read.0 {
            return None;
        }
        let changed = changed.get(self.read.1..).unwrap_or_default();
        recent.rooms.extend(changed.iter().cloned());
        match (&self.kept, kept) {
            (Some((before, wait)), Some(kept)) => {
                if before.reservation.job != kept.reservation.job {
                    return None;
                }
                let is_looser = kept.reservation.at.since(now) > *wait || kept.is_looser(before);
                if before.reservation.worker != kept.reservation.worker || is_looser {
                    recent.rooms.insert(before.reservation.worker.clone());
                    recent.rooms.insert(kept.reservation.worker.clone());
                }
                if self.again_at.is_some_and(|at| now >= at) {
                    self.again_at = None;
                    recent.rooms.insert(kept.reservation.worker.clone());
                }
            }
            (Some(_), None) => return None,
            (None, _) => {}
        }
        (recent.rooms.len() <= NEWS_MAX).then_some(recent)
    }

    /// A walk has ended; this is kept for a job. `is_cut` says whether it gave up before it had come to every one.
    pub(crate) fn settle(
        &mut self,
        index: &Index,
        now: Timestamp,
        kept: Option<Plan>,
        is_cut: bool,
    ) {
        let (era, changed) = index.changed_rooms();
        *self = Self {
            is_settled: true,
            recent: Some(Recent::default()),
            read: (era, changed.len()),
            kept: kept.map(|kept| {
                let wait = kept.reservation.at.since(now);
                (kept, wait)
            }),
            again_at: is_cut.then(|| now.after(LOOK_AGAIN)).or(self.again_at),
        };
    }
}
