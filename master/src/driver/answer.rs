//! What the driver answers.

use dopq_common::id::JobId;
use dopq_common::sched::Rejected;

/// The answer to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The job.
    pub job: JobId,
    /// False if its idempotency key had created this job before.
    pub new: bool,
}

/// A failed submission or action.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The scheduler refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another master leads.
    #[error("this master is not the leader")]
    NotLeader {
        /// The leader's URL, if known.
        leader_url: Option<String>,
    },
    /// The store rejects writes now. It may have taken effect; a submission can be repeated with its key.
    #[error("the store rejects writes: {0}")]
    Unavailable(String),
}
