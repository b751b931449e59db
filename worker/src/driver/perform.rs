//! Performs acts: each as a task that sends back what came of it.

use dopq_common::chain::chain;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::agent::{Act, Event, Run, Stage, StartFault};
use dopq_common::id::AttemptId;
use dopq_common::job::{Cause, Outcome};
use dopq_common::time::Timestamp;
use dopq_common::wire::log::Source;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::checkpoint;
use super::context::{Context, disk_outcome};
use super::create::create;
use super::finish;
use super::observe::status;
use super::work::{Work, note};
use crate::docker::{self, Container, Signal};
use crate::fetch;
use crate::images::engine_outcome;
use crate::logs::{CaptureError, Log, Piece, capture};
use crate::retry::{self, Pauses};

/// Lines of build output that may wait for the disk.
const BUILD_OUTPUT: usize = 64;
/// After a container ended by a signal, how long to see whether its engine ends too.
const VERIFY_FOR: Duration = Duration::from_secs(3);
/// An end this long before the engine's loss was noticed may still belong to it.
const ENGINE_SLACK: Duration = Duration::from_secs(2);
const VERIFY_EVERY: Duration = Duration::from_millis(500);
/// An engine that was away this long before such an end is taken to have caused it.
const VERIFY_BACK: Duration = Duration::from_secs(20);

/// Begins one act.
pub(super) fn perform(work: &mut Work, act: Act) {
    let context = Arc::clone(&work.context);
    let attempt = act.attempt();
    match act {
        Act::Fetch(_) => {
            let cancel = work.tasks_of(attempt).prepare.clone();
            let run = work.run_of(attempt);
            prepare(&context, attempt, cancel, {
                let context = Arc::clone(&context);
                async move {
                    let run = run?;
                    let _asked = context.images.ask(&run);
                    context.retention.begun(attempt, &run);
                    if !context.images.has(&run).await {
                        bundle(&context, attempt, &run).await?;
                    }
                    Ok(Some(Event::Fetched(attempt)))
                }
            });
        }
        Act::Build(_) => {
            let cancel = work.tasks_of(attempt).prepare.clone();
            let run = work.run_of(attempt);
            let busy = work.busy_beside(attempt);
            prepare(&context, attempt, cancel.clone(), {
                let context = Arc::clone(&context);
                async move {
                    let run = run?;
                    let building = Box::pin(build(&context, attempt, &run, &cancel));
                    let restoring = Box::pin(checkpoint::prepare(&context, attempt, &run, busy));
                    let (image, ()) = tokio::try_join!(building, restoring)?;
                    Ok(image.map(|image| Event::ImageReady { attempt, image }))
                }
            });
        }
        Act::Abandon(_) => work.tasks_of(attempt).prepare.cancel(),
        Act::Cut(_) => work.tasks_of(attempt).store.cancel(),
        Act::Create { image, .. } => {
            let run = work.run_of(attempt);
            // Once asked for, a creation is not called off: what it made must be known.
            prepare(&context, attempt, CancellationToken::new(), {
                let context = Arc::clone(&context);
                async move {
                    let created = create(&context, attempt, run?.as_ref(), &image).await?;
                    Ok(Some(Event::ContainerCreated { attempt, created }))
                }
            });
        }
        Act::Watch { container, .. } => {
            let tasks = work.tasks_of(attempt);
            if std::mem::replace(&mut tasks.watched, true) {
                return;
            }
            let stop = tasks.checkpoints.clone();
            let run = work.run_of(attempt).ok();
            if let Some(run) = &run {
                checkpoint::keep_stored(&context, attempt, Arc::clone(run), stop);
            }
            watch(&context, attempt, &container, run);
        }
        Act::Terminate {
            container, thaw, ..
        } => {
            let signal = stop_signal(work, attempt);
            work.context.spawn_for(attempt, async move {
                if thaw {
                    let thawed = context.engine.unpause(&container).await;
                    note_failure(attempt, "thaw", thawed);
                }
                let asked = context.engine.ask_to_end(&container, &signal).await;
                note_signal(attempt, asked);
                None
            });
        }
        Act::Finish { discard, .. } => finish::finish(work, attempt, discard),
        Act::Start { container, .. } => {
            let run = work.run_of(attempt).ok();
            let has_ports = run.is_some_and(|run| !run.spec.container.ports.is_empty());
            work.context.spawn_for(attempt, async move {
                Some(start(&context, attempt, &container, has_ports).await)
            });
        }
        Act::Inspect { container, .. } => work.context.spawn_for(attempt, async move {
            let found = inspect(&context, &container).await;
            let status = found.as_ref().map(status);
            Some(Event::Inspected { attempt, status })
        }),
        Act::Kill { container, .. } => work.context.spawn_for(attempt, async move {
            let killed = context.engine.kill(&container, &Signal::kill()).await;
            note_signal(attempt, killed);
            None
        }),
        Act::Pause { container, .. } => work.context.spawn_for(attempt, async move {
            let paused = context.engine.pause(&container).await;
            let done = paused.is_ok().then_some(Event::ContainerPaused(attempt));
            note_failure(attempt, "freeze", paused);
            done
        }),
        Act::Unpause { container, .. } => work.context.spawn_for(attempt, async move {
            let unpaused = context.engine.unpause(&container).await;
            let done = unpaused
                .is_ok()
                .then_some(Event::ContainerUnpaused(attempt));
            note_failure(attempt, "thaw", unpaused);
            done
        }),
        Act::Verify { container, .. } => work.context.spawn_for(attempt, async move {
            let engine_stopped = engine_stopped(&context).await;
            Some(Event::Verified {
                attempt,
                engine_stopped,
                oom_killed: was_oom_killed(&context, attempt, &container).await,
            })
        }),
        Act::Remove { container, .. } => work.context.spawn_for(attempt, async move {
            finish::remove(&context, attempt, &container).await;
            None
        }),
        Act::Clean { container, .. } => {
            let stage = work.state.attempt(attempt).map(|known| &known.stage);
            let runs_again = matches!(stage, Some(Stage::Forgotten { ended, .. })
                if checkpoint::may_run_again(ended.outcome.cause, None));
            work.context.spawn_for(attempt, async move {
                finish::clean(&context, attempt, container).await;
                context.checkpoints.forgotten(attempt, runs_again).await;
                None
            });
        }
    }
}

/// Runs a step of the preparation; its failure goes into the log and to the core.
fn prepare(
    context: &Arc<Context>,
    attempt: AttemptId,
    cancel: CancellationToken,
    work: impl Future<Output = Result<Option<Event>, Outcome>> + Send + 'static,
) {
    let inner = Arc::clone(context);
    context.spawn_for(attempt, async move {
        let outcome = match cancel.run_until_cancelled(work).await {
            None => return None,
            Some(Ok(event)) => return event,
            Some(Err(outcome)) => outcome,
        };
        if let Ok(log) = inner.log(attempt, None) {
            let text = format!("{}: {}", outcome.cause.as_str(), outcome.detail);
            note(&inner, attempt, &log, &text).await;
        }
        Some(Event::PreparationFailed { attempt, outcome })
    });
}

fn open_log(context: &Context, attempt: AttemptId, run: &Run) -> Result<Arc<Log>, Outcome> {
    context
        .log(attempt, Some(run))
        .map_err(|error| disk_outcome("open the log", &error))
}

/// The bundle's file, for a job that has one.
async fn bundle(
    context: &Arc<Context>,
    attempt: AttemptId,
    run: &Run,
) -> Result<Option<PathBuf>, Outcome> {
    open_log(context, attempt, run)?;
    let Some(bundle) = run.order.bundle else {
        return Ok(None);
    };
    let access = context.data.access(attempt, run);
    let delayed = |note| {
        let told = Arc::clone(context);
        context.spawn(async move {
            told.tell(Event::PreparationDelayed { attempt, note }).await;
        });
    };
    let fetched = context
        .bundles
        .ensure(&context.data, &access, bundle, delayed)
        .await;
    match fetched {
        Ok(path) => Ok(Some(path)),
        Err(error) => {
            let cause = match &error {
                fetch::Error::DiskFull(_) => Cause::DiskFull,
                fetch::Error::Denied(_)
                | fetch::Error::Missing
                | fetch::Error::OutOfReach { .. }
                | fetch::Error::Damaged
                | fetch::Error::Disk(_) => Cause::EngineError,
            };
            let detail = format!("failed to {}", chain(&error));
            Err(Outcome::new(cause, detail))
        }
    }
}

async fn build(
    context: &Arc<Context>,
    attempt: AttemptId,
    run: &Run,
    cancel: &CancellationToken,
) -> Result<Option<Arc<str>>, Outcome> {
    let log = open_log(context, attempt, run)?;
    let (output, lines) = mpsc::channel(BUILD_OUTPUT);
    let ensure = async { Ok(ensure_image(context, attempt, run, output, cancel).await) };
    // A build whose log cannot be written is given up: it would hold its GPUs for as long as the disk fails.
    let write = async {
        let written = write_lines(context, &log, lines).await;
        written.map_err(|error| disk_outcome("write the log", &error))
    };
    let (image, ()) = tokio::try_join!(ensure, write)?;
    image
}

/// The attempt's image, which from then on is not removed.
async fn ensure_image(
    context: &Arc<Context>,
    attempt: AttemptId,
    run: &Run,
    output: mpsc::Sender<Bytes>,
    cancel: &CancellationToken,
) -> Result<Option<Arc<str>>, Outcome> {
    let (images, retention) = (&context.images, &context.retention);
    // After a restart, this may be the attempt's first act.
    retention.begun(attempt, run);
    retention.make_room().await;
    loop {
        // It was fetched before, unless the image was there then and is not any more.
        let bundle = bundle(context, attempt, run);
        let made = Box::pin(images.ensure(run, bundle, output.clone(), cancel)).await?;
        match made {
            Some(image) if !retention.will_run(attempt, &image).await => {}
            made => return Ok(made),
        }
    }
}

/// Writes what a build prints.
async fn write_lines(
    context: &Context,
    log: &Log,
    mut lines: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    while let Some(bytes) = lines.recv().await {
        let piece = Piece {
            source: Source::Build,
            at: context.clock.now(),
            bytes,
        };
        log.spool.append(&[piece]).await?;
    }
    Ok(())
}

async fn start(context: &Context, attempt: AttemptId, container: &str, has_ports: bool) -> Event {
    let started = {
        let _permit = context.starts.acquire().await;
        context.engine.start(container).await
    };
    let error = match started {
        Ok(()) => {
            let at = context.clock.now();
            let note = if has_ports {
                published(context, container).await
            } else {
                String::new()
            };
            return Event::ContainerStarted { attempt, at, note };
        }
        Err(error) => error,
    };
    if error.is_uncertain() {
        context.health.lost(&context.clock);
    }
    if let docker::Error::NetworkGone { message } = &error
        && let Some(found) = inspect(context, container).await
    {
        tracing::debug!(%attempt, message, "creating the container again, with another network");
        context.networks.rest();
        finish::remove(context, attempt, container).await;
        let image = Arc::from(found.image);
        let fault = StartFault::Removed { image };
        return Event::StartFailed { attempt, fault };
    }
    let fault = match &error {
        // Whether it started, or another call started it, shows when it is looked at.
        docker::Error::Deadline { .. }
        | docker::Error::Unreachable { .. }
        | docker::Error::NotFound { .. }
        | docker::Error::NetworkGone { .. }
        | docker::Error::Conflict { .. } => StartFault::Unclear,
        docker::Error::ImageMissing { .. }
        | docker::Error::Command { .. }
        | docker::Error::Refused { .. }
        | docker::Error::DiskFull { .. }
        | docker::Error::Other { .. } => StartFault::Refused(engine_outcome(&error)),
    };
    tracing::warn!(%attempt, error = chain(&error), "failed to start the container");
    Event::StartFailed { attempt, fault }
}

/// Where the container's ports are reached, in words.
async fn published(context: &Context, container: &str) -> String {
    let node = &context.options.name;
    let found = match context.engine.inspect(container).await {
        Ok(found) => found.map(|found| found.published).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(error = chain(&error), container, "cannot see its ports");
            return "its ports are not known".to_owned();
        }
    };
    if found.is_empty() {
        return format!("{node} publishes no ports");
    }
    let words = found.iter().map(|(port, at)| format!("{port} -> {at}"));
    format!("ports on {node}: {}", words.collect::<Vec<_>>().join(", "))
}

/// Looks at a container until the engine answers.
pub(super) async fn inspect(context: &Context, container: &str) -> Option<Container> {
    retry::until(retry::ENGINE, || async {
        match context.engine.inspect(container).await {
            Ok(found) => Some(found),
            Err(error) => {
                if error.is_uncertain() {
                    context.health.lost(&context.clock);
                }
                tracing::warn!(error = chain(&error), container, "asking the engine again");
                None
            }
        }
    })
    .await
}

/// Records the container's output and tells when it has ended.
fn watch(context: &Arc<Context>, attempt: AttemptId, container: &Arc<str>, run: Option<Arc<Run>>) {
    let tty = run.as_ref().is_some_and(|run| run.spec.container.tty);
    match context.log(attempt, run.as_deref()) {
        Ok(log) => context.spawn_for(attempt, {
            let (context, container) = (Arc::clone(context), Arc::clone(container));
            async move {
                follow_output(&context, attempt, &container, tty, &log).await;
                None
            }
        }),
        Err(error) => {
            tracing::error!(%attempt, %error, "cannot open the log; reading it at the end");
        }
    }
    context.spawn_for(attempt, {
        let (context, container) = (Arc::clone(context), Arc::clone(container));
        async move {
            let status = wait(&context, &container).await;
            Some(Event::Inspected { attempt, status })
        }
    });
}

async fn follow_output(
    context: &Context,
    attempt: AttemptId,
    container: &str,
    tty: bool,
    log: &Log,
) {
    // Held until the end, so that the final read starts after it.
    let _capturing = log.capturing.lock().await;
    let mut lost_at = None;
    while !log.capture_ends.is_cancelled() {
        let taken = capture(&context.engine, container, tty, true, &log.spool);
        let error = match log.capture_ends.run_until_cancelled(taken).await {
            None | Some(Err(CaptureError::Engine(docker::Error::NotFound { .. }))) => return,
            Some(Ok(())) => {
                log.captured.store(true, Ordering::Relaxed);
                return;
            }
            Some(Err(error)) => error,
        };
        tracing::warn!(%attempt, error = chain(&error), "continuing to read the output");
        if matches!(&error, CaptureError::Engine(error) if error.is_uncertain()) {
            lost_at.get_or_insert_with(|| context.clock.now());
            log.engine_lost.store(true, Ordering::Relaxed);
        }
        log.capture_ends
            .run_until_cancelled(tokio::time::sleep(Duration::from_secs(1)))
            .await;
        if let Some(at) = lost_at
            && let Ok(Some(found)) = context.engine.inspect(container).await
            && !may_have_lost_output(&found, at)
        {
            lost_at = None;
            log.engine_lost.store(false, Ordering::Relaxed);
        }
    }
}

/// Whether a container's output may be lost after the engine went away at `lost_at`. What a living container prints
/// meanwhile waits for the engine; what one printed that ends meanwhile may be gone.
fn may_have_lost_output(container: &Container, lost_at: Timestamp) -> bool {
    let ended_before = container
        .finished_at
        .is_some_and(|at| at.after(ENGINE_SLACK) < lost_at);
    !container.status.is_alive() && !ended_before
}

/// How the container stands once it does not run any more.
async fn wait(context: &Context, container: &str) -> Option<dopq_common::agent::Status> {
    let mut pauses = Pauses::new(retry::ENGINE);
    loop {
        if let Err(error) = context.engine.wait(container).await {
            if error.is_uncertain() {
                context.health.lost(&context.clock);
            }
            tracing::debug!(
                error = chain(&error),
                container,
                "stopped waiting for the container"
            );
        }
        let found = inspect(context, container).await;
        let alive = found.as_ref().is_some_and(|found| found.status.is_alive());
        if !alive {
            let ended = found.as_ref().map(|found| found.status);
            // What is dead or being removed may have a process yet; its removal ends that.
            if matches!(ended, None | Some(docker::Status::Exited)) {
                context.networks.leave(container);
            }
            return found.as_ref().map(status);
        }
        pauses.wait().await;
    }
}

fn stop_signal(work: &Work, attempt: AttemptId) -> Signal {
    let known = work.state.attempt(attempt);
    let run = known.and_then(|attempt| attempt.run.as_ref());
    let named = run.and_then(|run| run.spec.container.stop_signal.as_deref());
    named.map_or_else(Signal::term, Signal::named)
}

fn note_signal(attempt: AttemptId, sent: Result<(), docker::Error>) {
    match sent {
        // It has ended by itself, which its watcher tells.
        Ok(()) | Err(docker::Error::Conflict { .. } | docker::Error::NotFound { .. }) => {}
        Err(error) => note_failure(attempt, "signal", Err(error)),
    }
}

/// A failure that needs nothing done: the core asks again, or the user does.
fn note_failure(attempt: AttemptId, what: &str, done: Result<(), docker::Error>) {
    if let Err(error) = done {
        tracing::warn!(%attempt, what, error = chain(&error), "the Docker call failed");
    }
}

/// Whether the engine heard that the container's memory ran out, if only after its end.
async fn was_oom_killed(context: &Context, attempt: AttemptId, container: &str) -> bool {
    let now = context.clock.now();
    let noted = context.engine.oom_noted(container, now).await;
    noted.unwrap_or_else(|error| {
        tracing::warn!(%attempt, error = chain(&error), "cannot tell whether it ran out of memory");
        false
    })
}

/// Whether the engine stopped around now.
async fn engine_stopped(context: &Context) -> bool {
    let until = tokio::time::Instant::now() + VERIFY_FOR;
    while tokio::time::Instant::now() < until {
        if context.health.was_lost_within(&context.clock, VERIFY_BACK) {
            return true;
        }
        if let Err(error) = context.engine.probe().await
            && error.is_uncertain()
        {
            context.health.lost(&context.clock);
            return true;
        }
        tokio::time::sleep(VERIFY_EVERY).await;
    }
    false
}
