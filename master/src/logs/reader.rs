//! Reads a job's log over all its attempts, from the store and live, to its end.
//!
//! The caller pulls. The reader holds at most one chunk and the joiner's early pieces. A slow caller only loses
//! live pieces and gets them later from the store.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dopq_common::broker::{Broker, LiveMessage, LiveStream};
use dopq_common::id::{AttemptId, JobId, WorkerId};
use dopq_common::job::Job;
use dopq_common::wire::log::Damaged;
use dopq_common::wire::{Live, Sealed, WorkerKeys, topic};
use tokio::time::Instant;

use super::frames::{Entry, Frames};
use super::join::Joiner;
use super::place::Place;
use crate::bundles::{self, Bundles, Chunk};
use crate::keys::NodeKeys;
use crate::view::View;

/// How often a follower renews its request to the worker and looks for stored chunks.
const FOLLOW_EVERY: Duration = Duration::from_secs(10);
/// How long the worker sends after each request. One request may be lost without a gap.
const FOLLOW_FOR: Duration = Duration::from_secs(30);
/// Time between looks for a chunk that should be stored: after a gap in the live tail, and before a finished
/// attempt's missing bytes count as lost.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A finished attempt's bytes count as lost after this number of looks.
const LOOKS_MAX: u32 = 10;

/// Where logs come from.
#[derive(Clone)]
pub struct Sources {
    /// The attempts, and whether the job is finished.
    pub view: View,
    /// Stored chunks.
    pub bundles: Bundles,
    /// The live tail.
    pub broker: Broker,
    /// Verifies that a live piece comes from the attempt's worker.
    pub keys: NodeKeys,
}

/// What a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The job.
    pub job: JobId,
    /// Only this attempt; all of them otherwise.
    pub attempt: Option<u32>,
    /// Whether to wait for more until the job finishes.
    pub follow: bool,
    /// Where to begin.
    pub from: Option<Place>,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A frame of an attempt.
    Entry {
        /// The attempt's number.
        attempt: u32,
        /// The frame.
        entry: Entry,
    },
    /// Bytes of a finished attempt that were reported but never stored.
    Missing {
        /// The attempt's number.
        attempt: u32,
        /// How many.
        bytes: u64,
    },
}

/// Why reading a log failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle store does not answer. Fits "failed to {error}".
    #[error("read the stored log")]
    Store(#[source] bundles::Error),
    /// The stream is broken, or `from` is not an event's position.
    #[error("read the log of attempt {attempt} from byte {offset}, where no frame begins")]
    Damaged {
        /// Which attempt.
        attempt: AttemptId,
        /// Where a frame should start.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: Damaged,
    },
    /// The broker was closed because the master is stopping.
    #[error("go on: the master stops")]
    Stopping,
}

/// Reads one job's log.
pub struct Reader {
    sources: Sources,
    want: Want,
    current: Option<Current>,
    last: u32,
}

/// The attempt being read.
struct Current {
    attempt: AttemptId,
    joiner: Joiner,
    frames: Frames,
    /// The stored chunks at the last look, by offset.
    chunks: Vec<Chunk>,
    looks: u32,
    tail: Option<Tail>,
}

/// The live tail of the attempt being read.
struct Tail {
    stream: LiveStream,
    worker: WorkerId,
    asked_at: Instant,
}

/// An attempt's state in the read model.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stand {
    /// Current, on this worker.
    Live(WorkerId),
    /// Ended. The log's length is known for a job's last attempt.
    Over { log_bytes: Option<u64> },
}

impl Reader {
    /// A reader at the first frame of `want`.
    #[must_use]
    pub fn new(sources: Sources, want: Want) -> Self {
        let mut reader = Self {
            sources,
            want,
            current: None,
            last: 0,
        };
        let job = (reader.sources.view).read(|model| model.state.job(want.job).cloned());
        match (want.from, want.attempt) {
            (Some(place), _) => match job {
                Some(job) => reader.enter(place, &job),
                None => reader.last = place.attempt,
            },
            (None, Some(attempt)) => reader.last = attempt.saturating_sub(1),
            (None, None) => {}
        }
        reader
    }

    fn enter(&mut self, place: Place, job: &Job) {
        self.last = place.attempt;
        self.current = Some(Current {
            attempt: job.attempt_id(place.attempt),
            joiner: Joiner::at(place.offset),
            frames: Frames::at(place.offset),
            chunks: Vec::new(),
            looks: 0,
            tail: None,
        });
    }

    /// The next item; `None` at the end. When following, the end is after the job's end. Cancelling the call loses
    /// nothing.
    ///
    /// # Errors
    /// [`Error`]. The reader is then unusable; another one can continue from the last position.
    pub async fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            let Some(current) = &mut self.current else {
                if self.advance().await {
                    continue;
                }
                return Ok(None);
            };
            let attempt = current.attempt;
            match current.frames.next_entry() {
                Ok(Some(entry)) => {
                    let attempt = attempt.number;
                    return Ok(Some(Item::Entry { attempt, entry }));
                }
                Ok(None) => {}
                Err(source) => {
                    return Err(Error::Damaged {
                        attempt,
                        offset: current.joiner.next(),
                        source,
                    });
                }
            }
            // Read the model before the store. The look that follows then sees everything that the attempt stored
            // before its end was committed.
            let mut changes = self.sources.view.watch();
            let stand = stand(&self.sources.view, attempt);
            let complete = Stand::Over {
                log_bytes: Some(current.joiner.next()),
            };
            if stand != complete && current.fetch(&self.sources.bundles).await? {
                continue;
            }
            match stand {
                Stand::Over { log_bytes } => {
                    let missing =
                        log_bytes.map_or(0, |all| all.saturating_sub(current.joiner.next()));
                    if missing > 0 && current.looks < LOOKS_MAX && self.want.follow {
                        current.looks += 1;
                        tokio::time::sleep(LOOK_AGAIN).await;
                        continue;
                    }
                    self.current = None;
                    if missing > 0 {
                        return Ok(Some(Item::Missing {
                            attempt: attempt.number,
                            bytes: missing,
                        }));
                    }
                }
                Stand::Live(_) if !self.want.follow => self.current = None,
                Stand::Live(worker) => {
                    current.listen(&self.sources.broker, worker).await?;
                    tokio::select! {
                        done = current.hear(&self.sources.keys) => done?,
                        () = changed(&mut changes, attempt.job) => {}
                    }
                }
            }
        }
    }

    /// Moves to the next attempt; waits for it when following. False if there is none.
    async fn advance(&mut self) -> bool {
        let next = self.last.saturating_add(1);
        if self.want.attempt.is_some_and(|only| next > only) {
            return false;
        }
        loop {
            let mut changes = self.sources.view.watch();
            let job = self.want.job;
            let (found, over, array) = self.sources.view.read(|model| {
                // A task that has not started is not a job yet; its changes are its array's.
                let waits = model.state.waiting_task(job);
                match model.state.job(job) {
                    Some(job) => {
                        let found = (job.last_attempt >= next).then(|| Arc::clone(job));
                        (found, job.state.is_finished(), None)
                    }
                    None => (None, waits.is_none(), waits.map(|task| task.array)),
                }
            });
            if let Some(job) = found {
                let place = Place {
                    attempt: next,
                    offset: 0,
                };
                self.enter(place, &job);
                return true;
            }
            if over || !self.want.follow {
                return false;
            }
            changed(&mut changes, array.unwrap_or(job)).await;
        }
    }
}

impl Current {
    /// Reads the stored chunk with the next byte; false if there is none.
    async fn fetch(&mut self, bundles: &Bundles) -> Result<bool, Error> {
        let next = self.joiner.next();
        if holding(&self.chunks, next).is_none() {
            let listed = bundles.list_log(self.attempt).await;
            self.chunks = listed.map_err(Error::Store)?;
        }
        let Some(chunk) = holding(&self.chunks, next) else {
            return Ok(false);
        };
        let bytes = bundles.get_log(self.attempt, chunk).await;
        let bytes = bytes.map_err(Error::Store)?;
        self.looks = 0;
        Ok(self.offer(chunk, bytes))
    }

    /// Passes a piece to the joiner and its output to the frames; false if there was none.
    fn offer(&mut self, offset: u64, piece: Bytes) -> bool {
        let ready = self.joiner.offer(offset, piece);
        for piece in &ready {
            self.frames.push(piece);
        }
        !ready.is_empty()
    }

    /// Subscribes to the live tail and renews the request to the worker when due.
    async fn listen(&mut self, broker: &Broker, worker: WorkerId) -> Result<(), Error> {
        let now = Instant::now();
        let stream = match self.tail.take() {
            Some(tail) if tail.worker == worker && now < tail.asked_at + FOLLOW_EVERY => {
                self.tail = Some(tail);
                return Ok(());
            }
            Some(tail) => tail.stream,
            None => {
                let topic = topic::log(self.attempt);
                let stream = broker.subscribe_live(&[topic.as_str()]).await;
                stream.map_err(|_| Error::Stopping)?
            }
        };
        let request = Live::Follow {
            attempt: self.attempt,
            for_ms: u64::try_from(FOLLOW_FOR.as_millis()).unwrap_or(u64::MAX),
        };
        let topic = topic::requests(&worker);
        match serde_json::to_vec(&request) {
            Ok(body) => {
                if let Err(error) = broker.publish_live(&topic, body.into()).await {
                    // Stored chunks still arrive every few seconds.
                    tracing::debug!(%error, worker.id = %worker, "cannot request the live tail");
                }
            }
            Err(error) => tracing::debug!(%error, "cannot encode the request for the live tail"),
        }
        self.tail = Some(Tail {
            stream,
            worker,
            asked_at: now,
        });
        Ok(())
    }

    /// Waits for a live piece or until the next look into the store.
    async fn hear(&mut self, keys: &NodeKeys) -> Result<(), Error> {
        let early = self.joiner.has_gap();
        loop {
            let Some(tail) = &mut self.tail else {
                return Ok(());
            };
            let look_at = if early {
                Instant::now() + LOOK_AGAIN
            } else {
                tail.asked_at + FOLLOW_EVERY
            };
            match tokio::time::timeout_at(look_at, tail.stream.next()).await {
                Err(_) => return Ok(()),
                Ok(None) => return Err(Error::Stopping),
                Ok(Some(message)) => {
                    let piece = tail_piece(keys, self.attempt, &tail.worker, &message);
                    if let Some((offset, piece)) = piece
                        && (self.offer(offset, piece) || (!early && self.joiner.has_gap()))
                    {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// The offset of a chunk with byte `next`; of several, the one that reaches furthest.
fn holding(chunks: &[Chunk], next: u64) -> Option<u64> {
    chunks
        .iter()
        .filter(|chunk| chunk.offset <= next && next < chunk.offset.saturating_add(chunk.len))
        .max_by_key(|chunk| chunk.offset.saturating_add(chunk.len))
        .map(|chunk| chunk.offset)
}

/// The offset and bytes of a live message from `worker`.
fn tail_piece(
    keys: &dyn WorkerKeys,
    attempt: AttemptId,
    worker: &WorkerId,
    message: &LiveMessage,
) -> Option<(u64, Bytes)> {
    match Sealed::open(keys, &message.body) {
        Ok((
            from,
            Live::LogTail {
                attempt: of,
                offset,
                data,
            },
        )) if from == *worker && of == attempt => {
            Some((offset, STANDARD.decode(data).ok()?.into()))
        }
        Ok((
            _,
            Live::LogTail { .. }
            | Live::Heartbeat(_)
            | Live::Follow { .. }
            | Live::Upcoming { .. }
            | Live::Unknown,
        ))
        | Err(_) => None,
    }
}

fn stand(view: &View, attempt: AttemptId) -> Stand {
    view.read(|model| {
        let Some(job) = model.state.job(attempt.job) else {
            return Stand::Over { log_bytes: None };
        };
        if let Some(active) = job.state.active()
            && job.attempt() == Some(attempt)
        {
            return Stand::Live(active.worker.clone());
        }
        let is_last = job.attempt_id(job.last_attempt) == attempt;
        let finished = job.state.finished().filter(|_| is_last);
        let log_bytes = finished.and_then(|finished| finished.log_bytes);
        Stand::Over { log_bytes }
    })
}

/// Waits until the job may have changed.
async fn changed(changes: &mut tokio::sync::broadcast::Receiver<Arc<Vec<JobId>>>, job: JobId) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match changes.recv().await {
            Ok(jobs) if jobs.contains(&job) => return,
            Ok(_) => {}
            // The job may be among the missed changes, so look at it.
            Err(RecvError::Lagged(_)) => return,
            // The view is gone: the master is stopping.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
