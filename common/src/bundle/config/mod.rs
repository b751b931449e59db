//! Reads `container_config.json`: the fields of DoPQ 1.0 and the newer ones.
//!
//! Only [`parse`] creates a [`JobSpec`](crate::job::JobSpec); it reports all faults. [`accept`] adds the rules on new
//! jobs (`rules`). [`merge()`] applies a client's overrides. `document` checks the syntax, `shape`, `units` and `words` the values, `run_params` Docker's
//! parameters, `tasks` arrays and sweeps, `volumes` names of volumes. The shells compare the executor with the authenticated user.

mod document;
mod fields;
mod merge;
mod rules;
mod run_params;
mod shape;
mod tasks;
#[cfg(test)]
mod tests;
mod units;
mod volumes;
mod words;

pub use fields::{accept, notes, parse};
pub use merge::merge;
pub use units::{duration, size};

/// The largest configuration document, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// The deepest nesting in a configuration document.
pub const MAX_DEPTH: usize = 32;
