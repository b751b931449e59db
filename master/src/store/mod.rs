//! The store port: the truth, in Redis or in an embedded file, behind one fenced commit.
//!
//! [`Store`] is the port; its adapters keep the same promises, which the contract suite proves on both.
//! Everything that must survive is written by [`Store::commit`], all of a batch or nothing, and only
//! by the master whose epoch is the highest. What the records look like is left to
//! [`dopq_common::record`]; what they mean to the scheduler.

mod error;
mod port;
mod types;

pub use error::Error;
pub use port::{Options, RedisOptions, Store};
pub use types::{
    Account, AccountChange, AuditEntry, Batch, IngestMark, LeaderInfo, Loaded, TokenRecord,
};
