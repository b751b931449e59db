//! What a worker remembers over restarts: attempts, counters, and reports that no master has yet.
//!
//! An [`Attempt`](dopq_common::agent::Attempt) and the counters are written as they are, in JSON. Fields are only ever
//! added; a golden test keeps old ones loading. [`store`] writes them, all of a batch or nothing.

mod store;
#[cfg(test)]
mod tests;

pub use store::Error;
pub(crate) use store::{Commit, Loaded, Records};
