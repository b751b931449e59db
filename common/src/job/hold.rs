//! A hold on a job that waits.

use serde::{Deserialize, Serialize};

use crate::id::UserName;
use crate::time::Timestamp;

/// Who holds a job back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who said so.
    pub by: UserName,
    /// Since when.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
}
