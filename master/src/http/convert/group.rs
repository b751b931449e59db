//! Groups of users.

use dopq_common::api;
use dopq_common::resources::MilliGpu;
use dopq_common::sched::{self, Guards};
use dopq_common::time::Timestamp;

use crate::view::Model;

/// A group as operators see it.
pub(in crate::http) fn group(model: &Model, now: Timestamp, group: &sched::Group) -> api::Group {
    let state = &model.state;
    let had = sched::group_account_of(state, now, &group.name);
    let has = sched::group_holdings_of(state, &group.name);
    let guards = &group.guards;
    api::Group {
        name: group.name.to_string(),
        members: state
            .members(&group.name)
            .map(ToString::to_string)
            .collect(),
        penalty: had.penalty,
        weight: group.weight,
        queued: has.queued,
        running: has.running,
        held_gpus_milli: has.gpus_milli,
        limits: api::GroupLimits {
            weight: Some(group.weight),
            max_gpus_milli: guards.max_gpus.map(|milli| milli.0),
            max_running: guards.max_running,
            max_queued: guards.max_queued,
            floor_gpus_milli: guards.floor.map(|milli| milli.0),
        },
        usage_gpu_seconds: had.usage,
        charged_gpus: had.rate,
    }
}

/// The requested limits.
pub(in crate::http) fn guards(limits: &api::GroupLimits) -> Guards {
    Guards {
        max_gpus: limits.max_gpus_milli.map(MilliGpu),
        max_running: limits.max_running,
        max_queued: limits.max_queued,
        floor: limits.floor_gpus_milli.map(MilliGpu),
    }
}
