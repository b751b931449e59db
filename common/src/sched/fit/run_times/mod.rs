//! How long jobs take: what is learned from those that ran, and what is expected of one by that or by
//! what its user said.
//!
//! What is learned is derived from the finished jobs in memory, and forgotten with them. What an attempt was
//! expected to take when it was placed is kept in it, so that it can be held against what it took.

mod expected;
mod learned;
mod sketch;

pub use expected::expected;
pub(crate) use expected::{expected_of, model_of, of_request};
pub(crate) use learned::Learned;
