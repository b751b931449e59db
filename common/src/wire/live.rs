//! Live traffic: transient, unacknowledged, of use only to those who listen now.
//!
//! What a worker says is sealed like its reports ([`super::Sealed`]), so that nobody can keep a dead
//! worker alive or print into another's log. A master's request to follow a log is plain, because that is all that it
//! can ask for; what a worker will probably run is sealed with the worker's key.

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, GpuId, WorkerId};
use crate::telemetry::Io;

/// The topics of the live exchange.
pub mod topic {
    use crate::id::{AttemptId, WorkerId};
    use crate::wire::session::SessionId;

    /// Every worker's heartbeats.
    pub const HEARTBEATS: &str = "heartbeat.#";

    /// One worker's heartbeats.
    #[must_use]
    pub fn heartbeat(worker: &WorkerId) -> String {
        format!("heartbeat.{worker}")
    }

    /// The tail of one attempt's log.
    #[must_use]
    pub fn log(attempt: AttemptId) -> String {
        format!("log.{attempt}")
    }

    /// Requests of the masters to one worker.
    #[must_use]
    pub fn requests(worker: &WorkerId) -> String {
        format!("request.{worker}")
    }

    /// What masters say to one worker's sessions.
    #[must_use]
    pub fn into_sessions(worker: &WorkerId) -> String {
        format!("into.{worker}")
    }

    /// What a worker says in one session.
    #[must_use]
    pub fn out_of_session(worker: &WorkerId, session: SessionId) -> String {
        format!("out.{worker}.{session}")
    }
}

/// One live message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Live {
    /// Worker to masters: alive, and what is used.
    Heartbeat(Box<Heartbeat>),
    /// Worker to masters: a piece of an attempt's log stream.
    LogTail {
        /// Which attempt.
        attempt: AttemptId,
        /// Where in the log stream the piece begins, in bytes.
        offset: u64,
        /// The piece, base64.
        data: String,
    },
    /// Master to worker: somebody reads this attempt's log; flush now, and send its tail live for a while.
    Follow {
        /// Which attempt.
        attempt: AttemptId,
        /// For how many milliseconds from receipt.
        for_ms: u64,
    },
    /// Master to worker: what it will probably be ordered to run.
    Upcoming {
        /// A [`super::Upcoming`], sealed as [`super::ToWorker::Upcoming`].
        sealed: String,
    },
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A worker's sign of life, every 2 s, with its newest figures. It never waits for them to be read, so that a GPU or
/// an engine that hangs does not make the worker look lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub worker: WorkerId,
    /// The agent's session, as in its hello.
    pub session: String,
    /// The worker's clock, milliseconds since 1970.
    pub at_ms: u64,
    /// The machine.
    pub host: HostUse,
    /// Its GPUs.
    pub gpus: Vec<GpuUse>,
    /// Its attempts.
    pub attempts: Vec<JobUse>,
    /// What it keeps on the engine's disk; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// What a worker keeps on the engine's disk, and what it removed to keep it from filling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Bytes free on that disk.
    pub disk_free_bytes: u64,
    /// Images that DoPQ made.
    pub images: u64,
    /// Their size; what several have in common counts for each.
    pub images_bytes: u64,
    /// Images that were removed since the worker's start.
    pub images_removed: u64,
    /// Images that were built, loaded or pulled for waiting jobs since then.
    #[serde(default)]
    pub images_ahead: u64,
}

/// What a machine uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostUse {
    /// 0 to 1 over all cores.
    pub cpu_ratio: f64,
    /// Bytes in use.
    pub memory_used_bytes: u64,
    /// Bytes in all.
    pub memory_total_bytes: u64,
    /// Bytes free where the spool lies.
    pub disk_free_bytes: u64,
}

/// What a GPU does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuUse {
    /// Which.
    pub id: GpuId,
    /// 0 to 1.
    pub utilization_ratio: f64,
    /// Bytes in use.
    pub memory_used_bytes: u64,
    /// Degrees Celsius.
    pub temperature_celsius: f64,
    /// Watts.
    pub power_watts: f64,
    /// Joules since the driver was loaded, or since the worker's start where the GPU does not count them.
    #[serde(default)]
    pub energy_joules: f64,
    /// Of its multiprocessors, in MHz, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_mhz: Option<u32>,
    /// Of its memory, in MHz, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<u32>,
    /// Memory errors since the driver was loaded that were not corrected; absent without ECC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecc_errors: Option<u64>,
    /// Errors that the driver reported since the worker's start.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub xid_errors: u64,
    /// NVIDIA's number of the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_xid: Option<u64>,
    /// Processes that compute on it, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
}

impl GpuUse {
    /// A GPU of which nothing is known but that it is there.
    #[must_use]
    pub const fn unknown(id: GpuId) -> Self {
        Self {
            id,
            utilization_ratio: 0.0,
            memory_used_bytes: 0,
            temperature_celsius: 0.0,
            power_watts: 0.0,
            energy_joules: 0.0,
            clock_mhz: None,
            memory_clock_mhz: None,
            ecc_errors: None,
            xid_errors: 0,
            last_xid: None,
            processes: None,
        }
    }
}

/// What an attempt uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobUse {
    /// Its id.
    pub attempt: AttemptId,
    /// Cores in use.
    pub cpu_cores: f64,
    /// Bytes in use.
    pub memory_bytes: u64,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pids: u64,
    /// What it has read and written since its start.
    #[serde(default, skip_serializing_if = "Io::is_none")]
    pub io: Io,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
