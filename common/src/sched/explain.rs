//! Why a job waits, by the predicates that place it.

use std::fmt;

use crate::id::{JobId, UserName};
use crate::job::{Job, JobState};
use crate::time::Timestamp;

use super::queue::queue;
use super::state::State;

/// Why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Its place in the queue, from 1.
    pub position: Option<u64>,
    /// Every reason, the most decisive first.
    pub reasons: Vec<Reason>,
}

/// One reason why a job waits, as a sentence's end: "it waits because …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Somebody holds it back.
    Held {
        /// Who.
        by: UserName,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { by } => write!(f, "held by {by}"),
        }
    }
}

/// Why the job waits and where; `None` when it is not known or does not wait.
#[must_use]
pub fn explain(state: &State, now: Timestamp, job: JobId) -> Option<Explanation> {
    let position = queue(state, now).into_iter().find(|w| w.job.id == job)?;
    Some(Explanation {
        position: Some(position.position),
        reasons: reasons(state, now, position.job),
    })
}

/// Every reason why the job waits, without its position, which is dearer to find.
#[must_use]
pub fn reasons(state: &State, now: Timestamp, job: &Job) -> Vec<Reason> {
    let _ = (state, now);
    match &job.state {
        JobState::Queued(queued) => queued
            .hold
            .iter()
            .map(|hold| Reason::Held {
                by: hold.by.clone(),
            })
            .collect(),
        JobState::Assigned(_)
        | JobState::Building(_)
        | JobState::Running(_)
        | JobState::Paused(_)
        | JobState::Stopping(..)
        | JobState::Finished(_) => Vec::new(),
    }
}
