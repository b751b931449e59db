//! The record of how long an attempt was expected to run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::job::millis;
use crate::job::{Expected, ExpectedBy};

/// An [`Expected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedRecord {
    /// About how long, in milliseconds.
    pub typical_ms: u64,
    /// Hardly longer than that, in milliseconds.
    pub longest_ms: u64,
    /// By what.
    pub by: ExpectedByRecord,
}

/// An [`ExpectedBy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExpectedByRecord {
    /// [`ExpectedBy::Request`]
    Request,
    /// [`ExpectedBy::Limit`]
    Limit,
    /// [`ExpectedBy::Learned`]
    Learned {
        /// From how many runs.
        runs: u32,
    },
}

impl From<Expected> for ExpectedRecord {
    fn from(expected: Expected) -> Self {
        Self {
            typical_ms: millis(expected.typical),
            longest_ms: millis(expected.longest),
            by: match expected.by {
                ExpectedBy::Request => ExpectedByRecord::Request,
                ExpectedBy::Limit => ExpectedByRecord::Limit,
                ExpectedBy::Learned { runs } => ExpectedByRecord::Learned { runs },
            },
        }
    }
}

impl From<ExpectedRecord> for Expected {
    fn from(record: ExpectedRecord) -> Self {
        Self {
            typical: Duration::from_millis(record.typical_ms),
            longest: Duration::from_millis(record.longest_ms),
            by: match record.by {
                ExpectedByRecord::Request => ExpectedBy::Request,
                ExpectedByRecord::Limit => ExpectedBy::Limit,
                ExpectedByRecord::Learned { runs } => ExpectedBy::Learned { runs },
            },
        }
    }
}
