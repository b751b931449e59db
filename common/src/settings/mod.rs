//! The programs' configuration: structs of settings, filled from a TOML file, the environment and flags, in rising
//! precedence. All mistakes are reported together.
//!
//! [`settings!`](crate::settings!) describes each setting once: name, type, default, bounds and meaning. Which settings
//! go together is left to each program.

mod field;
mod file;
mod key;
mod layers;
mod print;
mod scalar;
mod snapshot;
mod values;

pub use field::{Field, join};
pub use key::{Key, Shape};
pub use layers::{Layers, Mistake, Mistakes};
pub use scalar::{Named, Scalar, any, at_least, between};
pub use snapshot::{Changed, Snapshot};
pub use values::{BaseUrl, ClusterName, ServiceUrl, Share};

#[cfg(test)]
mod tests;
