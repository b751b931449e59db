//! Floors: GPUs that a user or a group is guaranteed. A job that keeps what is held within a floor goes before
//! every other of its class.
//!
//! Floors count GPUs, so jobs without GPUs have no part in them: otherwise any number of them would go first.

use crate::resources::MilliGpu;
use crate::sched::model::demand::Demand;
use crate::sched::state::index::Index;
use crate::sched::state::user_queue::UserQueue;

/// Whose floor a job is within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Its user's.
    User,
    /// That of its user's group alone.
    Group,
}

/// Milli-GPU that are counted as held besides those that are held.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extra {
    pub(crate) user: u64,
    pub(crate) group: u64,
}

/// Whether any job of the user can be within a floor.
pub(crate) fn has_floor(index: &Index, user_queue: &UserQueue) -> bool {
    let group = index.group_state_of(user_queue);
    user_queue.floor.is_some() || group.is_some_and(|group| group.floor.is_some())
}

/// The floor within which a job with this demand keeps what its user, or their group, holds.
pub(crate) fn floor_of(
    index: &Index,
    user_queue: &UserQueue,
    extra: Extra,
    demand: Demand,
) -> Option<Floor> {
    if demand.milli == 0 {
        return None;
    }
    let held = user_queue.counts.gpus + extra.user + demand.milli;
    if is_within(user_queue.floor, held) {
        return Some(Floor::User);
    }
    let group = index.group_state_of(user_queue)?;
    let held = group.counts.gpus + extra.group + demand.milli;
    is_within(group.floor, held).then_some(Floor::Group)
}

/// Whether so many milli-GPU are within a floor.
pub(crate) fn is_within(floor: Option<MilliGpu>, held: u64) -> bool {
    floor.is_some_and(|floor| held <= u64::from(floor.0))
}
