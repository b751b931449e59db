//! The build context: an uncompressed tar, streamed from the bundle's zip to the engine.
//!
//! Nothing is unpacked on disk. The validator checks the bundle; this module applies the user's `.dockerignore`.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use bytes::Bytes;
use dopq_common::bundle::Limits;
use dopq_common::bundle::archive::{self, EntriesError, EntryInfo};
use tokio::sync::mpsc;

use super::ignore::{BadPattern, IGNORE_MAX_BYTES, Ignore};
use crate::docker::error::{BuildError, Source};

/// Size of the pieces sent to the engine.
const PIECE_BYTES: usize = 128 * 1024;

/// Pieces in flight between the reader of the zip and the connection: half a mebibyte at most.
pub(super) const PIECES: usize = 4;

/// The time of every file, 2000-01-01. The same bundle gives the same context. Zip cannot store years before 1980.
const FILE_TIME_SECS: u64 = 946_684_800;

/// Why making a context failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContextError {
    /// `.dockerignore` is invalid.
    #[error(transparent)]
    Ignore(#[from] BadPattern),
    /// `.dockerignore` is too long or not UTF-8.
    #[error(".dockerignore must be text of {IGNORE_MAX_BYTES} bytes at most")]
    IgnoreFile,
    /// The bundle lacks this file.
    #[error("{0} is not in the bundle")]
    Missing(&'static str),
    /// The bundle's content is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The receiver is gone; it knows why.
    #[error("nobody takes the context any more")]
    Unwanted,
    /// Reading or writing failed.
    #[error("cannot read the bundle")]
    Io(#[source] Source),
}

impl From<io::Error> for ContextError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Unwanted
        } else {
            Self::Io(Box::new(error))
        }
    }
}

impl From<ContextError> for BuildError {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Io(source) => Self::Bundle(source),
            user @ (ContextError::Ignore(_)
            | ContextError::IgnoreFile
            | ContextError::Missing(_)
            | ContextError::Invalid(_)) => Self::Failed {
                step: None,
                detail: user.to_string(),
            },
            ContextError::Unwanted => Self::Cancelled,
        }
    }
}

/// Sends the context of the bundle at `path`. Blocking.
pub(super) fn send(path: &Path, limits: &Limits, pieces: Pieces) -> Result<(), ContextError> {
    let ignore = read_ignore(path, limits)?;
    let mut tar = tar::Builder::new(pieces);
    walk(path, limits, |entry, content| {
        if !ignore.leaves_out(&entry.path) {
            let content = Exactly {
                content,
                left: if entry.folder { 0 } else { entry.size_bytes },
            };
            tar.append_data(&mut header(entry), &entry.path, content)?;
        }
        Ok(())
    })?;
    tar.into_inner()?.finish()?;
    Ok(())
}

/// Sends a context that contains only a Dockerfile.
pub(super) fn send_dockerfile(text: &str, pieces: Pieces) -> Result<(), ContextError> {
    let mut tar = tar::Builder::new(pieces);
    let entry = EntryInfo {
        path: "Dockerfile".to_owned(),
        folder: false,
        mode: 0o644,
        size_bytes: text.len() as u64,
    };
    tar.append_data(&mut header(&entry), &entry.path, text.as_bytes())?;
    tar.into_inner()?.finish()?;
    Ok(())
}

/// Passes one file of the bundle to `take`.
pub(super) fn with_file<T>(
    path: &Path,
    limits: &Limits,
    name: &'static str,
    mut take: impl FnMut(&EntryInfo, &mut dyn Read) -> Result<T, ContextError>,
) -> Result<T, ContextError> {
    let mut taken = None;
    walk(path, limits, |entry, content| {
        if entry.path == name && !entry.folder {
            taken = Some(take(entry, content)?);
        }
        Ok(())
    })?;
    taken.ok_or(ContextError::Missing(name))
}

fn walk(
    path: &Path,
    limits: &Limits,
    each: impl FnMut(&EntryInfo, &mut dyn Read) -> Result<(), ContextError>,
) -> Result<(), ContextError> {
    let reader = BufReader::new(File::open(path)?);
    archive::entries(reader, limits, each).map_err(|error| match error {
        EntriesError::Visit(error) => error,
        EntriesError::Read(error) => ContextError::Io(Box::new(error)),
        EntriesError::Invalid(faults) => {
            let faults: Vec<String> = faults
                .into_iter()
                .map(|fault| format!("{}: {}", fault.place, fault.message))
                .collect();
            ContextError::Invalid(faults.join("; "))
        }
    })
}

fn read_ignore(path: &Path, limits: &Limits) -> Result<Ignore, ContextError> {
    let text = with_file(path, limits, ".dockerignore", |_, content| {
        let mut text = String::new();
        let read = content.take(IGNORE_MAX_BYTES + 1).read_to_string(&mut text);
        match read {
            Ok(_) if text.len() as u64 <= IGNORE_MAX_BYTES => Ok(text),
            Ok(_) => Err(ContextError::IgnoreFile),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ContextError::IgnoreFile)
            }
            Err(error) => Err(error.into()),
        }
    });
    match text {
        Ok(text) => Ok(Ignore::parse(&text)?),
        Err(ContextError::Missing(_)) => Ok(Ignore::default()),
        Err(error) => Err(error),
    }
}

fn header(entry: &EntryInfo) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(FILE_TIME_SECS);
    if entry.folder {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
    } else {
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(entry.size_bytes);
    }
    header
}

/// A tar declares sizes in advance, so a short read is an error.
struct Exactly<'a> {
    content: &'a mut dyn Read,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let read = self.content.read(buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// A writer that sends its bytes through a channel in pieces.
pub(super) struct Pieces {
    gathered: Vec<u8>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl Pieces {
    pub(super) fn new(pieces: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self {
            gathered: Vec::with_capacity(PIECE_BYTES),
            pieces,
        }
    }

    /// Sends the rest.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.hand_on()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(PIECE_BYTES);
        let piece = Bytes::from(std::mem::replace(&mut self.gathered, next));
        self.pieces
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.gathered.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.gathered.extend_from_slice(taken);
        if self.gathered.len() == PIECE_BYTES {
            self.hand_on()?;
        }
        Ok(taken.len())
    }

    /// Does nothing, because small pieces are inefficient; `finish` sends the last one.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
