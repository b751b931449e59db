//! What acts need of the worker, shared by every task.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dopq_common::agent::{Event, Run};
use dopq_common::id::AttemptId;
use dopq_common::job::{Cause, Outcome};
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Options;
use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::data::DataPlane;
use crate::disk::is_full;
use crate::docker::{Engine, HostFolder, RunSettings};
use crate::egress;
use crate::fetch::Bundles;
use crate::images::Images;
use crate::input::Input;
use crate::logs::{EarlyFollowers, LivePublisher, Log};
use crate::meters::Meters;
use crate::networks::Networks;
use crate::retention::Retention;
use crate::upcoming::Upcoming;
use crate::volumes::Volumes;

/// What acts need.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) instance: String,
    /// The machine's name and address, for people.
    pub(crate) place: String,
    pub(crate) clock: Clock,
    pub(crate) engine: Engine,
    pub(crate) health: Health,
    pub(crate) data: DataPlane,
    pub(crate) bundles: Bundles,
    pub(crate) images: Images,
    pub(crate) retention: Retention,
    pub(crate) upcoming: Upcoming,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) run_settings: RunSettings,
    pub(crate) networks: Networks,
    pub(crate) meters: Meters,
    pub(crate) egress: egress::Rules,
    pub(crate) outdir: HostFolder,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) live: LivePublisher,
    /// Container creations and starts at once.
    pub(crate) starts: Semaphore,
    pub(crate) logs: Mutex<BTreeMap<AttemptId, Arc<Log>>>,
    /// Locked after `logs`.
    pub(crate) early_followers: Mutex<EarlyFollowers>,
    /// Asks for an introduction to the masters.
    pub(crate) introduce: Notify,
    /// Held while the masters are asked how this worker stands.
    pub(crate) asking: tokio::sync::Mutex<()>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// When the engine was last out of reach, by whoever noticed; in milliseconds of the worker's clock.
#[derive(Debug, Default)]
pub(crate) struct Health(AtomicU64);

impl Health {
    /// Notes that the engine did not answer.
    pub(crate) fn lost(&self, clock: &Clock) {
        self.0.fetch_max(clock.now().as_millis(), Ordering::Relaxed);
    }

    /// Whether it did not answer within `span` before now.
    pub(crate) fn was_lost_within(&self, clock: &Clock, span: Duration) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        last > 0 && clock.now().as_millis().saturating_sub(last) <= span
    }
}

impl Context {
    /// Tells the driver what happened; a driver that is gone needs nothing any more.
    pub(crate) async fn tell(&self, event: Event) {
        if self.inputs.send(Input::Core(event)).await.is_err() {
            tracing::debug!("received an event after the worker's end");
        }
    }

    /// Where an attempt's log and the like are kept.
    pub(crate) fn attempt_dir(&self, attempt: AttemptId) -> PathBuf {
        self.options
            .settings
            .data_dir
            .join("attempts")
            .join(attempt.to_string())
    }

    /// The attempt's log, opened when it is first asked for.
    pub(crate) fn log(&self, attempt: AttemptId, run: Option<&Run>) -> io::Result<Arc<Log>> {
        let mut logs = self.logs.lock();
        if let Some(log) = logs.get(&attempt) {
            return Ok(Arc::clone(log));
        }
        let log = Arc::new(Log::open(
            attempt,
            &self.attempt_dir(attempt),
            self.options.settings.limits.log,
            run,
            &self.data,
            self.live.clone(),
        )?);
        logs.insert(attempt, Arc::clone(&log));
        if let Some(span) = self.early_followers.lock().take(attempt, Instant::now()) {
            log.follow(span);
        }
        Ok(log)
    }

    /// Sends the attempt's log live for a while, as soon as there is one.
    pub(crate) fn follow(&self, attempt: AttemptId, span: Duration) {
        let logs = self.logs.lock();
        match logs.get(&attempt) {
            Some(log) => log.follow(span),
            None => self
                .early_followers
                .lock()
                .keep(attempt, Instant::now(), span),
        }
    }

    /// Does something for an attempt beside the driver, until it is done or the worker ends. The driver is told what
    /// came of it, also when it panicked.
    pub(crate) fn spawn_for(
        self: &Arc<Self>,
        attempt: AttemptId,
        work: impl Future<Output = Option<Event>> + Send + 'static,
    ) {
        let context = Arc::clone(self);
        self.spawn(async move {
            let done = AssertUnwindSafe(work).catch_unwind().await;
            let event = done.unwrap_or_else(|panic| {
                let detail = panic_message(&*panic);
                tracing::error!(%attempt, detail, "a task panicked");
                Some(Event::TaskFailed {
                    attempt,
                    detail: detail.to_owned(),
                    log_bytes: context.stored_log(attempt),
                })
            });
            if let Some(event) = event {
                context.tell(event).await;
            }
        });
    }

    /// How much of an attempt's log is stored.
    fn stored_log(&self, attempt: AttemptId) -> u64 {
        self.logs.lock().get(&attempt).map_or(0, |log| log.stored())
    }

    /// Runs `work` beside the driver until it is done or the worker ends.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks
            .spawn(self.shutdown.clone().run_until_cancelled_owned(work));
    }
}

/// What a panic said.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a task panicked")
}

/// How a failure of this machine's disk is told.
pub(crate) fn disk_outcome(what: &str, error: &io::Error) -> Outcome {
    let cause = if is_full(error) {
        Cause::DiskFull
    } else {
        Cause::EngineError
    };
    Outcome::new(cause, format!("{what}: {error}"))
}
