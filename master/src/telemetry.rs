//! What the workers' heartbeats tell: use of machines, GPUs and containers, as of the last beat.
//!
//! Transient by nature: never committed, never decided upon. Whether a worker is alive is the
//! scheduler's business; it gets its own event.

use dopq_common::time::Timestamp;
use dopq_common::wire::{Heartbeat, Hello};

/// What one worker last told.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    /// Its last heartbeat, and when it came by the master's clock.
    pub heartbeat: Option<(Timestamp, Heartbeat)>,
    /// Its last introduction: versions, engine, GPU mode.
    pub hello: Option<Hello>,
}
