//! The bundle store: bundles by digest, and each job's logs, results and records.
//!
//! It lies in a local folder, on a share, or in a bucket, by URL. [`Intake`] is the only way in for a
//! bundle: spooled privately, digested, judged, and only then stored. What a bundle may hold is left to
//! [`dopq_common::bundle`]; who may have it is left to the HTTP side.

mod error;
mod intake;
mod objects;
mod spool;
mod store;
#[cfg(test)]
mod tests;

pub use error::{Error, IntakeError};
pub use intake::{Intake, Judged, Taken};
pub use spool::Spooled;
pub use store::{Bundles, ByteStream, Chunk, Stored};

pub(crate) use objects::{Objects, local_path};
