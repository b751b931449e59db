//! The worker: the agent on one GPU machine.
//!
//! It fetches, builds and runs what the masters order, and reports what came of it.
//! The standalone master runs it in its own process.

mod app;
pub mod docker;
mod options;

pub use app::{Error, run};
pub use options::{DEFAULT_CLUSTER, GpuMode, GpuOptions, Limits, Options};
