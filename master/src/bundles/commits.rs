//! One commit of a checkpoint at a time for each job.

use std::sync::Arc;

use dopq_common::id::JobId;
use tokio::sync::{Mutex, MutexGuard};

/// Jobs that share a lock commit after each other.
const LOCKS: usize = 16;

/// The locks of commits; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Commits(Arc<[Mutex<()>; LOCKS]>);

impl Commits {
    /// Waits for the job's turn, which lasts as long as the answer lives.
    pub(super) async fn begin(&self, job: JobId) -> MutexGuard<'_, ()> {
        let [first, others @ ..] = &*self.0;
        let at = usize::try_from(job.0 % LOCKS as u64).unwrap_or(0);
        let lock = at.checked_sub(1).and_then(|at| others.get(at));
        lock.unwrap_or(first).lock().await
    }
}
