//! The functional core of DoPQ, and the formats that its programs share.
//!
//! Without the `broker` feature this crate is pure: synchronous, deterministic, without clock, file or
//! socket. The master, the worker and the command line are shells around it.
//!
//! - [`id`], [`time`], [`resources`], [`job`]: the words of the domain
//! - [`bundle`]: reads and judges bundles and their configuration
//! - [`checkpoint`]: what a job's checkpoint consists of
//! - [`chain`]: one line for an error and its causes
//! - [`secret`]: a text that `Debug` hides; [`masked`] hides what looks like one in others' texts
//! - [`penalty`], [`sched`]: whose turn it is and where
//! - [`telemetry`]: what attempts use, summed up
//! - [`sim`]: replays workloads through the same scheduler
//! - [`agent`]: what a worker does with its attempts
//! - [`wire`], [`record`], [`api`]: what goes over the broker, into the store, and over HTTP
//! - [`settings`](mod@settings): the programs' configuration
//! - `broker` (feature): the message broker port and its adapters

pub mod agent;
pub mod api;
#[cfg(feature = "broker")]
pub mod broker;
pub mod bundle;
pub mod chain;
pub mod checkpoint;
pub mod id;
pub mod job;
pub mod masked;
pub mod penalty;
pub mod record;
pub mod resources;
pub mod sched;
pub mod secret;
pub mod session;
pub mod settings;
pub mod sim;
pub mod telemetry;
pub mod time;
pub mod wire;
