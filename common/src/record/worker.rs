//! The record of a worker.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::check_version;
use super::{Error, RECORD_VERSION};
use crate::id::ParseIdError;
use crate::resources::Capacity;
use crate::sched::{Cordon, Health, Worker};
use crate::time::Timestamp;

/// A [`Worker`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Which.
    pub id: String,
    /// The agent's session.
    pub session: String,
    /// Whether it is heard from.
    pub health: HealthRecord,
    /// Set while it is closed to new jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<CordonRecord>,
    /// When it first joined, milliseconds since 1970.
    pub joined_at_ms: u64,
    /// What it offers.
    pub capacity: Capacity,
    /// Digests of the bundles whose images it holds.
    #[serde(default)]
    pub images: Vec<String>,
}

/// A [`Health`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum HealthRecord {
    /// [`Health::Up`]
    Up,
    /// [`Health::Suspect`]
    Suspect {
        /// Since when, milliseconds since 1970.
        since_ms: u64,
    },
    /// [`Health::Lost`]
    Lost {
        /// Since when, milliseconds since 1970.
        since_ms: u64,
    },
}

/// A [`Cordon`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CordonRecord {
    /// Who closed it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, milliseconds since 1970.
    pub at_ms: u64,
}

impl From<&Worker> for WorkerRecord {
    fn from(worker: &Worker) -> Self {
        Self {
            version: RECORD_VERSION,
            id: worker.id.to_string(),
            session: worker.session.to_string(),
            health: worker.health.into(),
            cordon: worker.cordon.as_ref().map(|cordon| CordonRecord {
                by: cordon.by.to_string(),
                reason: cordon.reason.clone(),
                at_ms: cordon.at.as_millis(),
            }),
            joined_at_ms: worker.joined_at.as_millis(),
            capacity: worker.capacity.clone(),
            images: worker.images.iter().map(ToString::to_string).collect(),
        }
    }
}

impl WorkerRecord {
    /// The worker.
    ///
    /// # Errors
    /// When the record holds what no worker can.
    pub fn to_worker(&self) -> Result<Worker, Error> {
        check_version(self.version)?;
        let cordon = self.cordon.as_ref().map(|cordon| {
            Ok::<_, ParseIdError>(Cordon {
                by: cordon.by.parse()?,
                reason: cordon.reason.clone(),
                at: Timestamp::from_millis(cordon.at_ms),
            })
        });
        let images = self.images.iter().map(|digest| digest.parse());
        Ok(Worker {
            id: self.id.parse()?,
            session: Arc::from(self.session.as_str()),
            capacity: self.capacity.clone(),
            images: images.collect::<Result<BTreeSet<_>, _>>()?,
            joined_at: Timestamp::from_millis(self.joined_at_ms),
            health: self.health.into(),
            cordon: cordon.transpose()?,
        })
    }
}

impl From<Health> for HealthRecord {
    fn from(health: Health) -> Self {
        match health {
            Health::Up => Self::Up,
            Health::Suspect { since } => Self::Suspect {
                since_ms: since.as_millis(),
            },
            Health::Lost { since } => Self::Lost {
                since_ms: since.as_millis(),
            },
        }
    }
}

impl From<HealthRecord> for Health {
    fn from(record: HealthRecord) -> Self {
        match record {
            HealthRecord::Up => Self::Up,
            HealthRecord::Suspect { since_ms } => Self::Suspect {
                since: Timestamp::from_millis(since_ms),
            },
            HealthRecord::Lost { since_ms } => Self::Lost {
                since: Timestamp::from_millis(since_ms),
            },
        }
    }
}
