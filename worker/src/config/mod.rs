//! The program's configuration: file, environment and flags, with every mistake told at once.

mod args;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use args::Args;
pub(crate) use read::{Config, LogFormat, read};
