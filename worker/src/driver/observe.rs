//! The engine's containers as the core sees them.

use std::sync::Arc;

use dopq_common::agent::{Exit, Seen, Status};
use dopq_common::id::AttemptId;

use super::context::Context;
use crate::docker::{self, Container, LABEL_ATTEMPT, LABEL_CLUSTER, LABEL_INSTANCE, LABEL_WORKER};

/// A container that ended without telling how.
const UNKNOWN_EXIT: i64 = 255;

/// How a container stands.
pub(super) fn status(container: &Container) -> Status {
    let since = container.started_at.unwrap_or_default();
    match container.status {
        docker::Status::Created => Status::Created,
        docker::Status::Running | docker::Status::Restarting => Status::Running { since },
        docker::Status::Paused => Status::Paused { since },
        docker::Status::Exited | docker::Status::Dead | docker::Status::Removing => {
            if container.started_at.is_none() {
                return Status::Created;
            }
            Status::Exited(Exit {
                code: container.exit_code.map_or(UNKNOWN_EXIT, i64::from),
                oom_killed: container.oom_killed,
                started_at: container.started_at,
                finished_at: container.finished_at,
            })
        }
    }
}

/// Whether this very worker made it, and for which attempt.
pub(super) fn own_attempt(container: &Container, instance: &str) -> Option<AttemptId> {
    let made_here = container
        .labels
        .get(LABEL_INSTANCE)
        .is_some_and(|label| label == instance);
    let attempt = container.labels.get(LABEL_ATTEMPT)?;
    attempt.parse().ok().filter(|_| made_here)
}

/// Every container of this worker.
pub(crate) async fn seen(context: &Context) -> Result<Vec<Seen>, docker::Error> {
    let labels = [
        (LABEL_CLUSTER, &*context.options.settings.cluster),
        (LABEL_WORKER, context.options.name.as_str()),
    ];
    let containers = context.engine.list(&labels).await.inspect_err(|error| {
        if error.is_uncertain() {
            context.health.lost(&context.clock);
        }
    })?;
    let own = containers.iter().filter_map(|container| {
        Some(Seen {
            attempt: own_attempt(container, &context.instance)?,
            container: Arc::from(container.id.as_str()),
            status: status(container),
        })
    });
    Ok(own.collect())
}
