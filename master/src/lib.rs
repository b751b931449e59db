//! The master: takes jobs, decides whose turn it is, keeps the truth.
//!
//! It is the shell around [`dopq_common::sched`]. One task owns the scheduler's state ([`driver`]);
//! everything else either feeds it events ([`reports`], [`ingest`], [`http`]), performs its effects
//! ([`dispatch`]), or reads the committed state ([`view`]).

pub mod accounts;
pub mod app;
pub mod archive;
pub mod audit;
pub mod bundles;
pub mod clock;
pub mod config;
pub mod disk;
pub mod dispatch;
pub mod driver;
pub mod http;
pub mod ingest;
mod judging;
pub mod keys;
pub mod leader;
pub mod logs;
pub mod management;
pub mod metrics;
pub mod quota;
mod random;
pub mod reload;
pub mod reports;
pub mod retention;
mod retry;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod view;
