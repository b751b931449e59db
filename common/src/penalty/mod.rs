//! How much a user has had lately; the lower, the sooner their next job runs.
//!
//! Pure formulas. Which jobs count, and when a user's stored value is brought up to date, is decided
//! in [`crate::sched`].

pub mod recency;
pub mod usage;
