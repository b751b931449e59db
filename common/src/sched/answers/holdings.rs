//! What the members of a group hold together.

use crate::id::GroupName;
use crate::sched::state::core::State;

/// What the members of a group have together now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Queued jobs; each task of an array counts.
    pub queued: u64,
    /// Jobs that have a node.
    pub running: u64,
    /// Milli-GPU that those hold.
    pub gpus_milli: u64,
}

/// What the members of a group have together now; nothing for an unknown group.
#[must_use]
pub fn group_holdings_of(state: &State, name: &GroupName) -> Holdings {
    let group = state.index().group_state(name);
    group.map_or_else(Holdings::default, |group| Holdings {
        queued: group.counts.queued,
        running: u64::from(group.counts.active),
        gpus_milli: group.counts.gpus,
    })
}
