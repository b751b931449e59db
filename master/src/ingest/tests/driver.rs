//! A driver that keeps its commits across lives, and can fail before or after one.

use std::collections::BTreeMap;
use std::sync::Arc;

use dopq_common::id::{JobId, UserName};
use dopq_common::sched::{Rejected, Submission};
use parking_lot::Mutex;

use crate::driver::{Accepted, ActError};
use crate::ingest::Submit;
use crate::store::IngestMark;

#[derive(Debug, Default)]
struct Inner {
    marks: BTreeMap<String, u64>,
    jobs: BTreeMap<u64, Submission>,
    /// The answers to the next calls: `(commits, answer)`.
    faults: Vec<(bool, ActError)>,
}

/// Cheap to clone; all clones are one driver.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeDriver {
    inner: Arc<Mutex<Inner>>,
}

impl FakeDriver {
    /// What was committed, by job.
    pub(super) fn jobs(&self) -> BTreeMap<u64, Submission> {
        self.inner.lock().jobs.clone()
    }

    /// The next call fails so; with `commits`, after its commit.
    pub(super) fn fail_next(&self, commits: bool, error: ActError) {
        self.inner.lock().faults.insert(0, (commits, error));
    }

    /// The next call is refused so.
    pub(super) fn refuse_next(&self, rejected: Rejected) {
        self.fail_next(false, ActError::Rejected(rejected));
    }

    fn commit(&self, submission: Submission, mark: IngestMark) -> Result<Accepted, ActError> {
        let mut inner = self.inner.lock();
        let fault = inner.faults.pop();
        if let Some((false, error)) = fault {
            return Err(error);
        }
        let next = inner.jobs.len() as u64 + 1;
        let new = !inner.marks.contains_key(&mark.key);
        let job = *inner.marks.entry(mark.key).or_insert(next);
        if new {
            inner.jobs.insert(job, submission);
        }
        match fault {
            Some((_, error)) => Err(error),
            None => Ok(Accepted {
                job: JobId(job),
                new,
            }),
        }
    }
}

impl Submit for FakeDriver {
    fn users(&self) -> Vec<UserName> {
        ["anna", "bert"]
            .map(|name| name.parse().expect("a name"))
            .into()
    }

    fn knows(&self, key: &str) -> bool {
        let mark = key.strip_prefix("ingest:");
        mark.is_some_and(|mark| self.inner.lock().marks.contains_key(mark))
    }

    async fn submit(&self, submission: Submission, mark: IngestMark) -> Result<Accepted, ActError> {
        // Before and after the commit a life may end.
        tokio::task::yield_now().await;
        let answer = self.commit(submission, mark);
        tokio::task::yield_now().await;
        answer
    }
}
