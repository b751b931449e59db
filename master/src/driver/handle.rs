//! What other tasks hold of the driver: submit, act, change accounts, read.
//!
//! Every call resolves after the commit that made it durable. The inputs themselves are private.

use dopq_common::id::JobId;
use dopq_common::sched::{Event, Rejected, Submission};

use crate::store::{AccountChange, AuditEntry, IngestMark};
use crate::view::View;

/// The answer to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The job.
    pub job: JobId,
    /// False when its key had already given this job.
    pub new: bool,
}

/// A submission that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The scheduler refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another master leads.
    #[error("this master does not lead")]
    NotLeader {
        /// Where the leader answers, when one is known.
        leader_url: Option<String>,
    },
    /// The store cannot be written for now; whether it was taken is open, so repeat it with its key.
    #[error("the store cannot be written: {0}")]
    Unavailable(String),
}

/// An action that was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The scheduler refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another master leads.
    #[error("this master does not lead")]
    NotLeader {
        /// Where the leader answers, when one is known.
        leader_url: Option<String>,
    },
    /// The store cannot be written for now; whether it was done is open.
    #[error("the store cannot be written: {0}")]
    Unavailable(String),
}

/// Cheap to clone; how the HTTP side and ingest reach the driver.
#[derive(Clone)]
pub struct Handle {
    view: View,
}

impl Handle {
    /// Submits a job; resolves after the commit.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was accepted unless it is `Unavailable`, which leaves that open.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, SubmitError> {
        let _ = submission;
        Err(SubmitError::NotLeader { leader_url: None })
    }

    /// Submits a job that was found in a watched folder; the job and the mark that its file was taken
    /// are one commit.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn submit_ingested(
        &self,
        submission: Submission,
        mark: IngestMark,
    ) -> Result<Accepted, SubmitError> {
        let _ = (submission, mark);
        Err(SubmitError::NotLeader { leader_url: None })
    }

    /// Gives the scheduler an event of an authenticated person, with its line in the audit log.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn act(&self, event: Event, audit: AuditEntry) -> Result<(), ActError> {
        let _ = (event, audit);
        Err(ActError::NotLeader { leader_url: None })
    }

    /// Changes an account, with its line in the audit log.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn change_account(
        &self,
        change: AccountChange,
        audit: AuditEntry,
    ) -> Result<(), ActError> {
        let _ = (change, audit);
        Err(ActError::NotLeader { leader_url: None })
    }

    /// The committed state, for readers.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }
}
