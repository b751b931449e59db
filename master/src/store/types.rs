//! What is committed and loaded.

use std::fmt;

use dopq_common::api::Role;
use dopq_common::id::{Epoch, JobId, UserName};
use dopq_common::sched::Change;
use dopq_common::time::Timestamp;

/// One transaction: all of it is written, or nothing.
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
    /// Files of the watched folder, with the jobs that they became.
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

/// Somebody who may use the cluster, with what proves it.
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

/// A token as it is stored: its secret cannot be had from it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// The id that it is revoked by.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// BLAKE3 of the secret in hexadecimal.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
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
    /// The account as it now is.
    Set(Account),
    /// The account is gone, and its tokens with it.
    Removed(UserName),
}

/// A file of the watched folder that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestMark {
    /// What names the file's content: path, size and etag in one.
    pub key: String,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: a user's name, or the part of the system that acted.
    pub by: String,
    /// What was done, as `job.cancel`.
    pub action: String,
    /// To what: a job's id, a worker's or user's name.
    pub target: String,
    /// What a reader should know.
    pub detail: String,
}

/// A master, as the others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderInfo {
    /// Differs after every start of the master.
    pub id: String,
    /// Where its API is reached.
    pub url: String,
}

/// What the store holds.
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

/// What changed in the store since some batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// The number of the last committed batch.
    pub seq: u64,
    /// The highest epoch that was given.
    pub epoch: Epoch,
    /// To be applied to the state as of the earlier batch, in order.
    pub changes: Vec<Change>,
    /// Accounts that changed or went away.
    pub accounts: Vec<AccountChange>,
}
