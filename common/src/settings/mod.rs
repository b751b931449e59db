//! The programs' configuration: a table of known settings, filled from a TOML file, the environment
//! and flags, in rising precedence, with every mistake told at once.
//!
//! Pure: files and the environment are read by the programs, which pass texts in. What the settings
//! mean, and which go together, is left to each program.

mod file;
mod key;
mod layers;
mod value;

pub use key::{Key, Shape};
pub use layers::{Layers, Mistake, Mistakes};

#[cfg(test)]
mod tests;
