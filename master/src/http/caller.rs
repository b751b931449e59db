//! Who makes a request, once the guard has let it pass.

use std::net::IpAddr;

use dopq_common::api::Role;
use dopq_common::id::{AttemptId, JobId, UserName, WorkerId};
use dopq_common::time::Timestamp;

use super::trail::Trail;
use crate::accounts::TokenName;
use crate::store::AuditEntry;

/// The authenticated caller. Handlers find it in the request's extensions.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) name: UserName,
    pub(super) role: Role,
    /// The token that proved it.
    pub(super) token: TokenName,
    /// The address that the request came from.
    pub(super) from: IpAddr,
    /// The request's line in the audit log.
    pub(super) trail: Trail,
}

impl Caller {
    /// Whether the caller may see and change what belongs to `owner`.
    pub(super) fn sees(&self, owner: &UserName) -> bool {
        self.role >= Role::Operator || self.name == *owner
    }

    /// A line of the audit log about this caller. Most handlers use `audit` in [`super::routes`].
    pub(super) fn line(
        &self,
        at: Timestamp,
        action: &str,
        target: impl ToString,
        detail: String,
    ) -> AuditEntry {
        AuditEntry {
            at,
            by: self.name.to_string(),
            action: action.to_owned(),
            target: target.to_string(),
            detail,
            token: self.token.id.clone(),
            token_name: self.token.label.clone(),
            from: self.from.to_canonical().to_string(),
            refused: String::new(),
            by_user: self.role == Role::User,
        }
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
