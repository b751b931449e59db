//! The store port: the truth, in Redis or in an embedded file, behind one fenced commit.
//!
//! [`Store`] is the port; its adapters keep the same promises, which the contract suite proves on both.
//! Everything that must survive is written by [`Store::commit`], all of a batch or nothing, and only
//! by the master whose epoch is the highest. What the records look like is left to
//! [`dopq_common::record`]; what they mean to the scheduler.

mod codec;
mod embedded;
mod error;
mod port;
mod records;
mod redis;
mod types;

use std::time::Duration;

pub use embedded::Embedded;
pub use error::Error;
pub use port::{Options, Store};
pub use redis::{Redis, RedisOptions};
pub use types::{
    Account, AccountChange, AuditEntry, Batch, Delta, IngestMark, LeaderInfo, Loaded, TokenRecord,
};

/// How long idempotency keys and marks of the watched folder are kept: longer than anybody retries.
const KEYS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How many lines of the audit log are kept.
const AUDIT_MAX_LINES: u64 = 100_000;
