//! The audit log.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// `GET /v1/audit`: a page of the log, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// The lines.
    pub lines: Vec<AuditLine>,
    /// The query's `before` of the next page; absent on the last.
    pub next: Option<String>,
}

/// One line: a change, a privileged access, or one that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When.
    pub at: DateTime<Utc>,
    /// A user's name, or the part of the system that acted.
    pub by: String,
    /// What, such as `cancel` or `token_add`.
    pub action: String,
    /// On what: a job's id, a user's or node's name.
    pub target: String,
    /// More on it.
    pub detail: String,
    /// The id of the token that was used; empty if none was.
    pub token: String,
    /// What its owner calls it.
    pub token_name: String,
    /// The address that the request came from; empty for a part of the system.
    pub from: String,
    /// The error's code if it was not done; otherwise empty.
    pub refused: String,
}
