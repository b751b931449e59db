//! The store port: the truth, in Redis or in an embedded file, behind one fenced commit.
//!
//! [`Store`] is the port. Both adapters pass one contract suite. [`Store::commit`] writes everything that must
//! survive: all of a batch or nothing, and only for the master with the highest epoch. The records' formats are in
//! [`dopq_common::record`]; what they mean to the scheduler.

mod codec;
mod embedded;
mod error;
mod port;
mod redis;
mod types;

use std::time::Duration;

pub use embedded::Embedded;
pub use error::Error;
pub use port::{Options, Store};
pub use redis::{Redis, RedisOptions};
pub use types::{
    Account, AccountChange, AuditEntry, Batch, Delta, IngestMark, LeaderInfo, Loaded, NodeKey,
    TokenRecord,
};

/// How long idempotency keys and marks of ingested files are kept: longer than anybody retries.
const KEYS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How many lines of the audit log are kept: so many of users, and as many of operators, admins and the system.
const AUDIT_MAX_LINES: u64 = 50_000;
