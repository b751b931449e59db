//! The task that appends what was committed, in the order of the commits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::{Epoch, UserName};
use dopq_common::job::Job;
use dopq_common::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::append::Appender;
use super::clear::{self, Clear};
use super::read::{self, Mark};
use super::record::{Due, Kind};
use crate::bundles::{Bundles, Error};
use crate::clock;
use crate::metrics::{Board, Part, PartState};
use dopq_common::chain::chain;

/// A batch holds about this much at most, which bounds the memory it takes.
const BATCH_MAX_BYTES: usize = 4 << 20;
/// What a record takes beside its configuration document, roughly.
const RECORD_BYTES: usize = 1 << 10;
/// Between two segments in a bucket, where each one is a call that costs money.
const BUCKET_PAUSE: Duration = Duration::from_secs(1);
/// After a batch was not written.
const PAUSE: Duration = Duration::from_secs(2);

/// What archiving takes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where segments are written.
    pub bundles: Bundles,
    /// Where trouble is shown.
    pub board: Board,
    /// The leadership that writes.
    pub epoch: Epoch,
}

/// Takes records to append.
#[derive(Debug)]
pub(crate) struct Archiver(Arc<Queue>);

/// Records that are not durable yet. While the bundle store is away, a record stays here even after the scheduler
/// has dropped its job: nothing else holds it then.
#[derive(Debug, Default)]
struct Queue {
    due: Mutex<VecDeque<Due>>,
    /// What is to be taken out, once nothing waits to be written.
    clears: Mutex<VecDeque<Clear>>,
    arrived: Notify,
}

impl Archiver {
    /// Appends what it is given until `stop`, and before it those of `jobs`, the committed ones, that the archive lacks.
    /// `now` is not before the latest commit.
    pub(crate) fn start(
        options: Options,
        jobs: Vec<Arc<Job>>,
        now: Timestamp,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let queue = Arc::<Queue>::default();
        let writer = Writer {
            appender: Appender::new(options.bundles.clone(), options.epoch),
            options,
            queue: Arc::clone(&queue),
            failing: false,
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = writer.run(jobs, now) => {}
            }
        });
        Self(queue)
    }

    /// Appends the record soon, and tries again until it is durable.
    pub(crate) fn write(&self, kind: Kind, job: Arc<Job>) {
        self.0.due.lock().push_back(Due { kind, job });
        self.0.arrived.notify_one();
    }

    /// Takes the jobs out soon that ended before, and tries again until it is done.
    pub(crate) fn clear(&self, user: Option<UserName>, before: Timestamp) {
        self.0.clears.lock().push_back(Clear { user, before });
        self.0.arrived.notify_one();
    }
}

struct Writer {
    options: Options,
    queue: Arc<Queue>,
    appender: Appender,
    failing: bool,
}

impl Writer {
    async fn run(mut self, jobs: Vec<Arc<Job>>, now: Timestamp) {
        let mark = loop {
            match read::mark(&self.options.bundles).await {
                Ok(mark) => break mark,
                Err(error) => self.failed(&error).await,
            }
        };
        for due in missing(jobs, &mark, now).into_iter().rev() {
            self.queue.due.lock().push_front(due);
        }
        loop {
            let batch = self.queue.take();
            if batch.is_empty() {
                let clear = self.queue.clears.lock().front().cloned();
                match clear {
                    Some(clear) => self.clear(&clear).await,
                    None => self.queue.arrived.notified().await,
                }
                continue;
            }
            match self.append(&batch).await {
                Ok(()) => self.worked(),
                Err(error) => {
                    self.queue.give_back(batch);
                    self.failed(&error).await;
                }
            }
            if self.options.bundles.folder().is_none() {
                tokio::time::sleep(BUCKET_PAUSE).await;
            }
        }
    }

    async fn clear(&mut self, clear: &Clear) {
        self.appender.close();
        match clear::clear(&self.options.bundles, clear).await {
            Ok(records) => {
                tracing::info!(records, "cleared the history in the archive");
                self.queue.clears.lock().pop_front();
                self.worked();
            }
            Err(error) => self.failed(&error).await,
        }
    }

    async fn append(&mut self, batch: &[Due]) -> Result<(), Error> {
        let at = batch.first().map(|due| due.key().at).unwrap_or_default();
        let mut lines = Vec::new();
        for due in batch {
            if let Err(error) = due.write_to(&mut lines) {
                let job = due.job.id;
                tracing::error!(job.id = %job, %error, "failed to write a job's record for the archive");
            }
        }
        self.appender.append(at, lines).await
    }

    fn worked(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("the archive is written again");
            let board = &self.options.board;
            board.set(clock::now(), Part::Bundles, PartState::Up, "");
        }
    }

    async fn failed(&mut self, error: &Error) {
        let error = chain(error);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                error,
                "the archive cannot be written; it is tried again until it can"
            );
        }
        let board = &self.options.board;
        board.set(clock::now(), Part::Bundles, PartState::Down, error);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Queue {
    /// The first records, as many as one batch takes.
    fn take(&self) -> Vec<Due> {
        let mut due = self.due.lock();
        let mut bytes = 0;
        let fits = |due: &&Due| {
            bytes += RECORD_BYTES + due.job.config.len();
            bytes <= BATCH_MAX_BYTES
        };
        let count = due.iter().take_while(fits).count();
        let count = count.max(1).min(due.len());
        due.drain(..count).collect()
    }

    fn give_back(&self, batch: Vec<Due>) {
        let mut due = self.due.lock();
        for record in batch.into_iter().rev() {
            due.push_front(record);
        }
    }
}

/// What of the committed jobs the archive lacks, in the order of the commits. What ended needs no record of its
/// acceptance any more.
pub(super) fn missing(jobs: Vec<Arc<Job>>, mark: &Mark, now: Timestamp) -> Vec<Due> {
    // An archive that ends later than the latest commit belongs to a store that was lost.
    let from = if mark.at > now {
        Timestamp::default()
    } else {
        mark.at
    };
    let mut due: Vec<Due> = jobs
        .into_iter()
        // A task begins without being accepted by itself.
        .filter(|job| job.task.is_none() || job.state.is_finished())
        .map(|job| Due {
            kind: if job.state.is_finished() {
                Kind::Finished
            } else {
                Kind::Accepted
            },
            job,
        })
        .filter(|due| {
            let key = due.key();
            key.at >= from && !mark.last.contains(&key)
        })
        .collect();
    due.sort_by_key(Due::key);
    due
}
