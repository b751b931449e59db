//! The bundle store: bundles by digest, and each job's logs, results and checkpoint, and the archive of their
//! records.
//!
//! A URL selects a local folder, a share or a bucket. [`Intake`] is the only way in: it spools, digests and
//! validates a bundle before it stores it. [`dopq_common::bundle`] has the rules of a bundle; [`crate::http`]
//! decides who may read it.

mod checkpoints;
mod commits;
mod error;
mod image;
mod in_use;
mod intake;
mod local;
mod objects;
mod segments;
mod spool;
mod store;
mod sweep;
#[cfg(test)]
mod tests;

pub use checkpoints::Commit;
pub use commits::Summary;
pub use error::{Error, IntakeError};
pub use intake::{Intake, Judged, Taken};
pub use spool::Spooled;
pub use store::{Bundles, ByteStream, Chunk, Stored};

pub(crate) use checkpoints::manifest_name;
pub(crate) use in_use::Removal;
pub(crate) use local::finished_name;
pub(crate) use objects::{Objects, local_path, private_folder};
pub(crate) use segments::segment_path;
pub(crate) use sweep::{Listed, Removed};
