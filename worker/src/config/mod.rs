//! The program's configuration: file, environment and flags, with every mistake told at once.
//!
//! - [`keys`]: the settings that a worker knows
//! - [`mod@read`]: what they come to
//! - [`args`]: the command line

mod args;
mod keys;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use args::Args;
pub(crate) use read::{Config, LogFormat, read};
