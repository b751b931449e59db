//! The composition root: builds every part from the configuration, runs them, and ends them in order.
//!
//! Nothing is decided here. `command` is the program around it: arguments, logs, exit codes.

mod command;
mod data_dir;
mod error;
mod first_start;
mod health;
mod local_worker;
mod open;
mod run;
mod watched;

pub use command::{exit, main};
pub use error::Error;
pub use run::run;
