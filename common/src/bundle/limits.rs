//! The limits of a bundle. The master's configuration sets them.
//!
//! The configuration document's own limits are constants in [`super::config`], because an accepted document is read
//! again later and must stay valid.

use crate::resources::ByteSize;

/// The limits of one bundle, all enforced while reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest zip in bytes.
    pub compressed_bytes: u64,
    /// Largest content in bytes, counted while expanding.
    pub expanded_bytes: u64,
    /// Most entries, folders included.
    pub entries: u64,
    /// Largest ratio of content to zip, applied above [`Limits::RATIO_FLOOR_BYTES`].
    pub ratio: u64,
    /// Most folders above a file, itself included.
    pub path_depth: usize,
    /// Longest path in bytes.
    pub name_bytes: usize,
    /// Longest central directory in bytes, which bounds the memory of validation.
    pub directory_bytes: u64,
    /// Largest Dockerfile in bytes.
    pub dockerfile_bytes: u64,
}

impl Limits {
    /// The ratio does not apply below this size: a short file of one letter compresses a thousandfold.
    pub const RATIO_FLOOR_BYTES: u64 = ByteSize::MIB;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed_bytes: 10 * ByteSize::GIB,
            expanded_bytes: 50 * ByteSize::GIB,
            entries: 200_000,
            ratio: 200,
            path_depth: 64,
            name_bytes: 1024,
            directory_bytes: 64 * ByteSize::MIB,
            dockerfile_bytes: ByteSize::MIB,
        }
    }
}
