//! Replays workloads through the same scheduler that the master runs, so that a policy can be judged
//! before it is chosen.
//!
//! Pure like the rest: traces come as text, lots from a seed. Reading files and printing is left to the
//! command line.

pub mod openb;
pub mod placement;

mod job;
mod lots;
mod table;

pub use job::spec;
pub use table::TraceError;
