//! The record of a user.

use serde::{Deserialize, Serialize};

use super::error::check_version;
use super::{Error, RECORD_VERSION};
use crate::resources::MilliGpu;
use crate::sched::{Guards, User};
use crate::time::Timestamp;

/// A [`User`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Who.
    pub name: String,
    /// More than 1 means more than an equal share.
    pub weight: f64,
    /// Limits.
    #[serde(default)]
    pub guards: GuardsRecord,
    /// The `recency` penalty as of `recency_at` finished jobs.
    pub recency: f64,
    /// The count of finished jobs that `recency` is as of.
    pub recency_at: u64,
    /// Weighted GPU-seconds as of `usage_at_ms`.
    #[serde(default)]
    pub usage: f64,
    /// What `usage` is as of, milliseconds since 1970.
    #[serde(default)]
    pub usage_at_ms: u64,
}

/// A [`Guards`]; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardsRecord {
    /// Thousandths of a GPU held at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_gpus_milli: Option<u32>,
    /// Jobs active at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// Jobs waiting at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u32>,
}

impl From<&User> for UserRecord {
    fn from(user: &User) -> Self {
        Self {
            version: RECORD_VERSION,
            name: user.name.to_string(),
            weight: user.weight,
            guards: GuardsRecord {
                max_gpus_milli: user.guards.max_gpus.map(|milli| milli.0),
                max_running: user.guards.max_running,
                max_queued: user.guards.max_queued,
            },
            recency: user.recency,
            recency_at: user.recency_at,
            usage: user.usage,
            usage_at_ms: user.usage_at.as_millis(),
        }
    }
}

impl UserRecord {
    /// The user.
    ///
    /// # Errors
    /// When the record holds what no user can.
    pub fn to_user(&self) -> Result<User, Error> {
        check_version(self.version)?;
        Ok(User {
            name: self.name.parse()?,
            weight: self.weight,
            guards: Guards {
                max_gpus: self.guards.max_gpus_milli.map(MilliGpu),
                max_running: self.guards.max_running,
                max_queued: self.guards.max_queued,
            },
            recency: self.recency,
            recency_at: self.recency_at,
            usage: self.usage,
            usage_at: Timestamp::from_millis(self.usage_at_ms),
        })
    }
}
