//! Groups of users.

use dopq_common::api;
use dopq_common::sched;
use dopq_common::time::Timestamp;

use super::limits::limits;
use crate::view::Model;

/// A group as operators see it.
pub(in crate::http) fn group(model: &Model, now: Timestamp, group: &sched::Group) -> api::Group {
    let state = &model.state;
    let had = sched::group_account_of(state, now, &group.name);
    let has = sched::group_holdings_of(state, &group.name);
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
        limits: limits(group.weight, &group.guards),
        usage_gpu_seconds: had.usage,
        charged_gpus: had.rate,
    }
}
