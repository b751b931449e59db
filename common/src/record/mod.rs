//! What is stored: the formats of jobs, users, groups, workers and counters.
//!
//! These types are the format, in JSON. They convert to and from the domain's types, tolerate fields
//! that they do not know, and are guarded by golden files, so that what an older version stored keeps
//! loading. Where they are stored is left to the master's store; the bundle store's archive holds a job's
//! record as well.

mod array;
mod error;
mod expected;
mod job;
mod meta;
mod specs;
mod user;
mod worker;

#[cfg(test)]
mod tests;

pub use array::{ArrayRecord, EndsRecord, TaskRecord};
pub use error::Error;
pub use expected::{ExpectedByRecord, ExpectedRecord};
pub use job::{
    ActiveRecord, ChargeRecord, HoldRecord, JobRecord, StateRecord, StopRecord, TransitionRecord,
};
pub use meta::{LockRecord, MetaRecord};
pub use specs::Specs;
pub use user::{GroupRecord, GuardsRecord, UserRecord};
pub use worker::{CordonRecord, HealthRecord, WorkerRecord};

/// The version that this build writes. Readers take every version up to the one after it, so that a
/// new master and an old one can share a store while one replaces the other.
pub const RECORD_VERSION: u32 = 1;
