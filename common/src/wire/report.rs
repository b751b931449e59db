//! What a worker tells the masters. Each is kept in its outbox until a master has committed it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{AttemptId, Digest, GpuId, WorkerId};
use crate::job::{Outcome, Results};
use crate::resources::{Capacity, GpuTaken};
use crate::telemetry::Measured;

/// Reports of one worker in their order: one message, sealed by the worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportEnvelope {
    /// [`super::WIRE_VERSION`] of the writer.
    pub version: u32,
    /// Who reports; must be whose key sealed it.
    pub worker: WorkerId,
    /// Each is a [`NumberedReport`]. They are parsed one by one, so that one bad report hides no other.
    pub reports: Vec<Box<RawValue>>,
}

/// A report with its place among the worker's reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberedReport {
    /// Grows by one with every report of this worker, over restarts too. Where the worker's record is new
    /// it begins at the clock's milliseconds since 1970, above all that an earlier record counted.
    pub seq: u64,
    /// The worker's own clock, milliseconds since 1970, for display only.
    pub at_ms: u64,
    /// What happened.
    pub report: Report,
}

impl Report {
    /// Whether it describes the worker as a whole and not one attempt. A master drops such a report when
    /// it has seen a later one of the same worker, so nothing is sent after it until it is confirmed.
    #[must_use]
    pub const fn is_about_the_worker(&self) -> bool {
        match self {
            Self::Hello(_) | Self::Goodbye => true,
            Self::Accepted { .. }
            | Self::Refused { .. }
            | Self::Entered { .. }
            | Self::Finished { .. }
            | Self::Measured { .. }
            | Self::Unknown => false,
        }
    }
}

/// What happened on a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Report {
    /// It is here, with this inventory and these attempts. Sent at start, after every reconnection and
    /// whenever the inventory changes.
    Hello(Box<Hello>),
    /// It goes away on purpose; its containers go on.
    Goodbye,
    /// The order is durably recorded.
    Accepted {
        /// Which attempt.
        attempt: AttemptId,
    },
    /// It will not take the attempt, which therefore never ran there.
    Refused {
        /// Which attempt.
        attempt: AttemptId,
        /// Why.
        reason: String,
    },
    /// The attempt entered a phase.
    Entered {
        /// Which attempt.
        attempt: AttemptId,
        /// Which phase.
        phase: AttemptPhase,
        /// What a reader should know.
        #[serde(default)]
        note: String,
    },
    /// The attempt is over, its log and results are stored.
    Finished {
        /// Which attempt.
        attempt: AttemptId,
        /// How.
        outcome: Outcome,
        /// Milliseconds that the container ran; 0 when it never started.
        ran_ms: u64,
        /// Length of the attempt's log stream.
        log_bytes: u64,
        /// What became of its results, if they were to be published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        results: Option<Results>,
    },
    /// What the attempt used. Comes before its end.
    Measured {
        /// Which attempt.
        attempt: AttemptId,
        /// What it used.
        measured: Box<Measured>,
    },
    /// A kind that this version does not know; it is acknowledged, counted and left alone.
    #[serde(other)]
    Unknown,
}

/// A worker's introduction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Differs after every start of the agent.
    pub session: String,
    /// Version of the agent.
    pub agent: String,
    /// The container engine's version.
    pub engine: String,
    /// How GPUs get into containers: `cdi`, `nvidia-runtime`, `none` or `simulated`.
    pub gpu_mode: String,
    /// What it offers.
    pub capacity: Capacity,
    /// Digests of the bundles whose images it holds.
    pub images: BTreeSet<Digest>,
    /// Every attempt that it knows.
    pub attempts: Vec<KnownAttempt>,
    /// Why it takes no attempts now, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
    /// The GPUs that must not be given to jobs for now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub taken: BTreeMap<GpuId, GpuTaken>,
    /// What jobs reach: `open`, `internet` or `none`; empty from older workers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub egress: String,
    /// What build steps reach: `default`, `internet` or `none`; empty from older workers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub build_egress: String,
    /// Of the agent's data folder, the same after every start; empty from older workers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The machine's own name and an address of it; empty from older workers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
}

/// An attempt that a worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAttempt {
    /// Its id.
    pub attempt: AttemptId,
    /// Where it stands; `None` once its end has been reported.
    pub phase: Option<AttemptPhase>,
}

/// Where an attempt stands on its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptPhase {
    /// Recorded, nothing begun.
    Accepted,
    /// Fetching the bundle, building or loading the image.
    Building,
    /// The container runs.
    Running,
    /// The container is frozen.
    Paused,
    /// It was told to end.
    Stopping,
    /// The container ended, or there never was one: nothing is held any more. Log and results are on their way.
    Uploading,
}
