//! A request's line in the audit log, as its handler leaves it to the guard, and a bound on lines of refusals.

use std::num::NonZeroU32;
use std::sync::Arc;

use dopq_common::id::UserName;
use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;

use crate::store::AuditEntry;

/// Refused requests of one user that leave a line, at once and within a minute.
const REFUSALS: NonZeroU32 = NonZeroU32::new(60).expect("60 is not zero");

/// The line that a handler made, shared with the guard.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail(Arc<Mutex<Option<Line>>>);

#[derive(Debug)]
pub(super) enum Line {
    /// It is committed with the change, if there is one.
    Committed(AuditEntry),
    /// It is written once the request succeeded.
    Due(AuditEntry),
}

impl Trail {
    /// The handler commits this line with its change.
    pub(super) fn committed(&self, line: &AuditEntry) {
        *self.0.lock() = Some(Line::Committed(line.clone()));
    }

    /// This line is to be written after the answer.
    pub(super) fn due(&self, line: AuditEntry) {
        *self.0.lock() = Some(Line::Due(line));
    }

    /// What the handler left.
    pub(super) fn take(&self) -> Option<Line> {
        self.0.lock().take()
    }
}

/// Bounds the lines of refused requests.
#[derive(Debug)]
pub(super) struct Refusals(
    RateLimiter<
        UserName,
        HashMapStateStore<UserName>,
        MonotonicClock,
        NoOpMiddleware<<MonotonicClock as governor::clock::Clock>::Instant>,
    >,
);

impl Default for Refusals {
    fn default() -> Self {
        let quota = Quota::per_minute(REFUSALS);
        let store = HashMapStateStore::default();
        Self(RateLimiter::new(quota, store, MonotonicClock))
    }
}

impl Refusals {
    /// Whether one more refusal of `user` leaves a line.
    pub(super) fn admit(&self, user: &UserName) -> bool {
        self.0.check_key(user).is_ok()
    }
}
