//! Checkpoints of jobs: the manifest of a `/checkpoint` folder, and which of its chunks must be sent or removed.
//!
//! A file is cut into chunks that are stored by their digest, below their job. The manifest names the chunks of every
//! file. It is stored last, so that a checkpoint is there whole or not at all. Workers and users write manifests, so
//! whoever reads one must doubt it: [`Manifest::read`] checks all that a reader relies on.

mod manifest;
mod plan;

pub use manifest::{Chunk, Entry, Invalid, Kind, Manifest};
pub use plan::{missing, unneeded};

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// The format of manifests.
pub const FORMAT: u32 = 1;
/// The smallest chunk, but for the last of a file.
pub const CHUNK_MIN_BYTES: u32 = 256 << 10;
/// The usual size of a chunk.
pub const CHUNK_USUAL_BYTES: u32 = 1 << 20;
/// The largest chunk.
pub const CHUNK_MAX_BYTES: u32 = 4 << 20;
/// The most files, folders and links of a checkpoint.
pub const ENTRIES_MAX: usize = 20_000;
/// The longest path in bytes.
pub const PATH_MAX_BYTES: usize = 4000;
/// The longest name in a path in bytes, as file systems have it.
pub const NAME_MAX_BYTES: usize = 255;
/// The deepest nest of folders.
pub const DEPTH_MAX: usize = 64;
/// The largest manifest as it is stored.
pub const MANIFEST_MAX_BYTES: usize = 32 << 20;

/// What a master answers to a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Chunks that must be sent before the manifest can be stored. If there are none, it is stored.
    pub missing: Vec<Digest>,
}
