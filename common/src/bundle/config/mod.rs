//! Reads `container_config.json`: DoPQ 1.0's fields as its users write them, and the newer ones.
//!
//! [`parse`] is the only way to a [`JobSpec`](crate::job::JobSpec), and tells all faults at once. [`merge()`] applies a client's
//! overrides. The document's syntax is judged in `document`, values in `shape`, `units` and `words`, Docker's
//! parameters in `run_params`, and what makes many tasks of a job in `tasks`. Comparing the executor with a
//! proven identity is left to the shells.

mod document;
mod fields;
mod merge;
mod run_params;
mod shape;
mod tasks;
#[cfg(test)]
mod tests;
mod units;
mod words;

pub use fields::parse;
pub use merge::merge;
pub use units::{duration, size};

/// The largest configuration document, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// The deepest nesting in a configuration document.
pub const MAX_DEPTH: usize = 32;
