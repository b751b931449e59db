//! Submits ingested jobs, and tells who may have some.

use std::future::Future;

use dopq_common::id::UserName;
use dopq_common::sched::Submission;

use crate::driver::{Accepted, ActError, Handle};
use crate::store::IngestMark;

/// The driver as ingest sees it.
pub trait Submit: Clone + Send + Sync + 'static {
    /// Everybody with an account that is not disabled.
    fn users(&self) -> Vec<UserName>;

    /// Whether a submission with this key was accepted.
    fn knows(&self, key: &str) -> bool;

    /// Submits the job and its file's mark in one commit. The same mark gives the same job.
    fn submit(
        &self,
        submission: Submission,
        mark: IngestMark,
    ) -> impl Future<Output = Result<Accepted, ActError>> + Send;
}

impl Submit for Handle {
    fn users(&self) -> Vec<UserName> {
        self.view().read(|model| {
            let accounts = model.accounts.values();
            let enabled = accounts.filter(|account| account.disabled_at.is_none());
            enabled.map(|account| account.name.clone()).collect()
        })
    }

    fn knows(&self, key: &str) -> bool {
        self.view()
            .read(|model| model.state.job_of_key(key).is_some())
    }

    async fn submit(&self, submission: Submission, mark: IngestMark) -> Result<Accepted, ActError> {
        self.submit_ingested(submission, mark).await
    }
}
