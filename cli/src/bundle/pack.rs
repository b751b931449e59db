//! Makes the zip: the same content always gives the same bytes, so that the master knows it again by
//! its digest and need not be sent it twice.
//!
//! Entries are sorted by name, have the earliest time a zip knows, mode 0644 or 0755, and are deflated
//! at one fixed level. Empty folders are not kept, as in git.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;

use dopq_common::id::Digest;
use indicatif::ProgressBar;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::content::Content;
use super::error::Error;
use super::walk::{Entry, walk};

/// Fixed, because another level would give another digest.
const LEVEL: i64 = 6;

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
}

/// Packs a folder, or takes a zip as it is.
pub(crate) fn pack(place: &Path, progress: &ProgressBar) -> Result<Packed, Error> {
    let facts = fs::metadata(place).map_err(|source| Error::Read {
        path: place.to_owned(),
        source,
    })?;
    if facts.is_dir() {
        let walk = walk(place)?;
        progress.set_length(walk.entries.iter().map(|entry| entry.size_bytes).sum());
        let mut file = tempfile::tempfile().map_err(Error::Write)?;
        write(&mut file, &walk.entries, progress)?;
        return finish(file, walk.left_out).map_err(Error::Write);
    }
    let is_zip = place
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    if !facts.is_file() || !is_zip {
        return Err(Error::Kind {
            path: place.to_owned(),
        });
    }
    finish(open(place)?, Vec::new()).map_err(|source| Error::Read {
        path: place.to_owned(),
        source,
    })
}

fn write(file: &mut File, entries: &[Entry], progress: &ProgressBar) -> Result<(), Error> {
    let mut zip = ZipWriter::new(BufWriter::with_capacity(COPY_BYTES, file));
    let mut buffer = vec![0; COPY_BYTES];
    for entry in entries {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(LEVEL))
            .last_modified_time(DateTime::DEFAULT)
            .unix_permissions(if entry.executable { 0o755 } else { 0o644 })
            .large_file(entry.size_bytes >= LARGE_BYTES);
        zip.start_file(entry.name.as_str(), options)?;
        copy(entry, &mut zip, &mut buffer, progress)?;
    }
    zip.finish()?.flush().map_err(Error::Write)
}

fn copy<W: Write + Seek>(
    entry: &Entry,
    zip: &mut ZipWriter<W>,
    buffer: &mut [u8],
    progress: &ProgressBar,
) -> Result<(), Error> {
    let mut file = open(&entry.path)?;
    let mut left = entry.size_bytes;
    loop {
        let length = file.read(buffer).map_err(|source| Error::Read {
            path: entry.path.clone(),
            source,
        })?;
        let (piece, _) = buffer.split_at(length);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        // A file that is being written would give a bundle that nobody meant.
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

fn finish(file: File, left_out: Vec<String>) -> io::Result<Packed> {
    let content = Content::new(file);
    let mut hasher = blake3::Hasher::new();
    let size_bytes = io::copy(&mut content.reader(), &mut hasher)?;
    Ok(Packed {
        content,
        digest: Digest(*hasher.finalize().as_bytes()),
        size_bytes,
        left_out,
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
