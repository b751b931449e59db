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

/// A failed submission.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The scheduler refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another master leads.
    #[error("this master is not the leader")]
    NotLeader {
        /// The leader's URL, if known.
        leader_url: Option<String>,
    },
    /// The store rejects writes now. The submission may have been accepted; repeat it with its key.
    #[error("the store rejects writes: {0}")]
    Unavailable(String),
}

/// A failed action.
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
    /// The store rejects writes now. The action may have taken effect.
    #[error("the store rejects writes: {0}")]
    Unavailable(String),
}

impl From<ActError> for SubmitError {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Rejected(rejected) => Self::Rejected(rejected),
            ActError::NotLeader { leader_url } => Self::NotLeader { leader_url },
            ActError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
