//! Stores an attempt's log with the masters while it grows, and sends its tail to those who follow it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use dopq_common::agent::Run;
use dopq_common::broker::Broker;
use dopq_common::id::{AttemptId, WorkerId};
use dopq_common::resources::ByteSize;
use dopq_common::wire::{Live, WorkerKey, topic};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::spool::Spool;
use crate::data::{Access, DataPlane};
use crate::retry::{self, Pauses};

/// A piece is stored when it is this long,
const FULL_BYTES: u64 = 1 << 20;
/// or this old.
const OLD: Duration = Duration::from_secs(10);
/// The longest piece; the masters take up to 4 MiB.
const PIECE_BYTES: usize = 2 << 20;
/// The longest piece of a live tail: base64 and the seal make it half as long again.
const TAIL_BYTES: usize = 32 * 1024;
/// Output that comes within this is sent in one message.
const TAIL_GATHER: Duration = Duration::from_millis(50);
/// A follower is sent no more than this of what is not stored yet.
const TAIL_BACK: u64 = 1 << 20;

/// How a worker speaks live.
#[derive(Debug, Clone)]
pub(crate) struct LivePublisher {
    pub(crate) broker: Broker,
    pub(crate) worker: WorkerId,
    pub(crate) key: WorkerKey,
}

impl LivePublisher {
    /// Says it to whoever listens now; nobody's listening is fine, and so is a link that is down.
    pub(crate) async fn publish(&self, topic: &str, message: &Live) {
        let sealed = match self.key.seal(&self.worker, message) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::error!(%error, "failed to encode a live message");
                return;
            }
        };
        if let Err(error) = self.broker.publish_live(topic, Bytes::from(sealed)).await {
            tracing::debug!(%error, topic, "failed to send a live message");
        }
    }
}

/// One attempt's log. Dropping the last handle ends its tasks.
#[derive(Debug)]
pub(crate) struct Log {
    attempt: AttemptId,
    pub(crate) spool: Arc<Spool>,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    uploader: Mutex<Option<JoinHandle<Option<()>>>>,
    live: LivePublisher,
    /// Held by whoever reads the container's output, so that only one does.
    pub(crate) capturing: AsyncMutex<()>,
    /// Ends the live reading of the output.
    pub(crate) capture_ends: CancellationToken,
    /// Whether the live reading has read everything.
    pub(crate) captured: AtomicBool,
    /// Whether the engine went away while the output was read, and the container was not seen alive since: what it
    /// printed meanwhile may be lost.
    pub(crate) engine_lost: AtomicBool,
    /// Ends when this handle is dropped.
    life: CancellationToken,
}

/// How far the log is stored.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Where the stored part ends.
    stored: u64,
    /// The masters want nothing more of this attempt.
    denied: bool,
}

#[derive(Debug)]
struct Shared {
    /// Everything up to here is to be stored at once.
    wanted: AtomicU64,
    wake: Notify,
    followed_until: Mutex<Option<Instant>>,
    tailing: AtomicBool,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.life.cancel();
    }
}

impl Log {
    /// Opens the log in `dir`, and stores it from now on. Without a run order nothing can be stored.
    pub(crate) fn open(
        attempt: AttemptId,
        dir: &Path,
        quota: ByteSize,
        run: Option<&Run>,
        data: &DataPlane,
        live: LivePublisher,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let spool = Arc::new(Spool::open(&dir.join("log"), quota)?);
        let cursor = dir.join("stored");
        // Without it everything is stored again, which changes nothing but takes longer.
        let stored = std::fs::read_to_string(&cursor)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
            .min(*spool.length().borrow());
        let (progress, receiver) = watch::channel(Progress {
            stored,
            denied: run.is_none(),
        });
        let shared = Arc::new(Shared {
            wanted: AtomicU64::new(0),
            wake: Notify::new(),
            followed_until: Mutex::new(None),
            tailing: AtomicBool::new(false),
        });
        let life = CancellationToken::new();
        let uploader = run.map(|run| {
            let uploader = Uploader {
                access: data.access(attempt, run),
                data: data.clone(),
                spool: Arc::clone(&spool),
                shared: Arc::clone(&shared),
                progress,
                cursor,
            };
            tokio::spawn(life.clone().run_until_cancelled_owned(uploader.run()))
        });
        Ok(Self {
            attempt,
            spool,
            shared,
            progress: receiver,
            uploader: Mutex::new(uploader),
            live,
            capturing: AsyncMutex::new(()),
            capture_ends: CancellationToken::new(),
            captured: AtomicBool::new(false),
            engine_lost: AtomicBool::new(false),
            life,
        })
    }

    /// How much of it is stored.
    pub(crate) fn stored(&self) -> u64 {
        self.progress.borrow().stored
    }

    /// Stores all of it. Returns its length once that is done, or once the masters want nothing of it.
    ///
    /// # Panics
    /// When the task that stores it panicked.
    pub(crate) async fn finish(&self) -> u64 {
        let length = *self.spool.length().borrow();
        self.flush(length);
        let mut progress = self.progress.clone();
        let done = progress.wait_for(|progress| progress.stored >= length || progress.denied);
        if done.await.is_ok() {
            return length;
        }
        let uploader = self.uploader.lock().take();
        if let Some(uploader) = uploader
            && let Err(error) = uploader.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        self.stored()
    }

    fn flush(&self, up_to: u64) {
        self.shared.wanted.fetch_max(up_to, Ordering::Relaxed);
        self.shared.wake.notify_one();
    }

    /// Stores what there is at once, and sends what comes live for a while.
    pub(crate) fn follow(&self, how_long: Duration) {
        let from = self.stored();
        self.flush(*self.spool.length().borrow());
        let until = Instant::now() + how_long.min(Duration::from_secs(600));
        let mut followed = self.shared.followed_until.lock();
        *followed = Some(followed.map_or(until, |old| old.max(until)));
        if !self.shared.tailing.swap(true, Ordering::Relaxed) {
            let tail = Tail {
                attempt: self.attempt,
                spool: Arc::clone(&self.spool),
                shared: Arc::clone(&self.shared),
                live: self.live.clone(),
                from,
            };
            tokio::spawn(self.life.clone().run_until_cancelled_owned(tail.run()));
        }
    }
}

struct Uploader {
    access: Access,
    data: DataPlane,
    spool: Arc<Spool>,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    cursor: PathBuf,
}

impl Uploader {
    async fn run(self) {
        let mut length = self.spool.length();
        let mut since: Option<Instant> = None;
        let mut pauses = Pauses::new(retry::DATA);
        loop {
            let stored = self.progress.borrow().stored;
            let waiting = length.borrow_and_update().saturating_sub(stored);
            if waiting == 0 {
                since = None;
                if length.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let old_at = *since.get_or_insert_with(Instant::now) + OLD;
            let due = waiting >= FULL_BYTES
                || self.shared.wanted.load(Ordering::Relaxed) > stored
                || Instant::now() >= old_at;
            if !due {
                tokio::select! {
                    changed = length.changed() => if changed.is_err() { return },
                    () = self.shared.wake.notified() => {}
                    () = tokio::time::sleep_until(old_at) => {}
                }
                continue;
            }
            match self.store(stored).await {
                Ok(next) => {
                    pauses = Pauses::new(retry::DATA);
                    since = None;
                    self.progress.send_modify(|progress| progress.stored = next);
                }
                Err(Fault::Denied(error)) => {
                    tracing::warn!(attempt = %self.access.attempt, %error, "the masters refuse the log");
                    self.progress.send_modify(|progress| progress.denied = true);
                    return;
                }
                Err(Fault::Again(why)) => {
                    tracing::warn!(attempt = %self.access.attempt, why, "cannot store the log yet; trying again");
                    pauses.wait().await;
                }
            }
        }
    }

    async fn store(&self, offset: u64) -> Result<u64, Fault> {
        let bytes = self
            .spool
            .read(offset, PIECE_BYTES)
            .await
            .map_err(|error| Fault::Again(error.to_string()))?;
        let next = offset + u64::try_from(bytes.len()).unwrap_or(0);
        match self.data.put_log(&self.access, offset, bytes).await {
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(Fault::Denied(error)),
            Err(error) => return Err(Fault::Again(error.to_string())),
        }
        // A short log is stored again in no time.
        if next >= FULL_BYTES
            && let Err(error) = tokio::fs::write(&self.cursor, next.to_string()).await
        {
            tracing::debug!(attempt = %self.access.attempt, %error, "failed to record the stored length");
        }
        Ok(next)
    }
}

enum Fault {
    Denied(crate::data::Error),
    Again(String),
}

struct Tail {
    attempt: AttemptId,
    spool: Arc<Spool>,
    shared: Arc<Shared>,
    live: LivePublisher,
    from: u64,
}

impl Tail {
    async fn run(self) {
        let mut length = self.spool.length();
        let start = length.borrow().saturating_sub(TAIL_BACK);
        let mut at = self.from.max(start);
        let topic = topic::log(self.attempt);
        loop {
            let until = {
                let mut followed = self.shared.followed_until.lock();
                match *followed {
                    Some(until) if until > Instant::now() => until,
                    Some(_) | None => {
                        *followed = None;
                        self.shared.tailing.store(false, Ordering::Relaxed);
                        return;
                    }
                }
            };
            if *length.borrow_and_update() == at {
                tokio::select! {
                    changed = length.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep_until(until) => {}
                }
                tokio::time::sleep(TAIL_GATHER).await;
                continue;
            }
            let Ok(bytes) = self.spool.read(at, TAIL_BYTES).await else {
                return;
            };
            let message = Live::LogTail {
                attempt: self.attempt,
                offset: at,
                data: BASE64.encode(&bytes),
            };
            self.live.publish(&topic, &message).await;
            at += u64::try_from(bytes.len()).unwrap_or(0);
        }
    }
}
