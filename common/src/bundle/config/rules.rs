//! Rules on new configurations that stored ones need not meet.

use std::time::Duration;

use crate::bundle::fault::{Faults, quote};
use crate::job::JobSpec;

/// The least time between two health checks: each starts a process in the container, by the engine that all jobs share.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Programs that watch the engine act on containers with labels of such names; names with a dot are others' as well.
const OTHERS: [&str; 3] = ["autoheal", "caddy", "ofelia"];

/// The name space of facts about an image, on which nothing acts.
const FACTS: &str = "org.opencontainers.image.";

/// Records every broken rule.
pub(super) fn check(spec: &JobSpec) -> Faults {
    let mut faults = Faults::default();
    let health = spec.container.healthcheck.as_ref();
    if let Some(interval) = health.and_then(|health| health.interval)
        && interval < HEALTH_INTERVAL
    {
        faults.add(
            "config_value",
            "run_params.healthcheck.interval",
            "it must be at least 5000000000 (5 s)",
        );
    }
    for name in spec.container.labels.keys() {
        let lower = name.to_ascii_lowercase();
        let is_foreign = lower.contains('.') || OTHERS.iter().any(|other| lower.starts_with(other));
        if is_foreign && !lower.starts_with(FACTS) {
            faults.add(
                "config_value",
                format!("run_params.labels.{}", quote(name)),
                "this name belongs to another program; use a name without dots, such as team",
            );
        }
    }
    faults
}
