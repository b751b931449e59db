//! The master's clock. Only shells read it; the core takes `now` as an argument.

use dopq_common::time::Timestamp;

/// The current time of this machine, in whole milliseconds.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_datetime(chrono::Utc::now())
}
