//! What a worker will probably run, so that it can make the images ready.

use serde::{Deserialize, Serialize};

use super::order::RunOrder;
use crate::id::{AttemptId, Epoch};

/// The attempts that one worker will probably be ordered to run next: one live message, sealed with the worker's key. It
/// replaces the last one. Nothing depends on it, so it may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upcoming {
    /// [`super::WIRE_VERSION`] of the writer.
    pub version: u32,
    /// The leadership that says so.
    pub epoch: Epoch,
    /// Grows within a leadership, so that no earlier list passes for a later one.
    pub number: u64,
    /// The attempts, those that start first first.
    pub runs: Vec<UpcomingRun>,
}

/// An attempt that will probably be ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpcomingRun {
    /// Which. An array's stands for those of its tasks.
    pub attempt: AttemptId,
    /// What to run. Nothing is allocated to it, and its token opens only the bundle.
    pub run: RunOrder,
}
