//! The status of each part of the master, as last reported by the part.

use std::collections::BTreeMap;
use std::sync::Arc;

use dopq_common::time::Timestamp;
use parking_lot::RwLock;

/// A part of the system that `GET /v1/status` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Accepts bundles from a share or bucket.
    Ingest,
    /// The scheduler.
    Scheduler,
    /// The leadership.
    Leader,
    /// Redis or the embedded store.
    Store,
    /// RabbitMQ or the in-process broker.
    Broker,
    /// The bundle store.
    Bundles,
    /// Removes old objects of the bundle store.
    Retention,
}

impl Part {
    /// The word that the API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Scheduler => "scheduler",
            Self::Leader => "leader",
            Self::Store => "store",
            Self::Broker => "broker",
            Self::Bundles => "bundles",
            Self::Retention => "retention",
        }
    }
}

/// Whether a part works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// It works.
    Up,
    /// It works in part.
    Degraded,
    /// It does not work.
    Down,
    /// It is not configured.
    Off,
}

impl PartState {
    /// The word that the API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Off => "off",
        }
    }
}

/// The last report of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether it works.
    pub state: PartState,
    /// When it entered that state.
    pub since: Timestamp,
    /// What it is or what is wrong.
    pub detail: String,
}

/// Collects the parts' status; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board {
    conditions: Arc<RwLock<BTreeMap<Part, Condition>>>,
    faults: Arc<RwLock<BTreeMap<Part, Vec<String>>>>,
}

impl Board {
    /// Records the status of `part`. `since` only moves when the state changes.
    pub fn set(&self, now: Timestamp, part: Part, state: PartState, detail: impl Into<String>) {
        let detail = detail.into();
        let mut conditions = self.conditions.write();
        let since = match conditions.get(&part) {
            Some(before) if before.state == state => before.since,
            Some(_) | None => now,
        };
        conditions.insert(
            part,
            Condition {
                state,
                since,
                detail,
            },
        );
    }

    /// The status of all parts that reported, in the order of [`Part`].
    #[must_use]
    pub fn all(&self) -> Vec<(Part, Condition)> {
        let conditions = self.conditions.read();
        conditions
            .iter()
            .map(|(part, condition)| (*part, condition.clone()))
            .collect()
    }

    /// Records what is wrong with how `part` is set up, though it works.
    pub fn set_faults(&self, part: Part, faults: Vec<String>) {
        self.faults.write().insert(part, faults);
    }

    /// What is wrong with how `part` is set up.
    #[must_use]
    pub fn faults(&self, part: Part) -> Vec<String> {
        self.faults.read().get(&part).cloned().unwrap_or_default()
    }

    /// The last report of `part`.
    #[must_use]
    pub fn get(&self, part: Part) -> Option<Condition> {
        self.conditions.read().get(&part).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_moves_only_with_the_state() {
        let board = Board::default();
        let at = Timestamp::from_millis;
        board.set(at(1), Part::Store, PartState::Up, "redis");
        board.set(at(2), Part::Store, PartState::Up, "redis at 10.0.0.1");
        let up = board.get(Part::Store).expect("said");
        assert_eq!((up.since, up.detail.as_str()), (at(1), "redis at 10.0.0.1"));
        board.set(at(3), Part::Store, PartState::Down, "refused");
        assert_eq!(board.get(Part::Store).expect("said").since, at(3));
        assert_eq!(board.get(Part::Broker), None);
        assert_eq!(board.all().len(), 1);
    }
}
