//! Limits of users and groups.

use dopq_common::api;
use dopq_common::resources::MilliGpu;
use dopq_common::sched::Guards;

/// The limits that are set.
pub(super) fn limits(weight: f64, guards: &Guards) -> api::Limits {
    api::Limits {
        weight: Some(weight),
        max_gpus_milli: guards.max_gpus.map(|milli| milli.0),
        max_running: guards.max_running,
        max_queued: guards.max_queued,
        floor_gpus_milli: guards.floor.map(|milli| milli.0),
        group: None,
    }
}

/// The requested limits.
pub(in crate::http) fn guards(limits: &api::Limits) -> Guards {
    Guards {
        max_gpus: limits.max_gpus_milli.map(MilliGpu),
        max_running: limits.max_running,
        max_queued: limits.max_queued,
        floor: limits.floor_gpus_milli.map(MilliGpu),
    }
}
