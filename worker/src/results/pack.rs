//! Writes what was found as a tar, with its manifest at the end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dopq_common::id::AttemptId;
use dopq_common::job::Results;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use tar::{Builder, EntryType, GnuExtSparseHeader, GnuSparseHeader, Header, HeaderMode};

use super::manifest::{self, Manifest, Reason};
use super::walk::{Entry, Found, Kind};
use crate::handles;

/// The most parts of a file between its holes; 40 bytes each are in memory.
const PARTS_MAX: usize = 500_000;

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
        folders: vec![(None, handles::root(folder)?)],
    };
    for (at, entry) in found.entries.iter().enumerate() {
        packer.entry(at, entry)?;
    }
    for left_out in &found.left_out {
        let path = found.path(left_out.parent, &left_out.name);
        packer.manifest.left_out(&path, None, &left_out.reason)?;
    }
    let ([head, files, middle, left_out, end], results) = packer.manifest.finish(attempt);
    let lengths = [&head, &files, &middle, &left_out, &end].map(Vec::len);
    let mut header = plain_header(EntryType::Regular, 0o644);
    header.set_size(u64::try_from(lengths.iter().sum::<usize>()).unwrap_or(u64::MAX));
    let document = head[..].chain(&files[..]).chain(&middle[..]);
    let document = document.chain(&left_out[..]).chain(&end[..]);
    let mut tar = packer.tar;
    tar.append_data(&mut header, manifest::NAME, document)?;
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
                if let Ok(handle) = handles::folder(folder, &entry.name) {
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
            Kind::File { bytes, on_disk, .. } => {
                let opened = handles::file(folder, &entry.name).and_then(|file| {
                    let parts = match on_disk < bytes {
                        true => data(&file, *bytes)?,
                        false => vec![(0, *bytes)],
                    };
                    Ok((file.metadata()?, file, parts))
                });
                match opened {
                    Ok((metadata, file, parts)) => {
                        let mut header = Header::new_gnu();
                        header.set_metadata_in_mode(&metadata, HeaderMode::Deterministic);
                        self.file(&path, header, file, *bytes, parts)
                    }
                    Err(error) => {
                        let reason = Reason::unreadable(&error);
                        self.manifest.left_out(&path, Some(*bytes), &reason)
                    }
                }
            }
        }
    }

    /// Adds a file that has data only in `parts`; its holes stay holes.
    fn file(
        &mut self,
        path: &Path,
        mut header: Header,
        file: File,
        bytes: u64,
        mut parts: Vec<(u64, u64)>,
    ) -> io::Result<()> {
        header.set_size(parts.iter().map(|(_, length)| length).sum());
        let has_holes = parts != [(0, bytes)];
        let mut extended = Vec::new();
        let mut content = Content {
            file,
            parts: parts.clone().into_iter(),
            at: 0,
            left: 0,
            hasher: blake3::Hasher::new(),
            failed: None,
        };
        if has_holes {
            // The last part tells the length.
            parts.push((bytes, 0));
            extended = sparse(&mut header, bytes, &parts);
        }
        drop(parts);
        self.tar
            .append_data(&mut header, path, extended.chain(&mut content))?;
        match content.failed {
            Some(error) => self
                .manifest
                .left_out(path, Some(bytes), &Reason::unreadable(&error)),
            None => {
                let digest = (!has_holes).then(|| content.hasher.finalize());
                self.manifest.file(path, bytes, digest)
            }
        }
    }
}

/// Where a file has data: offsets and lengths.
fn data(file: &File, bytes: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < bytes {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < bytes => start,
            Ok(_) | Err(Errno::NXIO) => break,
            // The file system knows no holes.
            Err(Errno::INVAL) => return Ok(vec![(0, bytes)]),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(bytes);
        if start < at || end <= start {
            return Err(io::Error::other("it changes"));
        }
        if parts.len() == PARTS_MAX {
            return Err(io::Error::other("it has too many holes"));
        }
        parts.push((start, end - start));
        at = end;
    }
    Ok(parts)
}

/// Makes the header one of a file with holes. Returns what follows it: the parts that have no room in it.
fn sparse(header: &mut Header, bytes: u64, parts: &[(u64, u64)]) -> Vec<u8> {
    header.set_entry_type(EntryType::GNUSparse);
    let mut parts = parts.iter().peekable();
    let mut fill = |fields: &mut [GnuSparseHeader]| {
        for (field, (offset, length)) in fields.iter_mut().zip(parts.by_ref()) {
            field.set_offset(*offset);
            field.set_length(*length);
        }
        parts.peek().is_some()
    };
    let mut goes_on = false;
    if let Some(header) = header.as_gnu_mut() {
        header.set_real_size(bytes);
        goes_on = fill(&mut header.sparse);
        header.set_is_extended(goes_on);
    }
    let mut extended = Vec::new();
    while goes_on {
        let mut more = GnuExtSparseHeader::new();
        goes_on = fill(&mut more.sparse);
        more.set_is_extended(goes_on);
        extended.extend_from_slice(more.as_bytes());
    }
    extended
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

/// The content of a file's parts, always as long as its header says: what cannot be read becomes zeros, and is told.
struct Content {
    file: File,
    parts: std::vec::IntoIter<(u64, u64)>,
    /// Where the rest of the present part begins.
    at: u64,
    /// Bytes of it.
    left: u64,
    hasher: blake3::Hasher,
    failed: Option<io::Error>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let Some(next) = self.parts.next() else {
                return Ok(0);
            };
            (self.at, self.left) = next;
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let read = match &self.failed {
            Some(_) => 0,
            None => match self.file.read_at(buffer, self.at) {
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
        let length = u64::try_from(read).unwrap_or(self.left);
        self.left -= length;
        self.at += length;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_zeros_and_told() {
        let home = tempfile::tempdir().expect("folder");
        // It can be written only, so each read fails.
        let open = || File::create(home.path().join("file")).expect("made");
        let found = Found::default();
        let mut packer = Packer {
            found: &found,
            tar: Builder::new(Vec::new()),
            manifest: Manifest::new(),
            folders: Vec::new(),
        };
        for (name, parts) in [("plain", vec![(0, 3000)]), ("sparse", vec![(1000, 2000)])] {
            let header = plain_header(EntryType::Regular, 0o644);
            let packed = packer.file(Path::new(name), header, open(), 3000, parts);
            packed.expect("packed");
        }
        let archive = packer.tar.into_inner().expect("written");
        let mut archive = tar::Archive::new(&archive[..]);
        for entry in archive.entries().expect("entries") {
            let mut content = Vec::new();
            let mut entry = entry.expect("sound");
            entry.read_to_end(&mut content).expect("read");
            assert_eq!(content, [0; 3000]);
        }
        let attempt = "7.2-07070707070707070707070707070707".parse().expect("id");
        let (_, results) = packer.manifest.finish(attempt);
        assert_eq!((results.files, results.left_out), (0, 2));
    }

    #[test]
    fn many_holes_are_kept() {
        let home = tempfile::tempdir().expect("folder");
        let path = home.path().join("file");
        let mut file = File::options();
        let file = file.read(true).write(true).create_new(true);
        let file = file.open(&path).expect("made");
        for at in 0..100_u64 {
            file.write_all_at(b"data", at << 16).expect("written");
        }
        file.set_len(8 << 20).expect("longer");
        let expected = std::fs::read(&path).expect("read");
        let parts = data(&file, 8 << 20).expect("found");
        assert_eq!(parts.len(), 100);
        let found = Found::default();
        let mut packer = Packer {
            found: &found,
            tar: Builder::new(Vec::new()),
            manifest: Manifest::new(),
            folders: Vec::new(),
        };
        let header = plain_header(EntryType::Regular, 0o644);
        let packed = packer.file(Path::new("file"), header, file, 8 << 20, parts);
        packed.expect("packed");
        let archive = packer.tar.into_inner().expect("written");
        assert!(archive.len() < 1 << 20, "{}", archive.len());
        let mut archive = tar::Archive::new(&archive[..]);
        let mut entries = archive.entries().expect("entries");
        let mut entry = entries.next().expect("one").expect("sound");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("read");
        assert!(content == expected);
    }
}
