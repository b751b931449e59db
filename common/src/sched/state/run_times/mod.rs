//! How long jobs take: what is learned from finished jobs, and what is expected of queued and running ones.
//!
//! What is learned is derived from the finished jobs in memory and forgotten with them. What was expected of an
//! attempt when it was placed is stored in the attempt.

mod expected;
mod learned;
mod sketch;

pub use expected::expected;
pub(crate) use expected::{expected_if_placed, expected_of, planned_length};
pub(crate) use learned::Learned;
