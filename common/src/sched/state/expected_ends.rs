//! Attempts whose ends are known beforehand: what a replay of the past and a forecast have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{AttemptId, WorkerId};
use crate::job::Outcome;
use crate::time::Timestamp;
use crate::wire::AttemptPhase;

use crate::sched::model::event::{Event, Progress};

/// The attempts that are under way, by their end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    by_end: BTreeSet<(Timestamp, AttemptId)>,
    attempts: BTreeMap<AttemptId, (Timestamp, WorkerId)>,
}

impl Ends {
    /// Whether the attempt is under way.
    pub(crate) fn contains(&self, attempt: AttemptId) -> bool {
        self.attempts.contains_key(&attempt)
    }

    /// The attempt ends then, or earlier if that was known already.
    pub(crate) fn add(&mut self, attempt: AttemptId, worker: WorkerId, end: Timestamp) {
        if let Some((before, _)) = self.attempts.get(&attempt) {
            if *before <= end {
                return;
            }
            self.by_end.remove(&(*before, attempt));
        }
        self.by_end.insert((end, attempt));
        self.attempts.insert(attempt, (end, worker));
    }

    /// When the first of them ends.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(end, _)| *end)
    }

    /// Takes out the first that ends; of several at one instant the one with the lowest id.
    pub(crate) fn pop(&mut self) -> Option<(AttemptId, WorkerId)> {
        let (_, attempt) = self.by_end.pop_first()?;
        let (_, worker) = self.attempts.remove(&attempt)?;
        Some((attempt, worker))
    }
}

/// The attempt's container runs.
pub(crate) fn began(worker: WorkerId, attempt: AttemptId) -> Event {
    let progress = Progress::Entered {
        phase: AttemptPhase::Running,
        note: String::new(),
    };
    Event::Reported {
        worker,
        attempt,
        progress,
    }
}

/// The attempt has ended.
pub(crate) fn ended(
    worker: WorkerId,
    attempt: AttemptId,
    outcome: Outcome,
    ran: Duration,
) -> Event {
    let progress = Progress::Finished {
        outcome,
        ran,
        log_bytes: 0,
        results: None,
    };
    Event::Reported {
        worker,
        attempt,
        progress,
    }
}
