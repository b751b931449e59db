//! Replays workloads through the same scheduler that the master runs, so that a policy can be judged
//! before it is chosen.
//!
//! Pure like the rest: traces come as text, lots from a seed. Reading files and printing is left to the
//! command line.

pub mod history;
pub mod openb;
pub mod penalty;
pub mod placement;
pub mod replay;
pub mod swf;

mod error;
mod job;
mod rng;
mod stats;
mod table;
mod trace;

pub use error::SimError;
pub use job::spec;
pub use stats::{Report, Waits};
pub use table::TraceError;
pub use trace::TraceJob;
