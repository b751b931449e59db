//! When waiting jobs are expected to start: what [`crate::sched::answers::lookahead`] sees with lengths of runs that half of their
//! like do not exceed, and with lengths that nine in ten do not.
//!
//! That is no distribution of starts, which would take many runs with drawn lengths, but what follows when
//! everybody takes that long.

use std::fmt;

use crate::id::JobId;
use crate::job::Job;
use crate::time::Timestamp;

use crate::sched::answers::lookahead::{Odds, Outlook, Rest, look};
use crate::sched::state::core::State;

/// When waiting jobs are expected to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    half: Outlook,
    nine_in_ten: Outlook,
    /// The jobs that waited, by id.
    waiting: Vec<JobId>,
}

/// When a job is expected to be given its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// If all jobs take as long as half of their like do at most.
    pub p50: Timestamp,
    /// If all jobs take as long as nine in ten of their like do at most; never before the other.
    pub p90: Timestamp,
}

/// Why it is not known when a job starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unforeseen {
    /// Somebody holds it back.
    Held,
    /// Jobs run of which nothing is expected.
    Unsaid,
    /// So many jobs start before it that it was not looked ahead so far.
    Far,
    /// Nothing that is expected to happen starts it.
    Never,
    /// It did not wait yet when it was looked ahead.
    Outdated,
}

impl fmt::Display for Unforeseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "it is held",
            Self::Unsaid => "how long the jobs before it run is unknown",
            Self::Far => "too many jobs go before it",
            Self::Never => "no expected event would start it",
            Self::Outdated => "it changed after the last forecast; ask again in a moment",
        })
    }
}

/// Looks ahead from `now`. It takes a bounded number of decisions, however many jobs wait.
#[must_use]
pub fn forecast(state: State, now: Timestamp) -> Forecast {
    let waiting = state.jobs().filter(|job| job.state.waiting() > 0);
    let waiting = waiting.filter(|job| job.state.hold().is_none());
    let waiting: Vec<JobId> = waiting.map(|job| job.id).collect();
    Forecast {
        half: look(state.clone(), now, Odds::Half, &waiting),
        nine_in_ten: look(state, now, Odds::NineInTen, &waiting),
        waiting,
    }
}

impl Forecast {
    /// When the job, or the next task of an array, starts, as far as that was foreseen; nothing of one that was
    /// held back or given its machine since.
    #[must_use]
    pub fn start(&self, job: &Job) -> Option<Start> {
        self.start_of(job, job.id)
    }

    /// The same of the task of an array that will have the id `task`, or of a job itself.
    #[must_use]
    pub fn start_of(&self, job: &Job, task: JobId) -> Option<Start> {
        if job.state.waiting() == 0 || job.state.hold().is_some() {
            return None;
        }
        let p50 = *self.half.starts.get(&task)?;
        let p90 = *self.nine_in_ten.starts.get(&task)?;
        // Where others take longer, a job may find a gap earlier.
        let p90 = p90.max(p50);
        Some(Start { p50, p90 })
    }

    /// Why it is not known when the job starts; `None` when it is or when the job does not wait.
    #[must_use]
    pub fn unforeseen(&self, job: &Job) -> Option<Unforeseen> {
        self.unforeseen_of(job, job.id)
    }

    /// The same of the task of an array that will have the id `task`, or of a job itself.
    #[must_use]
    pub fn unforeseen_of(&self, job: &Job, task: JobId) -> Option<Unforeseen> {
        if job.state.waiting() == 0 || self.start_of(job, task).is_some() {
            return None;
        }
        if job.state.hold().is_some() {
            return Some(Unforeseen::Held);
        }
        if self.waiting.binary_search(&job.id).is_err() {
            return Some(Unforeseen::Outdated);
        }
        let lacks = |outlook: &&Outlook| !outlook.starts.contains_key(&task);
        let outlook = [&self.half, &self.nine_in_ten].into_iter().find(lacks)?;
        Some(match outlook.rest {
            Rest::Endless => Unforeseen::Unsaid,
            Rest::Far => Unforeseen::Far,
            Rest::Nothing => Unforeseen::Never,
        })
    }
}
