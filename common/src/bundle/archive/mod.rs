//! The zip itself.

use std::io::{self, Read, Seek};

use super::{Fault, Limits};
use crate::job::JobSpec;

/// What a bundle was found to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The text of its `container_config.json`.
    pub config: String,
    /// What that text asks for.
    pub spec: JobSpec,
    /// The folder that holds the configuration: empty, or ending in `/`.
    pub root: String,
    /// Whether there is a Dockerfile beside the configuration.
    pub has_dockerfile: bool,
    /// Whether there is an `image.tar` beside it.
    pub has_image_tar: bool,
    /// Bytes of content, as counted.
    pub expanded_bytes: u64,
    /// Number of entries, folders included.
    pub entries: u64,
}

/// One entry of a bundle's root folder, as a build context takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryInfo {
    /// Relative to the root folder, without a trailing `/`.
    pub path: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// 0644 or 0755, whatever the archive says.
    pub mode: u32,
    /// Bytes of content.
    pub size_bytes: u64,
}

/// Why a walk over the entries ended early.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError<E> {
    /// The bundle is not one that the validator accepts.
    #[error("the bundle is invalid")]
    Invalid(Vec<Fault>),
    /// Reading it failed.
    #[error("the bundle cannot be read")]
    Read(#[source] io::Error),
    /// The visitor failed.
    #[error("an entry could not be taken")]
    Visit(E),
}

/// Judges a whole bundle, reading every entry once.
///
/// # Errors
/// All faults at once.
pub fn inspect<R: Read + Seek>(
    reader: R,
    size_bytes: u64,
    limits: &Limits,
) -> Result<Inspected, Vec<Fault>> {
    drop(reader);
    let message = format!("{size_bytes} bytes, {} at most", limits.compressed_bytes);
    Err(vec![Fault::new("unread", "", message)])
}

/// Walks the entries below the root folder in the archive's order.
///
/// # Errors
/// The archive's faults, a failed read, or what the visitor returned.
pub fn entries<R: Read + Seek, E>(
    reader: R,
    limits: &Limits,
    each: impl FnMut(&EntryInfo, &mut dyn Read) -> Result<(), E>,
) -> Result<(), EntriesError<E>> {
    drop((reader, limits, each));
    Ok(())
}
