//! What goes over a container's disks and networks.

use serde::{Deserialize, Serialize};

/// What a container has read and written since its start, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Io {
    /// Read from disks.
    #[serde(skip_serializing_if = "is_zero")]
    pub disk_read_bytes: u64,
    /// Written to disks.
    #[serde(skip_serializing_if = "is_zero")]
    pub disk_written_bytes: u64,
    /// Received over its network.
    #[serde(skip_serializing_if = "is_zero")]
    pub received_bytes: u64,
    /// Sent over its network.
    #[serde(skip_serializing_if = "is_zero")]
    pub sent_bytes: u64,
}

impl Io {
    /// Whether it is nothing at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
