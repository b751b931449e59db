//! What this master alone watches: who was heard from, and which orders wait for an answer. Never stored: a new
//! leader starts with it empty.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{JobId, WorkerId};
use crate::time::Timestamp;

/// The most that may lie between two steps for all of it to count as silence of the workers. A longer
/// gap means that this master slept or that its clock jumped, and is no fault of theirs.
const LONGEST_STEP: Duration = Duration::from_secs(5);

/// Who was heard from, and which orders wait for an answer.
#[derive(Debug, Clone)]
pub(crate) struct ClockWatch {
    now: Option<Timestamp>,
    /// Time in which workers could have been heard.
    listened: Duration,
    link_up: bool,
    heard: BTreeMap<WorkerId, Heard>,
    ordered: BTreeMap<JobId, Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Timestamp,
    listened: Duration,
}

impl Default for ClockWatch {
    fn default() -> Self {
        Self {
            now: None,
            listened: Duration::ZERO,
            link_up: true,
            heard: BTreeMap::new(),
            ordered: BTreeMap::new(),
        }
    }
}

impl ClockWatch {
    /// Notes the time of a step.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if let Some(before) = self.now.replace(now)
            && self.link_up
        {
            self.listened += now.since(before).min(LONGEST_STEP);
        }
    }

    pub(crate) const fn is_link_up(&self) -> bool {
        self.link_up
    }

    pub(crate) const fn set_link(&mut self, up: bool) {
        self.link_up = up;
    }

    pub(crate) fn last_heard(&self, worker: &WorkerId) -> Option<Timestamp> {
        self.heard.get(worker).map(|heard| heard.at)
    }

    pub(crate) fn hear(&mut self, worker: &WorkerId, now: Timestamp) {
        let listened = self.listened;
        self.heard
            .insert(worker.clone(), Heard { at: now, listened });
    }

    /// Lets a worker be silent for so much longer.
    pub(crate) fn excuse(&mut self, worker: &WorkerId, now: Timestamp, longer: Duration) {
        let listened = self.listened + longer;
        self.heard
            .insert(worker.clone(), Heard { at: now, listened });
    }

    /// For how long the worker could have been heard and was not. The first question starts its time.
    pub(crate) fn silence(&mut self, worker: &WorkerId, now: Timestamp) -> Duration {
        let listened = self.listened;
        let heard = self
            .heard
            .entry(worker.clone())
            .or_insert(Heard { at: now, listened });
        listened.saturating_sub(heard.listened)
    }

    /// Everybody's time starts anew.
    pub(crate) fn forget_silences(&mut self) {
        self.heard.clear();
    }

    /// An order about the job was given.
    pub(crate) fn order(&mut self, job: JobId) {
        self.ordered.insert(job, self.listened);
    }

    /// For how long the last order about the job has been out; `None` when this master gave none.
    pub(crate) fn order_age(&self, job: JobId) -> Option<Duration> {
        let since = *self.ordered.get(&job)?;
        Some(self.listened.saturating_sub(since))
    }

    /// No answer is owed any more.
    pub(crate) fn answered(&mut self, job: JobId) {
        self.ordered.remove(&job);
    }
}
