//! What travels between masters and workers: orders one way, reports the other, live traffic beside.
//!
//! These types are the format. They convert to and from the domain's types, tolerate unknown fields
//! and unknown kinds, so that one version of skew works, and are guarded by golden files. A message
//! is at most [`MESSAGE_MAX_BYTES`] long.

mod auth;
mod live;
pub mod log;
mod order;
mod parts;
mod report;
#[cfg(test)]
mod tests;

pub use auth::{AttemptToken, ClusterKey, OpenError, Sealed, WorkerKey};
pub use live::{GpuUse, Heartbeat, HostUse, JobUse, Live, topic};
pub use order::{Order, OrderEnvelope, RunOrder};
pub use parts::{WireAllocation, WireBundle, WireCapacity, WireGpu, WireGpuShare, WireOutcome};
pub use report::{AttemptPhase, Hello, KnownAttempt, Report, ReportEnvelope};

/// The version that this build writes. Readers accept every version up to it.
pub const WIRE_VERSION: u32 = 1;

/// The longest message that is put on the broker.
pub const MESSAGE_MAX_BYTES: usize = 64 * 1024;
