//! What acts work on: the attempts of this machine and the tasks that run for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dopq_common::agent::{Run, State};
use dopq_common::id::AttemptId;
use dopq_common::job::{Cause, Outcome};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::logs::Log;

/// What is kept of the tasks of one attempt.
#[derive(Debug)]
pub(super) struct AttemptTasks {
    /// Ends fetching and building.
    pub(super) prepare: CancellationToken,
    /// Ends the storing of log and results.
    pub(super) store: CancellationToken,
    /// Ends the storing of checkpoints while its container runs.
    pub(super) checkpoints: CancellationToken,
    /// Whether its container is being watched.
    pub(super) watched: bool,
}

/// The state and the tasks that run for it.
pub(super) struct Work {
    pub(super) context: Arc<Context>,
    pub(super) state: State,
    pub(super) tasks: BTreeMap<AttemptId, AttemptTasks>,
}

impl Work {
    pub(super) const fn new(context: Arc<Context>, state: State) -> Self {
        Self {
            context,
            state,
            tasks: BTreeMap::new(),
        }
    }

    /// The tasks of an attempt, made when first needed.
    pub(super) fn tasks_of(&mut self, id: AttemptId) -> &mut AttemptTasks {
        let shutdown = &self.context.shutdown;
        self.tasks.entry(id).or_insert_with(|| AttemptTasks {
            prepare: shutdown.child_token(),
            store: CancellationToken::new(),
            checkpoints: shutdown.child_token(),
            watched: false,
        })
    }

    /// Other attempts of the same job whose containers may run.
    pub(super) fn busy_beside(&self, attempt: AttemptId) -> BTreeSet<u32> {
        let is_other = |id: AttemptId| {
            id.job == attempt.job && id.key == attempt.key && id.number != attempt.number
        };
        let known = self.state.attempts();
        known
            .filter(|known| is_other(known.id) && !known.stage.is_over())
            .map(|known| known.id.number)
            .collect()
    }

    /// What to run. An order that is not understood any more after an upgrade cannot be prepared.
    pub(super) fn run_of(&self, attempt: AttemptId) -> Result<Arc<Run>, Outcome> {
        let known = self.state.attempt(attempt);
        let run = known.and_then(|attempt| attempt.run.clone());
        run.ok_or_else(|| {
            let detail = "this version of the worker cannot parse the order";
            Outcome::new(Cause::EngineError, detail)
        })
    }
}

/// Writes a line of DoPQ's own into the log.
pub(super) async fn note(context: &Context, attempt: AttemptId, log: &Log, text: &str) {
    if let Err(error) = log.spool.note(context.clock.now(), text).await {
        tracing::warn!(%attempt, %error, "failed to write a line to the log");
    }
}
