//! A job's timeline: every change of its phase.

use serde::{Deserialize, Serialize};

use crate::id::GpuId;
use crate::time::Timestamp;

/// The most lines that a job's timeline has. The first, its submission, is kept whatever follows.
pub const TIMELINE_MAX: usize = 64;

/// One line of a job's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// Into which phase.
    pub phase: Phase,
    /// With which attempt, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What a reader should know: the machine, the reason, the cause.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The GPUs that the attempt was given, on the line of its placement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuId>,
}

/// The name of a state, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// [`crate::job::JobState::Queued`]
    Queued,
    /// [`crate::job::Stage::Assigned`]
    Assigned,
    /// [`crate::job::Stage::Building`]
    Building,
    /// [`crate::job::Stage::Running`]
    Running,
    /// [`crate::job::Stage::Paused`]
    Paused,
    /// [`crate::job::Stage::Stopping`]
    Stopping,
    /// [`crate::job::Stage::Publishing`]
    Publishing,
    /// [`crate::job::JobState::Finished`]
    Finished,
}

impl Phase {
    /// Every phase, in the order a job passes through them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Assigned,
        Self::Building,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Publishing,
        Self::Finished,
    ];

    /// The lower-case word that the API, the CLI and the metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Assigned => "assigned",
            Self::Building => "building",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Publishing => "publishing",
            Self::Finished => "finished",
        }
    }
}
