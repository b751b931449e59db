//! The record of the counters and the queue's lock.

use serde::{Deserialize, Serialize};

use super::error::check_version;
use super::{Error, RECORD_VERSION};
use crate::id::ParseIdError;
use crate::sched::{Meta, QueueLock};
use crate::time::Timestamp;

/// A [`Meta`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// The last job id that was given.
    pub last_job: u64,
    /// How many finished jobs count for the `recency` penalty.
    pub finished_jobs: u64,
    /// Set while the queue is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockRecord>,
}

/// A [`QueueLock`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// Who locked it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it ends by itself, milliseconds since 1970.
    pub until_ms: u64,
}

impl From<&Meta> for MetaRecord {
    fn from(meta: &Meta) -> Self {
        Self {
            version: RECORD_VERSION,
            last_job: meta.last_job,
            finished_jobs: meta.finished_jobs,
            lock: meta.lock.as_ref().map(|lock| LockRecord {
                by: lock.by.to_string(),
                reason: lock.reason.clone(),
                until_ms: lock.until.as_millis(),
            }),
        }
    }
}

impl MetaRecord {
    /// The counters and the lock.
    ///
    /// # Errors
    /// When the record holds what no lock can.
    pub fn to_meta(&self) -> Result<Meta, Error> {
        check_version(self.version)?;
        let lock = self.lock.as_ref().map(|lock| {
            Ok::<_, ParseIdError>(QueueLock {
                by: lock.by.parse()?,
                reason: lock.reason.clone(),
                until: Timestamp::from_millis(lock.until_ms),
            })
        });
        Ok(Meta {
            last_job: self.last_job,
            finished_jobs: self.finished_jobs,
            lock: lock.transpose()?,
        })
    }
}
