//! How large and how odd a bundle may be. The master's configuration fills it.
//!
//! The configuration document's own limits are constants of [`super::config`]: an accepted document is read
//! again for as long as its job is remembered, so they must not depend on a setting.

use crate::resources::ByteSize;

/// The limits of one bundle; all are enforced while reading, never after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest zip in bytes.
    pub compressed_bytes: u64,
    /// Largest content in bytes, counted while it is expanded.
    pub expanded_bytes: u64,
    /// Most entries, folders included.
    pub entries: u64,
    /// Largest content for each byte of zip, judged above [`Limits::RATIO_FLOOR_BYTES`].
    pub ratio: u64,
    /// Most folders above a file, itself included.
    pub path_depth: usize,
    /// Longest path in bytes.
    pub name_bytes: usize,
    /// Longest central directory in bytes, which bounds the memory that judging takes.
    pub directory_bytes: u64,
    /// Largest Dockerfile in bytes.
    pub dockerfile_bytes: u64,
}

impl Limits {
    /// Content below this many bytes is never called a bomb, whatever its ratio: a short file of one letter
    /// compresses a thousandfold.
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
