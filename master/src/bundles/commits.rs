//! One commit of a checkpoint at a time for each job, and what is known between two.

use std::collections::BTreeMap;
use std::sync::Arc;

use dopq_common::checkpoint::{CHUNK_MIN_BYTES, ENTRIES_MAX};
use dopq_common::id::JobId;
use dopq_common::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::MutexGuard;

/// Jobs that share a lock commit after each other.
const LOCKS: usize = 16;
/// Jobs whose last chunks or summaries are known.
const KNOWN: usize = 10_000;

/// What a stored checkpoint contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The number of the attempt that wrote it.
    pub attempt: u32,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// How many files it has.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// A manifest's name in the store, and when it was written.
type Written = (String, Timestamp);

/// The commits; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Commits(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    locks: [tokio::sync::Mutex<()>; LOCKS],
    /// Chunks that came since the job's last manifest.
    sent: Mutex<BTreeMap<JobId, Sent>>,
    /// What manifests contain.
    summaries: Mutex<BTreeMap<Written, Summary>>,
}

/// How much came.
#[derive(Debug, Default)]
struct Sent {
    bytes: u64,
    chunks: u64,
}

impl Commits {
    /// Waits for the job's turn, which lasts as long as the answer lives.
    pub(super) async fn begin(&self, job: JobId) -> MutexGuard<'_, ()> {
        let [first, others @ ..] = &self.0.locks;
        let at = usize::try_from(job.0 % LOCKS as u64).unwrap_or(0);
        let lock = at.checked_sub(1).and_then(|at| others.get(at));
        lock.unwrap_or(first).lock().await
    }

    /// Counts a chunk, if the job's chunks have no more than `most` bytes then, and are not too many.
    pub(super) fn may_send(&self, job: JobId, bytes: u64, most: u64) -> bool {
        let mut sent = self.0.sent.lock();
        // Of jobs that ended in the middle nobody tells.
        if sent.len() >= KNOWN && !sent.contains_key(&job) {
            sent.clear();
        }
        let sent = sent.entry(job).or_default();
        let all = Sent {
            bytes: sent.bytes.saturating_add(bytes),
            chunks: sent.chunks.saturating_add(1),
        };
        // Each file can end with a small one.
        let most_chunks = most / u64::from(CHUNK_MIN_BYTES) + 2 * ENTRIES_MAX as u64;
        let may = all.bytes <= most && all.chunks <= most_chunks;
        if may {
            *sent = all;
        }
        may
    }

    /// The job's chunks count anew.
    pub(super) fn begin_sending(&self, job: JobId) {
        self.0.sent.lock().remove(&job);
    }

    /// What a manifest contains that was read before.
    pub(super) fn summary(&self, manifest: &Written) -> Option<Summary> {
        self.0.summaries.lock().get(manifest).copied()
    }

    /// Remembers what a manifest contains.
    pub(super) fn note_summary(&self, manifest: Written, summary: Summary) {
        let mut summaries = self.0.summaries.lock();
        if summaries.len() >= KNOWN {
            summaries.pop_first();
        }
        summaries.insert(manifest, summary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_chunks_are_bounded_too() {
        let commits = Commits::default();
        let most = 2 * ENTRIES_MAX as u64;
        let sent = (0..=most).filter(|_| commits.may_send(JobId(1), 1, u64::from(u32::MAX)));
        let by_size = u64::from(u32::MAX) / u64::from(CHUNK_MIN_BYTES);
        assert_eq!(sent.count() as u64, most + 1);
        let sent = (0..=by_size).filter(|_| commits.may_send(JobId(1), 1, u64::from(u32::MAX)));
        assert_eq!(sent.count() as u64, by_size - 1);
        assert!(commits.may_send(JobId(2), 1, 1), "another job's");
        commits.begin_sending(JobId(1));
        assert!(commits.may_send(JobId(1), 1, 1));
    }
}
