//! The end of an attempt on this machine: the rest of its output, its log and results stored, then gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dopq_common::agent::{Event, Run, Stage, Stored};
use dopq_common::id::AttemptId;
use dopq_common::job::{Artifacts, Cause, Results};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::checkpoint;
use super::context::Context;
use super::work::{Work, note};
use crate::docker;
use crate::logs::{CaptureError, Log, capture, ran_out};
use crate::retry::Pauses;
use crate::{outdir, results, retry};
use dopq_common::chain::chain;

/// How long the live reading of the output may go on after the end before it is cut short; the last
/// look finds what it left.
const DRAIN: Duration = Duration::from_secs(10);
/// Marks a log whose end may be lost.
const OUTPUT_UNCERTAIN: &str =
    "the container engine was away when the container ended: the end of the output may be missing";
const OUTPUT_REMOVED: &str =
    "the container was removed before its output was read: the end of the output may be missing";

/// Begins the line that says that the log's disk failed.
const LOG_CUT: &str = "the log is cut here: it cannot be written";
/// After so many tries, the log cannot be opened.
const OPENS_MAX: usize = 5;

/// What is to be done at the end of one attempt.
struct Ending {
    attempt: AttemptId,
    run: Option<Arc<Run>>,
    /// A container whose output is to be read to its end.
    container: Option<Arc<str>>,
    /// A container that must go before anything is told.
    discard: Option<Arc<str>>,
    results: bool,
    checkpoint: bool,
    /// Ends the storing.
    stop: CancellationToken,
    /// Whether the output is looked through for a GPU's memory that ran out.
    may_exhaust_gpu: bool,
}

impl Ending {
    /// The run whose results are wanted.
    fn wanted_results(&self) -> Option<&Run> {
        self.run.as_deref().filter(|_| self.results)
    }
}

/// Begins it.
pub(super) fn finish(work: &mut Work, attempt: AttemptId, discard: Option<Arc<str>>) {
    let Some(Stage::Uploading {
        container, ended, ..
    }) = work.state.attempt(attempt).map(|a| a.stage.clone())
    else {
        return;
    };
    let run = work.run_of(attempt).ok();
    let ran = container.is_some() && discard.is_none();
    let wanted = run.as_ref().map(|run| run.spec.artifacts);
    let has_gpus = run
        .as_ref()
        .is_some_and(|run| !run.order.allocation.gpus.is_empty());
    work.tasks_of(attempt).checkpoints.cancel();
    let runs_again = checkpoint::may_run_again(ended.outcome.cause, run.as_deref());
    if !runs_again {
        work.context.checkpoints.is_last(attempt);
    }
    let ending = Ending {
        checkpoint: ran && runs_again,
        attempt,
        container: container.filter(|_| ran),
        discard,
        results: ran
            && match wanted {
                Some(Artifacts::Always) => true,
                Some(Artifacts::Success) => ended.outcome.cause == Cause::Succeeded,
                Some(Artifacts::Never) | None => false,
            },
        stop: work.tasks_of(attempt).store.clone(),
        may_exhaust_gpu: ran && has_gpus && ended.outcome.cause == Cause::UserError,
        run,
    };
    let context = Arc::clone(&work.context);
    work.context.spawn_for(attempt, async move {
        let (stored, results) = end(&context, &ending).await;
        Some(match results {
            Ok(results) => Event::Uploaded {
                attempt,
                stored: Stored { results, ..stored },
            },
            Err(error) => {
                let detail = format!("cannot read the results: {}", chain(&error));
                tracing::error!(%attempt, detail);
                Event::TaskFailed {
                    attempt,
                    detail,
                    log_bytes: stored.log_bytes,
                }
            }
        })
    });
}

/// What is known while log and results are being stored.
#[derive(Default)]
struct Known {
    log: Option<Arc<Log>>,
    /// Its whole length, once it is stored.
    log_bytes: Option<u64>,
    gpu_memory: Option<String>,
    /// Why output is missing in the log.
    log_cut: Option<String>,
    /// What became of the results, once that is known.
    results: Option<io::Result<Option<Results>>>,
    /// What became of the checkpoint, once that is known.
    checkpoint: Option<Result<(), String>>,
}

/// What is stored, and what became of the results, if there were to be any. Only the removal of a container that never
/// may run has no limit.
async fn end(context: &Context, ending: &Ending) -> (Stored, io::Result<Option<Results>>) {
    let attempt = ending.attempt;
    if let Some(container) = &ending.discard {
        remove(context, attempt, container).await;
    }
    let measured = context
        .meters
        .take(attempt, context.attempt_dir(attempt))
        .await;
    let known = Mutex::new(Known::default());
    let limit = context.options.settings.limits.publish_time;
    let checkpoint = async {
        if let Some(run) = ending.run.as_ref().filter(|_| ending.checkpoint) {
            let done = checkpoint::store_last(context, attempt, run, &ending.stop).await;
            known.lock().checkpoint = Some(done);
        }
    };
    let others = async {
        let done = store(context, ending, &known).await;
        known.lock().results = Some(done);
    };
    let storing = async { tokio::join!(others, Box::pin(checkpoint)) };
    let storing = tokio::time::timeout(limit, storing);
    let cut = match ending.stop.run_until_cancelled(storing).await {
        Some(Ok(_)) => None,
        Some(Err(_)) => Some(format!(
            "not stored within limits.publish_time of {} s",
            limit.as_secs()
        )),
        None => Some("the job was cancelled while they were being stored".to_owned()),
    };
    if let Some(why) = &cut {
        tracing::warn!(%attempt, why, "what is not stored by now is given up");
        // Whatever still reads files on a thread of its own ends as well.
        ending.stop.cancel();
    }
    let known = known.into_inner();
    let results = known.results.unwrap_or_else(|| {
        let lost = ending.wanted_results().zip(cut.clone());
        Ok(lost.map(|(_, why)| Results::lost(why)))
    });
    let log_bytes = known.log_bytes;
    let stored = Stored {
        log_bytes: log_bytes.unwrap_or_else(|| known.log.map_or(0, |log| log.stored())),
        gpu_memory: known.gpu_memory,
        log_cut: known.log_cut,
        results: None,
        checkpoint_lost: match known.checkpoint {
            Some(done) => done.err(),
            None => cut.filter(|_| ending.checkpoint),
        },
        measured: measured.map(Box::new),
    };
    (stored, results)
}

/// Stores the log and the results.
async fn store(
    context: &Context,
    ending: &Ending,
    known: &Mutex<Known>,
) -> io::Result<Option<Results>> {
    let attempt = ending.attempt;
    let cut = |error: &io::Error| known.lock().log_cut = Some(error.to_string());
    match open(context, ending).await {
        Ok(log) => {
            known.lock().log = Some(Arc::clone(&log));
            if let Some(container) = &ending.container
                && let Err(error) = rest_of_output(context, ending, container, &log).await
            {
                tracing::error!(%attempt, %error, "cannot write the log: the end of the output is lost");
                // There may be room for a line.
                note(context, attempt, &log, &format!("{LOG_CUT}: {error}")).await;
                cut(&error);
            }
            if ending.may_exhaust_gpu {
                let gpu_memory = gpu_memory(attempt, &log).await;
                known.lock().gpu_memory = gpu_memory;
            }
            let length = log.finish().await;
            known.lock().log_bytes = Some(length);
        }
        Err(error) => {
            tracing::error!(%attempt, %error, "cannot open the log: it is lost");
            cut(&error);
        }
    }
    match ending.wanted_results() {
        Some(run) => publish(context, attempt, run, &ending.stop).await.map(Some),
        None => Ok(None),
    }
}

async fn publish(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
    stop: &CancellationToken,
) -> io::Result<Results> {
    let access = context.data.access(attempt, run);
    let (outdir, user) = (context.outdir.clone(), run.order.user.clone());
    let folder = tokio::task::spawn_blocking(move || outdir.for_attempt(&user, attempt));
    let folder = folder.await.map_err(io::Error::other)?;
    let folder = folder.map_err(io::Error::other)?;
    let folder = folder.as_path().to_owned();
    let most = run.order.results_max_bytes.unwrap_or(u64::MAX);
    results::publish(&context.data, &access, folder, most, stop).await
}

/// The line that tells it, if the end of the output is there to look at.
async fn gpu_memory(attempt: AttemptId, log: &Log) -> Option<String> {
    if log.spool.is_cut().await {
        return None;
    }
    match log.spool.last_words().await {
        Ok(words) => words.iter().rev().find_map(|words| ran_out(words)),
        Err(error) => {
            tracing::warn!(%attempt, %error, "cannot read the end of the log");
            None
        }
    }
}

/// Opens the log. A disk that fails [`OPENS_MAX`] times is taken to fail for ever.
async fn open(context: &Context, ending: &Ending) -> io::Result<Arc<Log>> {
    let mut pauses = Pauses::new(retry::FINISH);
    let mut tries = 1;
    loop {
        let error = match context.log(ending.attempt, ending.run.as_deref()) {
            Ok(log) => return Ok(log),
            Err(error) if tries == OPENS_MAX => return Err(error),
            Err(error) => error,
        };
        tracing::warn!(attempt = %ending.attempt, %error, "cannot open the log; trying again");
        tries += 1;
        pauses.wait().await;
    }
}

/// Reads once more from the engine what the live reading may have missed.
///
/// # Errors
/// When the log cannot be written. A full disk may only be emptied by this end.
async fn rest_of_output(
    context: &Context,
    ending: &Ending,
    container: &str,
    log: &Log,
) -> io::Result<()> {
    let attempt = ending.attempt;
    if tokio::time::timeout(DRAIN, log.capturing.lock())
        .await
        .is_err()
    {
        tracing::debug!(%attempt, "stopped following the output");
    }
    log.capture_ends.cancel();
    let _capturing = log.capturing.lock().await;
    if !log.captured.load(Ordering::Relaxed) {
        read_again(context, ending, container, log).await?;
    }
    if log.engine_lost.load(Ordering::Relaxed) && !log.spool.is_cut().await {
        note(context, attempt, log, OUTPUT_UNCERTAIN).await;
    }
    Ok(())
}

/// Reads the whole output again and keeps what is new.
async fn read_again(
    context: &Context,
    ending: &Ending,
    container: &str,
    log: &Log,
) -> io::Result<()> {
    let attempt = ending.attempt;
    let tty = ending
        .run
        .as_ref()
        .is_some_and(|run| run.spec.container.tty);
    retry::until(retry::FINISH, || async {
        match capture(&context.engine, container, tty, false, &log.spool).await {
            Ok(()) => Some(Ok(())),
            Err(CaptureError::Engine(docker::Error::NotFound { .. })) => {
                note(context, attempt, log, OUTPUT_REMOVED).await;
                Some(Ok(()))
            }
            Err(CaptureError::Spool(error)) => Some(Err(error)),
            Err(error) => {
                tracing::warn!(%attempt, error = chain(&error), "reading the rest of the output again");
                None
            }
        }
    })
    .await
}

/// Removes a container, for as long as it takes.
pub(super) async fn remove(context: &Context, attempt: AttemptId, container: &str) {
    retry::until(retry::FINISH, || async {
        let removed = context.engine.remove(container, true).await;
        removed
            .inspect_err(|error| {
                tracing::warn!(%attempt, error = chain(error), "failed to remove the container; trying again");
            })
            .ok()
    })
    .await;
    context.networks.leave(container);
}

/// Removes what is left of a forgotten attempt. A crash before its end is made up for at the next start.
pub(super) async fn clean(context: &Context, attempt: AttemptId, container: Option<Arc<str>>) {
    if let Some(container) = container {
        remove(context, attempt, &container).await;
    }
    context.retention.forgotten(attempt);
    context.volumes.release(attempt);
    context.logs.lock().remove(&attempt);
    context.meters.forget(attempt);
    if !context.options.settings.retention.keep_outdir {
        let root = context.outdir.clone();
        let removing = tokio::task::spawn_blocking(move || outdir::remove(root.as_path(), attempt));
        if let Ok(Err(error)) = removing.await {
            tracing::warn!(%attempt, %error, "failed to remove the attempt's /outdir");
        }
    }
    let dir = context.attempt_dir(attempt);
    if let Err(error) = tokio::fs::remove_dir_all(&dir).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%attempt, %error, "failed to remove the attempt's folder");
    }
}
