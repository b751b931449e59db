//! What is done for `/checkpoint`: it is ready before the container, stored while that runs, and stored when it ended.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::Run;
use dopq_common::chain::chain;
use dopq_common::id::AttemptId;
use dopq_common::job::{Cause, Outcome, RetryRule};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::work::note;
use crate::checkpoint::{Error, Progress, is_wanted};

/// Between two lines about a restoration.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Brings the job's newest checkpoint here.
pub(super) async fn prepare(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
    busy: BTreeSet<u32>,
) -> Result<(), Outcome> {
    if !is_wanted(run) {
        return Ok(());
    }
    let progress = Progress::default();
    let (data, checkpoints) = (&context.data, &context.checkpoints);
    let mut preparing = pin!(checkpoints.prepare(data, attempt, run, busy, &progress));
    let mut due = tokio::time::interval_at(Instant::now() + TELL_EVERY, TELL_EVERY);
    let mut told = None;
    let prepared = loop {
        tokio::select! {
            prepared = &mut preparing => break prepared,
            _ = due.tick() => {
                let text = progress.text();
                // Masters that are away may be so for long.
                if text != told {
                    told.clone_from(&text);
                    tell(context, attempt, run, text).await;
                }
            }
        }
    };
    prepared.map_err(|error| outcome(&error))
}

/// How an attempt ends that does not get its `/checkpoint`.
pub(super) fn outcome(error: &Error) -> Outcome {
    let cause = if error.is_full() {
        Cause::DiskFull
    } else {
        Cause::EngineError
    };
    Outcome::new(cause, format!("failed to {}", chain(error)))
}

/// Stores what the container leaves in its `/checkpoint` again and again, until `stop`.
pub(super) fn keep_stored(
    context: &Arc<Context>,
    attempt: AttemptId,
    run: Arc<Run>,
    stop: CancellationToken,
) {
    let least = context.options.settings.limits.checkpoint_every;
    let wanted = run.spec.checkpoint_every;
    let every = wanted.map_or(least, |every| every.max(least));
    let inner = Arc::clone(context);
    context.spawn_for(attempt, async move {
        let storing = store_every(&inner, attempt, &run, every, &stop);
        stop.run_until_cancelled(storing).await;
        None
    });
}

async fn store_every(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
    every: Duration,
    stop: &CancellationToken,
) {
    let mut told = None;
    loop {
        tokio::time::sleep(every).await;
        let failure = store(context, attempt, run, stop).await.err();
        let failure =
            failure.map(|error| format!("the checkpoint is not stored: {}", chain(&error)));
        // The same is not told every time.
        if failure != told {
            tell(context, attempt, run, failure.clone()).await;
            told = failure;
        }
    }
}

/// Stores what an attempt left whose container has ended. Tells why that failed, if it did.
pub(super) async fn store_last(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
    stop: &CancellationToken,
) -> Result<(), String> {
    let stored = store(context, attempt, run, stop).await;
    stored.map_err(|error| {
        let why = chain(&error);
        tracing::warn!(%attempt, why, "the checkpoint is not stored");
        why
    })
}

async fn store(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let session = context.checkpoints.session(&context.data, attempt, run);
    let Some(session) = session.transpose()? else {
        return Ok(());
    };
    let mut session = session.lock().await;
    let now = context.clock.now();
    if let Some(done) = session.store(&context.data, now, stop).await? {
        let (size_bytes, sent_bytes) = (done.bytes, done.sent_bytes);
        tracing::info!(%attempt, size_bytes, sent_bytes, "stored the checkpoint");
    }
    Ok(())
}

/// Whether the job may run again after an attempt that ended so. `run` tells whether it may after a fault of its own.
pub(super) fn may_run_again(cause: Cause, run: Option<&Run>) -> bool {
    match cause.retry_rule() {
        RetryRule::Never => false,
        RetryRule::UserBudget => run.is_none_or(|run| run.spec.retries > 0),
        RetryRule::Infrastructure | RetryRule::Requeue => true,
    }
}

/// Writes a line into the attempt's log, if there is one to write.
async fn tell(context: &Context, attempt: AttemptId, run: &Run, text: Option<String>) {
    if let Some(text) = text
        && let Ok(log) = context.log(attempt, Some(run))
    {
        note(context, attempt, &log, &text).await;
    }
}
