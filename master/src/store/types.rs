//! The types that are committed and loaded.

use std::fmt;

use dopq_common::api::Role;
use dopq_common::id::{Epoch, JobId, UserName};
use dopq_common::sched::Change;
use dopq_common::time::Timestamp;

/// One transaction, written completely or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The leadership that writes it.
    pub epoch: Epoch,
    /// One more than the last committed batch's. Committing the same batch again is harmless.
    pub seq: u64,
    /// The scheduler's changes.
    pub changes: Vec<Change>,
    /// Changes to accounts.
    pub accounts: Vec<AccountChange>,
    /// Ingested files, with their jobs.
    pub ingested: Vec<(IngestMark, JobId)>,
    /// Who did what.
    pub audit: Vec<AuditEntry>,
}

impl Batch {
    /// A batch without content.
    #[must_use]
    pub const fn new(epoch: Epoch, seq: u64) -> Self {
        Self {
            epoch,
            seq,
            changes: Vec::new(),
            accounts: Vec::new(),
            ingested: Vec::new(),
            audit: Vec::new(),
        }
    }
}

/// A user's account and credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// The password's Argon2id hash in PHC form.
    pub password: Option<String>,
    /// Their tokens.
    pub tokens: Vec<TokenRecord>,
}

impl fmt::Debug for Account {
    /// Without the password's hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("password", &self.password.is_some())
            .field("tokens", &self.tokens)
            .finish()
    }
}

/// A stored token. Does not contain the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its id, for revoking it.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// BLAKE3 of the secret in hexadecimal.
    pub hash: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl fmt::Debug for TokenRecord {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRecord")
            .field("id", &self.id)
            .field("label", &self.label)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// One change to the accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// The account's new value.
    Set(Account),
    /// The account is gone, and its tokens with it.
    Removed(UserName),
}

/// An ingested file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestMark {
    /// Identifies the file's content: path, size and etag.
    pub key: String,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: a user's name, or the part of the system that acted.
    pub by: String,
    /// The action, such as `job.cancel`.
    pub action: String,
    /// Its object: a job's id, a worker's or user's name.
    pub target: String,
    /// Details.
    pub detail: String,
}

/// A master, as the others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderInfo {
    /// Unique for each start of the master.
    pub id: String,
    /// The URL of its API.
    pub url: String,
}

/// The store's content.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The number of the last committed batch.
    pub seq: u64,
    /// The highest epoch that was given.
    pub epoch: Epoch,
    /// To be applied to an empty state.
    pub changes: Vec<Change>,
    /// Every account, by name.
    pub accounts: Vec<Account>,
}

/// The changes since a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// The number of the last committed batch.
    pub seq: u64,
    /// The highest epoch that was given.
    pub epoch: Epoch,
    /// To apply to the state of the earlier batch, in order.
    pub changes: Vec<Change>,
    /// Accounts that changed or went away.
    pub accounts: Vec<AccountChange>,
}
