//! Writes jobs' records into the bundle store, beside their logs, so that the queue can be rebuilt when
//! the store's memory is lost: `job.json` at acceptance, `result.json` at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::id::JobId;
use dopq_common::job::Job;
use dopq_common::record::JobRecord;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bundles::Bundles;
use crate::clock;
use crate::driver::describe;
use crate::metrics::{Board, Part, PartState};

/// So many records are written at a time; more would only crowd out uploads.
const IN_FLIGHT_MAX: usize = 8;

/// So many records are taken at a time before the rest is looked at again.
const ROUND_MAX: usize = 256;

/// After a record was not written.
const PAUSE: Duration = Duration::from_secs(2);

/// What archiving takes.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Where records are written.
    pub bundles: Bundles,
    /// Where trouble is shown.
    pub board: Board,
}

/// Which of a job's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Record {
    /// As it was accepted.
    Accepted,
    /// As it ended.
    Result,
}

impl Record {
    const fn file_name(self) -> &'static str {
        match self {
            Self::Accepted => "job.json",
            Self::Result => "result.json",
        }
    }
}

/// Takes records to write.
#[derive(Debug)]
pub(super) struct Archiver(Arc<Pending>);

/// Records that are not written. Bounded by the jobs that are in memory anyway.
#[derive(Debug, Default)]
struct Pending {
    records: Mutex<BTreeMap<(JobId, Record), Arc<Job>>>,
    arrived: Notify,
}

impl Archiver {
    /// Writes what it is given until `stop`.
    pub(super) fn start(archive: Archive, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let pending = Arc::<Pending>::default();
        let (writer, stop) = (Arc::clone(&pending), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = run(&archive, &writer) => {}
            }
        });
        Self(pending)
    }

    /// Writes the record soon, and again until it is written.
    pub(super) fn write(&self, record: Record, job: Arc<Job>) {
        self.0.records.lock().insert((job.id, record), job);
        self.0.arrived.notify_one();
    }
}

async fn run(archive: &Archive, pending: &Pending) {
    let mut failing = false;
    loop {
        let due = take(&mut pending.records.lock());
        if due.is_empty() {
            pending.arrived.notified().await;
            continue;
        }
        let written = futures::stream::iter(due)
            .map(async |(key, job)| {
                let failure = write(archive, key, &job).await.err();
                if failure.is_some() {
                    pending.records.lock().entry(key).or_insert(job);
                }
                failure
            })
            .buffer_unordered(IN_FLIGHT_MAX);
        let failure = written
            .fold(None, async |first: Option<String>, failure| {
                first.or(failure)
            })
            .await;
        match failure {
            None if failing => {
                failing = false;
                tracing::info!("archiving records works again");
                let at = clock::now();
                archive.board.set(at, Part::Bundles, PartState::Up, "");
            }
            None => {}
            Some(error) => {
                if !failing {
                    tracing::warn!(error, "cannot archive records; trying again");
                }
                failing = true;
                let at = clock::now();
                archive.board.set(at, Part::Bundles, PartState::Down, error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

type Records = BTreeMap<(JobId, Record), Arc<Job>>;

fn take(records: &mut Records) -> Records {
    let Some(rest) = records.keys().nth(ROUND_MAX).copied() else {
        return std::mem::take(records);
    };
    let rest = records.split_off(&rest);
    std::mem::replace(records, rest)
}

async fn write(archive: &Archive, (id, record): (JobId, Record), job: &Job) -> Result<(), String> {
    let body = serde_json::to_vec_pretty(&JobRecord::from(job)).map_err(|e| describe(&e))?;
    let put = archive
        .bundles
        .put_record(id, record.file_name(), Bytes::from(body));
    put.await.map_err(|e| describe(&e))
}
