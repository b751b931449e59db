//! What a worker remembers over restarts: attempts, counters, and reports that no master has yet.
//!
//! [`mod@format`] says how they are written; [`store`] writes them, all of a batch or nothing.

mod format;
mod store;
#[cfg(test)]
mod tests;

pub use format::DecodeError;
pub use store::Error;
pub(crate) use store::{Commit, Loaded, Records};
