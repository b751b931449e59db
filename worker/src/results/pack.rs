//! Writes what was found as a tar, with its manifest at the end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use dopq_common::id::AttemptId;
use dopq_common::job::Results;
use tar::{Builder, EntryType, Header, HeaderMode};

use super::manifest::{self, Manifest, Reason};
use super::walk::{Entry, Found, Kind, open_file, open_folder, open_root};

/// Writes the folder's content. Blocks.
///
/// # Errors
/// When the writer fails, or a folder is not there any more.
pub(super) fn pack(
    folder: &Path,
    found: &Found,
    attempt: AttemptId,
    writer: impl Write,
) -> io::Result<Results> {
    let mut tar = Builder::new(writer);
    // Permissions become those of any file: no setuid, no owner.
    tar.mode(HeaderMode::Deterministic);
    let mut packer = Packer {
        found,
        tar,
        manifest: Manifest::new(),
        folders: vec![(None, open_root(folder)?)],
    };
    for (at, entry) in found.entries.iter().enumerate() {
        packer.entry(at, entry)?;
    }
    for left_out in &found.left_out {
        let path = found.path(left_out.parent, &left_out.name);
        packer.manifest.left_out(&path, None, &left_out.reason)?;
    }
    let (document, results) = packer.manifest.finish(attempt);
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(u64::try_from(document.len()).unwrap_or(u64::MAX));
    let mut tar = packer.tar;
    tar.append_data(&mut header, manifest::NAME, &document[..])?;
    tar.into_inner()?.flush()?;
    Ok(results)
}

struct Packer<'a, W: Write> {
    found: &'a Found,
    tar: Builder<W>,
    manifest: Manifest,
    /// The folders in which the present entry lies, by their places.
    folders: Vec<(Option<usize>, File)>,
}

impl<W: Write> Packer<'_, W> {
    fn entry(&mut self, at: usize, entry: &Entry) -> io::Result<()> {
        while self
            .folders
            .last()
            .is_some_and(|(folder, _)| *folder != entry.parent)
        {
            self.folders.pop();
        }
        let Some((_, folder)) = self.folders.last() else {
            return Err(io::Error::other("an entry comes before its folder"));
        };
        let path = self.found.path(entry.parent, &entry.name);
        match &entry.kind {
            Kind::Folder => {
                let mut header = plain_header(EntryType::Directory, 0o755);
                self.tar.append_data(&mut header, &path, io::empty())?;
                // One that cannot be opened is told already, and has no entries.
                if let Ok(handle) = open_folder(folder, &entry.name) {
                    self.folders.push((Some(at), handle));
                }
                Ok(())
            }
            Kind::Link { target } => {
                let mut header = plain_header(EntryType::Symlink, 0o777);
                self.tar.append_link(&mut header, &path, target)?;
                self.manifest.link(&path, target)
            }
            Kind::File {
                bytes, fits: false, ..
            } => self
                .manifest
                .left_out(&path, Some(*bytes), &Reason::TooLarge),
            Kind::File { bytes, on_disk, .. } => match open_file(folder, &entry.name) {
                Ok(file) if on_disk < bytes => self.sparse(&path, file, *bytes),
                Ok(file) => self.file(&path, file, *bytes),
                Err(error) => {
                    let reason = Reason::unreadable(&error);
                    self.manifest.left_out(&path, Some(*bytes), &reason)
                }
            },
        }
    }

    fn file(&mut self, path: &Path, file: File, bytes: u64) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_metadata_in_mode(&file.metadata()?, HeaderMode::Deterministic);
        header.set_size(bytes);
        let mut content = Content {
            file,
            left: bytes,
            hasher: blake3::Hasher::new(),
            failed: None,
        };
        self.tar.append_data(&mut header, path, &mut content)?;
        match content.failed {
            Some(error) => self
                .manifest
                .left_out(path, Some(bytes), &Reason::unreadable(&error)),
            None => self
                .manifest
                .file(path, bytes, Some(content.hasher.finalize())),
        }
    }

    /// A file with holes, which stay holes.
    fn sparse(&mut self, path: &Path, mut file: File, bytes: u64) -> io::Result<()> {
        self.tar.append_file(path, &mut file)?;
        self.manifest.file(path, bytes, None)
    }
}

fn plain_header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// A file's content, always as long as its header says: what cannot be read becomes zeros, and is told.
struct Content {
    file: File,
    left: u64,
    hasher: blake3::Hasher,
    failed: Option<io::Error>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let read = match &self.failed {
            Some(_) => 0,
            None => match self.file.read(buffer) {
                Ok(0) => {
                    self.failed = Some(io::ErrorKind::UnexpectedEof.into());
                    0
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    0
                }
            },
        };
        let read = if read == 0 {
            buffer.fill(0);
            buffer.len()
        } else {
            self.hasher.update(buffer.get(..read).unwrap_or_default());
            read
        };
        self.left -= u64::try_from(read).unwrap_or(self.left);
        Ok(read)
    }
}
