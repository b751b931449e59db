//! Reads and validates bundles: the zip ([`archive`]), its configuration ([`config`]) and its Dockerfile
//! ([`dockerfile`]).
//!
//! Master, worker and command line use this one validator. It reports all faults of a bundle. The shells open files
//! and decide who may submit for whom.

pub mod archive;
pub mod config;
pub mod dockerfile;
mod fault;
pub mod ignore;
mod limits;

pub use fault::{Fault, escape};
pub use limits::Limits;
