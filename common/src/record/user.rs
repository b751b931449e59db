//! The records of a user and of a group.

use serde::{Deserialize, Serialize};

use super::error::check_version;
use super::{Error, RECORD_VERSION};
use crate::resources::MilliGpu;
use crate::sched::{Group, Guards, User};
use crate::time::Timestamp;

/// A [`User`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Who.
    pub name: String,
    /// The group that they are in; absent for one who is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
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

/// A [`Group`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Which.
    pub name: String,
    /// More than 1 means more than an equal share.
    pub weight: f64,
    /// Limits of all members together.
    #[serde(default)]
    pub guards: GuardsRecord,
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
    /// Thousandths of a GPU that are guaranteed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_gpus_milli: Option<u32>,
}

impl From<&Guards> for GuardsRecord {
    fn from(guards: &Guards) -> Self {
        Self {
            max_gpus_milli: guards.max_gpus.map(|milli| milli.0),
            max_running: guards.max_running,
            max_queued: guards.max_queued,
            floor_gpus_milli: guards.floor.map(|milli| milli.0),
        }
    }
}

impl From<&GuardsRecord> for Guards {
    fn from(record: &GuardsRecord) -> Self {
        Self {
            max_gpus: record.max_gpus_milli.map(MilliGpu),
            max_running: record.max_running,
            max_queued: record.max_queued,
            floor: record.floor_gpus_milli.map(MilliGpu),
        }
    }
}

impl From<&User> for UserRecord {
    fn from(user: &User) -> Self {
        Self {
            version: RECORD_VERSION,
            name: user.name.to_string(),
            weight: user.weight,
            group: user.group.as_ref().map(ToString::to_string),
            guards: GuardsRecord::from(&user.guards),
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
            group: self.group.as_deref().map(str::parse).transpose()?,
            guards: Guards::from(&self.guards),
            recency: self.recency,
            recency_at: self.recency_at,
            usage: self.usage,
            usage_at: Timestamp::from_millis(self.usage_at_ms),
        })
    }
}

impl From<&Group> for GroupRecord {
    fn from(group: &Group) -> Self {
        Self {
            version: RECORD_VERSION,
            name: group.name.to_string(),
            weight: group.weight,
            guards: GuardsRecord::from(&group.guards),
        }
    }
}

impl GroupRecord {
    /// The group.
    ///
    /// # Errors
    /// When the record holds what no group can.
    pub fn to_group(&self) -> Result<Group, Error> {
        check_version(self.version)?;
        Ok(Group {
            name: self.name.parse()?,
            weight: self.weight,
            guards: Guards::from(&self.guards),
        })
    }
}
