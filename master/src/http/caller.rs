//! Who makes a request, once the guard has let it pass.

use dopq_common::api::Role;
use dopq_common::id::{AttemptId, JobId, UserName, WorkerId};

/// The authenticated caller. Handlers find it in the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) name: UserName,
    pub(super) role: Role,
}

impl Caller {
    /// Whether the caller may see and change what belongs to `owner`.
    pub(super) fn sees(&self, owner: &UserName) -> bool {
        self.role >= Role::Operator || self.name == *owner
    }
}

/// The job of the path. Handlers extract it as [`super::extract::Named`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NamedJob(pub(super) JobId);

/// The authenticated worker that asks how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkerCaller(pub(super) WorkerId);

/// The authenticated worker with its current attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttemptCaller {
    pub(super) attempt: AttemptId,
    pub(super) worker: WorkerId,
}
