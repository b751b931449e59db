//! A hold on a job that waits.

use crate::id::UserName;
use crate::time::Timestamp;

/// Who holds a job back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Who said so.
    pub by: UserName,
    /// Since when.
    pub at: Timestamp,
}
