//! What travels between masters and workers: orders one way, reports the other, live traffic beside.
//!
//! These types are the format, together with the domain's types in them. They tolerate unknown fields and unknown
//! kinds, so that one version of skew works, and are guarded by golden files. A message is at most
//! [`MESSAGE_MAX_BYTES`] long.

mod auth;
mod batch;
mod live;
pub mod log;
mod order;
mod report;
mod session;
#[cfg(test)]
mod tests;
mod upcoming;
mod version;

pub use auth::{
    ClusterKey, OpenError, Sealed, SessionKey, SessionKeys, ToWorker, Unsealed, WorkerKey,
    WorkerKeys,
};
pub use batch::Packer;
pub use live::{GpuUse, Heartbeat, HostUse, JobUse, Kept, Live, topic};
pub use order::{AttemptOrder, Order, OrderEnvelope, RunOrder, Standing};
pub use report::{AttemptPhase, Hello, KnownAttempt, NumberedReport, Report, ReportEnvelope};
pub use session::{
    EndCause, ExecRequest, OPEN_MAX_BYTES, OpenSession, SessionEnd, SessionId, SessionRequest,
};
pub use upcoming::{Upcoming, UpcomingRun};
pub use version::{EnvelopeError, WIRE_VERSION, read_envelope};

/// Where a worker that asks how it stands names its cluster.
pub const CLUSTER_HEADER: &str = "dopq-cluster";

/// Where it names its data folder, as in its hello.
pub const INSTANCE_HEADER: &str = "dopq-instance";

/// The longest message that is put on the broker.
pub const MESSAGE_MAX_BYTES: usize = 64 * 1024;
