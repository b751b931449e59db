//! Penalties: a measure of a user's recent usage. The user with the lowest goes first.
//!
//! Pure formulas. [`crate::sched`] decides which jobs count and when a stored value is updated.

pub mod recency;
pub mod usage;
