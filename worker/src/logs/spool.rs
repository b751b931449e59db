//! The log of one attempt on this machine's disk: an append-only file of frames.
//!
//! How much of the container's output is in it tells where to read on after a restart, so nothing else
//! need be remembered. Writes go to the file's known end, so one that failed half-way is written over.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dopq_common::resources::ByteSize;
use dopq_common::time::Timestamp;
use dopq_common::wire::log::{self, HEADER_BYTES, PAYLOAD_MAX_BYTES, Source};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// How much of a spool is read at once when it is opened; many frames, and at least one.
const SCAN_BYTES: usize = 1 << 20;

/// How much of the end is looked at when it is asked for what was said last; up to twice as much is read.
const END_BYTES: u64 = 64 * 1024;

/// Begins the frame that stands where the log was cut.
const CUT_MARK: &[u8] = b"[dopq] the log is cut here:";

/// One piece of output.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Who printed it.
    pub(crate) source: Source,
    /// When.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) bytes: Bytes,
}

/// The log of one attempt.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Arc<File>,
    quota: ByteSize,
    written: Arc<Mutex<Written>>,
    length: watch::Sender<u64>,
}

/// What is in the file.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    length: u64,
    stdout: u64,
    stderr: u64,
    /// How much of the quota is used: [`charge`] of every frame.
    charged: u64,
    cut: bool,
    /// Where a frame begins from which it is [`END_BYTES`] or more to the end, unless the file is shorter.
    end: u64,
    /// Where a later one begins, to which `end` moves once it is far enough from the end.
    next_end: u64,
}

impl Written {
    /// Goes on to where the next frame begins.
    const fn reach(&mut self, length: u64) {
        self.length = length;
        if length - self.next_end >= END_BYTES {
            self.end = self.next_end;
            self.next_end = length;
        }
    }

    fn count(&mut self, source: Source, payload: &[u8]) {
        let bytes = as_u64(payload.len());
        self.charged += charge(payload);
        match source {
            Source::Stdout => self.stdout += bytes,
            Source::Stderr => self.stderr += bytes,
            Source::Dopq | Source::Build => {}
        }
    }
}

impl Spool {
    /// Opens the file, or makes it, and finds its last whole frame. Blocks.
    pub(crate) fn open(path: &Path, quota: ByteSize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let written = scan(&file)?;
        Ok(Self {
            file: Arc::new(file),
            quota,
            written: Arc::new(Mutex::new(written)),
            length: watch::Sender::new(written.length),
        })
    }

    /// Watches its length.
    pub(crate) fn length(&self) -> watch::Receiver<u64> {
        self.length.subscribe()
    }

    /// Bytes of the container's standard output and standard error that are in it.
    pub(crate) async fn taken(&self) -> (u64, u64) {
        let written = self.written.lock().await;
        (written.stdout, written.stderr)
    }

    /// Whether the quota is used up, so that more output is of no use.
    pub(crate) async fn is_cut(&self) -> bool {
        self.written.lock().await.cut
    }

    /// Appends output; what is beyond the quota is left out and marked, once. Pieces that follow each other from the
    /// same source at the same time become one frame.
    pub(crate) async fn append(&self, pieces: &[Piece]) -> io::Result<()> {
        let written = Arc::clone(&self.written).lock_owned().await;
        let mut frames = Frames::after(*written);
        for piece in pieces {
            for part in piece.bytes.chunks(PAYLOAD_MAX_BYTES) {
                if frames.next.cut {
                    break;
                }
                let used = frames.next.charged + as_u64(HEADER_BYTES);
                let room = self.quota.0.saturating_sub(used);
                let fits = usize::try_from(room).unwrap_or(usize::MAX).min(part.len());
                let (kept, lost) = part.split_at(fits);
                frames.push(piece.source, piece.at, kept);
                if !lost.is_empty() {
                    let mark = String::from_utf8_lossy(CUT_MARK);
                    let mark = format!("{mark} the log limit of {} is reached\n", self.quota);
                    frames.push(Source::Dopq, piece.at, mark.as_bytes());
                    frames.next.cut = true;
                }
            }
        }
        self.write(written, frames).await
    }

    /// Appends a line of DoPQ's own, whatever the quota.
    pub(crate) async fn note(&self, at: Timestamp, text: &str) -> io::Result<()> {
        let written = Arc::clone(&self.written).lock_owned().await;
        let mut frames = Frames::after(*written);
        frames.push(Source::Dopq, at, format!("[dopq] {text}\n").as_bytes());
        self.write(written, frames).await
    }

    /// Writes frames at the end. A caller that is cancelled leaves the lock to the write, so that none that follows
    /// can meet it in the file.
    async fn write(&self, mut written: OwnedMutexGuard<Written>, frames: Frames) -> io::Result<()> {
        let (buffer, next) = frames.finish();
        if buffer.is_empty() {
            return Ok(());
        }
        let (file, length) = (Arc::clone(&self.file), self.length.clone());
        blocking(move || {
            file.write_all_at(&buffer, written.length)?;
            *written = next;
            length.send_replace(next.length);
            Ok(())
        })
        .await
    }

    /// What the program printed last: standard output and standard error.
    pub(crate) async fn last_words(&self) -> io::Result<[Vec<u8>; 2]> {
        let end = self.written.lock().await.end;
        let bytes = self.read(end, usize::MAX).await?;
        let [mut stdout, mut stderr] = [Vec::new(), Vec::new()];
        let mut rest = &bytes[..];
        while let Ok(Some((frame, used))) = log::next(rest) {
            match frame.source {
                Source::Stdout => stdout.extend_from_slice(frame.payload),
                Source::Stderr => stderr.extend_from_slice(frame.payload),
                Source::Dopq | Source::Build => {}
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok([stdout, stderr])
    }

    /// Up to `most` bytes from `offset`, fewer at the end.
    pub(crate) async fn read(&self, offset: u64, most: usize) -> io::Result<Bytes> {
        let left = self.length.borrow().saturating_sub(offset);
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(most);
        let file = Arc::clone(&self.file);
        blocking(move || {
            let mut buffer = vec![0; size];
            file.read_exact_at(&mut buffer, offset)?;
            Ok(Bytes::from(buffer))
        })
        .await
    }
}

/// Frames on their way into the file.
struct Frames {
    start: u64,
    buffer: Vec<u8>,
    /// What is in the file once they are.
    next: Written,
    /// The frame that may grow: its source, its time, and its payload so far.
    open: Option<(Source, Timestamp, Vec<u8>)>,
}

impl Frames {
    fn after(written: Written) -> Self {
        Self {
            start: written.length,
            buffer: Vec::new(),
            next: written,
            open: None,
        }
    }

    fn push(&mut self, source: Source, at: Timestamp, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        self.next.count(source, payload);
        match &mut self.open {
            Some((of, when, open))
                if (*of, *when) == (source, at)
                    && open.len() + payload.len() <= PAYLOAD_MAX_BYTES =>
            {
                open.extend_from_slice(payload);
            }
            Some(_) | None => {
                self.close();
                self.open = Some((source, at, payload.to_vec()));
            }
        }
    }

    fn close(&mut self) {
        if let Some((source, at, payload)) = self.open.take() {
            log::append(&mut self.buffer, source, at, &payload);
            self.next.reach(self.start + as_u64(self.buffer.len()));
        }
    }

    fn finish(mut self) -> (Vec<u8>, Written) {
        self.close();
        (self.buffer, self.next)
    }
}

/// What a payload takes of the quota: its bytes, and a frame's header for each of its lines. The engine's own log, whose
/// size follows from the quota, holds every line apart, and must not drop its start before the quota is used up.
fn charge(payload: &[u8]) -> u64 {
    let ends = payload.iter().filter(|byte| **byte == b'\n').count();
    let lines = ends + usize::from(payload.last().is_some_and(|last| *last != b'\n'));
    as_u64(payload.len() + lines * HEADER_BYTES)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Trying again would not help.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Reads the file's frames to its last whole one; a damaged rest is as good as never written.
fn scan(file: &File) -> io::Result<Written> {
    let mut written = Written::default();
    let mut window = vec![0; SCAN_BYTES];
    loop {
        let have = read_up_to(file, &mut window, written.length)?;
        let mut rest = window.get(..have).unwrap_or_default();
        let before = written.length;
        while let Ok(Some((frame, used))) = log::next(rest) {
            // A file that was extended before a crash, and not written, ends in zeros, which read as such frames.
            if frame.payload.is_empty() {
                break;
            }
            written.count(frame.source, frame.payload);
            written.cut |= frame.source == Source::Dopq && frame.payload.starts_with(CUT_MARK);
            written.reach(written.length + as_u64(used));
            rest = rest.get(used..).unwrap_or_default();
        }
        if written.length == before {
            return Ok(written);
        }
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + as_u64(have)) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
