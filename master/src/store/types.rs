//! What is committed beside the scheduler's changes: accounts, ingest marks, the audit log.

use dopq_common::api::Role;
use dopq_common::id::UserName;
use dopq_common::time::Timestamp;

/// Somebody who may speak to DoPQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// Argon2id as a PHC string, when a password is set.
    pub password: Option<String>,
    /// The tokens that prove to be them.
    pub tokens: Vec<TokenRecord>,
}

/// A token as it is stored: never its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// With which it is revoked.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// BLAKE3 of the secret, hexadecimal.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A change of one account, with its whole new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// The account as it now is.
    Set(Account),
    /// The account is removed.
    Removed(UserName),
}

/// A file of a watched folder that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestMark {
    /// Path, size and etag in one.
    pub key: String,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What, such as `cancel`.
    pub action: String,
    /// To what, such as a job id.
    pub target: String,
    /// Further facts.
    pub detail: String,
}
