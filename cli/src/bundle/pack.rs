//! Makes the zip. The same content always gives the same bytes, so that the master recognises it by its digest and
//! it is sent only once.
//!
//! Entries are sorted by name and have the earliest time that a zip knows and mode 0644 or 0755. What is too dense to
//! compress is stored, the rest deflated at one fixed level. Empty folders are kept, because a Dockerfile may copy them.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use dopq_common::id::Digest;
use indicatif::ProgressBar;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::content::Content;
use super::density::is_dense;
use super::error::Error;
use super::walk::{Entry, walk};

/// Twice as fast as the usual 6, and the zip of source code is 7 % larger. Another level gives another digest.
const LEVEL: i64 = 3;

/// Sizes from here on need the larger form of headers.
const LARGE_BYTES: u64 = u32::MAX as u64;

const COPY_BYTES: usize = 256 * 1024;

/// A zip, ready to be checked or sent.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Its bytes.
    pub(crate) content: Content,
    /// BLAKE3 of them.
    pub(crate) digest: Digest,
    /// Its length.
    pub(crate) size_bytes: u64,
    /// What of the folder is not in it.
    pub(crate) left_out: Vec<String>,
    /// Bytes of its files.
    pub(crate) unpacked_bytes: u64,
    /// The largest folders and files at its top, with their bytes; empty for a zip.
    pub(crate) largest: Vec<(String, u64)>,
}

/// How many of the largest folders are told.
const LARGEST: usize = 3;

/// Packs a folder, or takes a zip as it is.
pub(crate) fn pack(place: &Path, progress: &ProgressBar) -> Result<Packed, Error> {
    let facts = fs::metadata(place).map_err(|source| Error::Read {
        path: place.to_owned(),
        source,
    })?;
    if facts.is_dir() {
        let walk = walk(place)?;
        let unpacked_bytes = walk.entries.iter().map(|entry| entry.size_bytes).sum();
        progress.set_length(unpacked_bytes);
        let mut file = tempfile::tempfile().map_err(Error::Write)?;
        write(&mut file, &walk.entries, progress)?;
        let packed = finish(file, progress).map_err(Error::Write)?;
        return Ok(Packed {
            largest: walk.largest(LARGEST),
            left_out: walk.left_out,
            unpacked_bytes,
            ..packed
        });
    }
    let is_zip = place
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    if !facts.is_file() || !is_zip {
        return Err(Error::Kind {
            path: place.to_owned(),
        });
    }
    finish(open(place)?, progress).map_err(|source| Error::Read {
        path: place.to_owned(),
        source,
    })
}

fn write(file: &mut File, entries: &[Entry], progress: &ProgressBar) -> Result<(), Error> {
    let mut zip = ZipWriter::new(BufWriter::with_capacity(COPY_BYTES, file));
    let mut buffer = vec![0; COPY_BYTES];
    for entry in entries {
        if entry.name.ends_with('/') {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(DateTime::DEFAULT)
                .unix_permissions(0o755);
            zip.add_directory(entry.name.as_str(), options)?;
            continue;
        }
        let mut source = open(&entry.path)?;
        let dense = is_dense(&mut source, entry.size_bytes).map_err(|error| Error::Read {
            path: entry.path.clone(),
            source: error,
        })?;
        let (method, level) = if dense {
            (CompressionMethod::Stored, None)
        } else {
            (CompressionMethod::Deflated, Some(LEVEL))
        };
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .compression_level(level)
            .last_modified_time(DateTime::DEFAULT)
            .unix_permissions(if entry.executable { 0o755 } else { 0o644 })
            .large_file(entry.size_bytes >= LARGE_BYTES);
        zip.start_file(entry.name.as_str(), options)?;
        copy(entry, source, &mut zip, &mut buffer, progress)?;
    }
    zip.finish()?.flush().map_err(Error::Write)
}

fn copy<W: Write + Seek>(
    entry: &Entry,
    mut file: File,
    zip: &mut ZipWriter<W>,
    buffer: &mut [u8],
    progress: &ProgressBar,
) -> Result<(), Error> {
    let mut left = entry.size_bytes;
    loop {
        let length = file.read(buffer).map_err(|source| Error::Read {
            path: entry.path.clone(),
            source,
        })?;
        let (piece, _) = buffer.split_at(length);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        // A file that is being written must not be packed half-way.
        let Some(rest) = left.checked_sub(length) else {
            return Err(Error::Changed {
                path: entry.path.clone(),
            });
        };
        left = rest;
        if length == 0 {
            break;
        }
        zip.write_all(piece).map_err(Error::Write)?;
        progress.inc(length);
    }
    if left == 0 {
        Ok(())
    } else {
        Err(Error::Changed {
            path: entry.path.clone(),
        })
    }
}

/// Hashes the finished zip: its headers are only known once their entries are written.
fn finish(file: File, progress: &ProgressBar) -> io::Result<Packed> {
    let size_bytes = file.metadata()?.len();
    let content = Content::new(file);
    progress.set_message("hashing");
    progress.set_length(size_bytes);
    progress.set_position(0);
    let mut hasher = blake3::Hasher::new();
    let reader = BufReader::with_capacity(COPY_BYTES, content.reader());
    hasher.update_reader(progress.wrap_read(reader))?;
    Ok(Packed {
        content,
        digest: Digest(*hasher.finalize().as_bytes()),
        size_bytes,
        left_out: Vec::new(),
        unpacked_bytes: size_bytes,
        largest: Vec::new(),
    })
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
