//! Reads and judges bundles: the zip ([`archive`]), its configuration ([`config`]) and its Dockerfile
//! ([`dockerfile`]).
//!
//! One validator for the master, the worker and the command line. It works on readers, so opening files is
//! left to the shells, and it tells all faults of a bundle at once. Who may submit for whom is left to the
//! shells as well, since it depends on a proven identity.

pub mod archive;
pub mod config;
pub mod dockerfile;
mod fault;
mod limits;

pub use fault::{Fault, escape};
pub use limits::Limits;
