//! Where users stand, part by part: the numbers by which [`crate::sched::rank::ranks`] ranks them.

use std::sync::Arc;

use crate::id::UserName;
use crate::job::Job;
use crate::time::Timestamp;

use crate::sched::rank::account::penalty;
use crate::sched::rank::next::next_ready;
use crate::sched::rank::ranks::{JobTerms, Ranks};
use crate::sched::state::core::State;

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
        let user_queue = state.index().user_queue(user)?;
        let next = next_ready(state, ranks, user, user_queue)?;
        let (key, demand) = (next.entry.key, next.entry.demand);
        let JobTerms { ask, aging } = ranks.job_terms(state.settings(), demand, key.submitted_at);
        Some(Turn {
            job: Arc::clone(state.job(key.job)?),
            is_within_floor: !next.is_past_floor,
            penalty: penalty(state, *now, user_queue),
            group_penalty: ranks.group_penalty(user_queue),
            ask,
            aging,
        })
    }
}
