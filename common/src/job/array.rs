//! A job of many tasks: what is kept of the tasks while it goes on, and what remains of them.
//!
//! A task becomes a job of its own when it is begun, so that however many wait cost no more than one job.

use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::job::{Hold, Indexes, Outcome, StopReason};
use crate::time::Timestamp;

/// Which task of an array a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The array.
    pub array: JobId,
    /// The task's index in it.
    pub index: u32,
}

/// The data of an array that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Array {
    /// Since when it waits.
    #[serde(rename = "since_ms")]
    pub since: Timestamp,
    /// Set while somebody holds its waiting tasks back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Tasks that have not been begun.
    #[serde(default, skip_serializing_if = "Indexes::is_empty")]
    pub waiting: Indexes,
    /// How many tasks are jobs of their own that are not over.
    #[serde(default)]
    pub open: u32,
    /// Tasks that are over.
    #[serde(default)]
    pub ends: TaskEnds,
    /// How the first task ended that did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Outcome>,
    /// Why no further task is begun and those that were begun are stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopping: Option<StopReason>,
}

/// Tasks by how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnds {
    /// As they should.
    #[serde(default, skip_serializing_if = "Indexes::is_empty")]
    pub succeeded: Indexes,
    /// Otherwise, by a cause of their own.
    #[serde(default, skip_serializing_if = "Indexes::is_empty")]
    pub failed: Indexes,
    /// By somebody's word, or never begun.
    #[serde(default, skip_serializing_if = "Indexes::is_empty")]
    pub cancelled: Indexes,
}

impl TaskEnds {
    /// How many tasks are over.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.succeeded.len() + self.failed.len() + self.cancelled.len()
    }

    /// Whether no task is over.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.succeeded.is_empty() && self.failed.is_empty() && self.cancelled.is_empty()
    }
}
