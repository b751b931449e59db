//! Ends jobs whose user keeps more on this machine than they may.

use std::sync::Arc;

use dopq_common::agent::{Event, State};

use super::context::Context;
use crate::volumes::FRESH;

/// Watches the jobs that were started before this process.
pub(crate) fn resume(context: &Context, state: &State) {
    for attempt in state.attempts().filter(|known| known.stage.may_run()) {
        if let Some(run) = &attempt.run {
            context.volumes.resume(attempt.id, &run.order.user);
        }
    }
}

/// Looks until the worker ends.
pub(crate) async fn watch(context: Arc<Context>) {
    loop {
        tokio::time::sleep(FRESH).await;
        for (attempt, outcome) in context.volumes.exceeded().await {
            tracing::warn!(%attempt, detail = outcome.detail, "stopping a job");
            context
                .tell(Event::QuotaExceeded { attempt, outcome })
                .await;
        }
    }
}
