//! The engine's port: one suite for both adapters, and what only the real engine can show.
//!
//! Everything made in the engine bears `dopq.cluster=<unique name>` and is removed when the test ends,
//! however it ends.

mod admin;
mod bench;
mod build;
mod conformance;
mod egress;
mod faults;

mod load;
mod logs;
mod networks;
mod rules;
mod signals;
