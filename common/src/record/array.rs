//! The records of an array's tasks.

use serde::{Deserialize, Serialize};

use super::Error;
use super::job::{HoldRecord, StopRecord};
use crate::id::JobId;
use crate::job::{Array, Indexes, Outcome, Task, TaskEnds};
use crate::time::Timestamp;
use crate::wire::WireOutcome;

/// A [`Task`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The array's id.
    pub array: u64,
    /// The task's index in it.
    pub index: u32,
}

/// An [`Array`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayRecord {
    /// Since when it waits, milliseconds since 1970.
    pub since_ms: u64,
    /// Set while somebody holds its waiting tasks back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldRecord>,
    /// Indexes of tasks that have not been begun, such as `5-99`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting: String,
    /// How many tasks are under way.
    #[serde(default)]
    pub open: u32,
    /// Tasks that are over.
    #[serde(default)]
    pub ends: EndsRecord,
    /// How the first task ended that did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<WireOutcome>,
    /// Why it is being ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<StopRecord>,
}

/// A [`TaskEnds`]: indexes, such as `0-4,7`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndsRecord {
    /// As they should.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub succeeded: String,
    /// Otherwise, by a cause of their own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failed: String,
    /// By somebody's word, or never begun.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cancelled: String,
}

impl From<Task> for TaskRecord {
    fn from(task: Task) -> Self {
        Self {
            array: task.array.0,
            index: task.index,
        }
    }
}

impl From<TaskRecord> for Task {
    fn from(record: TaskRecord) -> Self {
        Self {
            array: JobId(record.array),
            index: record.index,
        }
    }
}

impl From<&Array> for ArrayRecord {
    fn from(array: &Array) -> Self {
        Self {
            since_ms: array.since.as_millis(),
            hold: array.hold.as_ref().map(HoldRecord::from),
            waiting: array.waiting.to_string(),
            open: array.open,
            ends: EndsRecord::from(&array.ends),
            failure: array.failure.as_ref().map(WireOutcome::from),
            stopping: array.stopping.as_ref().map(StopRecord::from),
        }
    }
}

impl ArrayRecord {
    pub(super) fn to_array(&self) -> Result<Array, Error> {
        let stopping = self.stopping.as_ref().map(StopRecord::to_reason);
        Ok(Array {
            since: Timestamp::from_millis(self.since_ms),
            hold: self.hold.as_ref().map(HoldRecord::to_hold).transpose()?,
            waiting: indexes(&self.waiting)?,
            open: self.open,
            ends: self.ends.to_ends()?,
            failure: self.failure.as_ref().map(Outcome::from),
            stopping: stopping.transpose()?,
        })
    }
}

impl From<&TaskEnds> for EndsRecord {
    fn from(ends: &TaskEnds) -> Self {
        Self {
            succeeded: ends.succeeded.to_string(),
            failed: ends.failed.to_string(),
            cancelled: ends.cancelled.to_string(),
        }
    }
}

impl EndsRecord {
    pub(super) fn to_ends(&self) -> Result<TaskEnds, Error> {
        Ok(TaskEnds {
            succeeded: indexes(&self.succeeded)?,
            failed: indexes(&self.failed)?,
            cancelled: indexes(&self.cancelled)?,
        })
    }
}

fn indexes(text: &str) -> Result<Indexes, Error> {
    if text.is_empty() {
        return Ok(Indexes::default());
    }
    Ok(text.parse()?)
}
