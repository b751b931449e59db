//! The worker's clock: wall time at start, moved on by the monotonic clock.
//!
//! A machine whose wall clock is set while the worker runs changes no lease, no grace and no deadline.

use dopq_common::time::Timestamp;
use tokio::time::{Duration, Instant};

/// Tells the time. Copies agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    wall: Timestamp,
    at: Instant,
}

impl Clock {
    /// Reads the machine's clock once.
    pub(crate) fn start() -> Self {
        Self {
            wall: Timestamp::from_datetime(chrono::Utc::now()),
            at: Instant::now(),
        }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        self.wall.after(self.at.elapsed())
    }

    /// The instant at which [`Self::now`] will be `at`; the present for points that are past.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        // A deadline beyond what the monotonic clock can tell is as good as an hour, after which
        // whoever waits asks again.
        let wait = at.since(self.now()).min(Duration::from_secs(3600));
        Instant::now() + wait
    }
}
