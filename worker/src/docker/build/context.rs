//! A bundle as a build reads it: its files, listed once and read in any order, without unpacking anything.
//!
//! The validator checks the bundle; this module finds the user's `.dockerignore` and Dockerfile.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use dopq_common::bundle::archive::{EntryInfo, Files, FilesError};
use dopq_common::bundle::ignore::{BadPattern, IGNORE_MAX_BYTES, Ignore};
use dopq_common::bundle::{Limits, dockerfile};
use dopq_common::resources::ByteSize;

use super::tree::{Content, Tree};
use crate::docker::error::{BuildError, Source};
use crate::docker::types::Builder;

/// The file that is built.
pub(super) const DOCKERFILE: &str = "Dockerfile";

/// The longest Dockerfile, in bytes; the masters' limit is lower.
const DOCKERFILE_MAX_BYTES: u64 = 16 * ByteSize::MIB;

/// The files that say what to leave out; the first that exists counts.
const IGNORE_FILES: [&str; 2] = ["Dockerfile.dockerignore", ".dockerignore"];

/// Why reading a context failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContextError {
    /// `.dockerignore` is invalid.
    #[error(transparent)]
    Ignore(#[from] BadPattern),
    /// A text file is too long or not UTF-8.
    #[error("{name} must be text of {max_bytes} bytes at most")]
    Text {
        /// Which.
        name: &'static str,
        /// The limit.
        max_bytes: u64,
    },
    /// The bundle lacks this file.
    #[error("{0} is not in the bundle")]
    Missing(&'static str),
    /// The bundle's content is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The receiver is gone; it knows why.
    #[error("nobody takes the context any more")]
    Unwanted,
    /// This machine failed to read it.
    #[error("cannot read the bundle")]
    Io(#[source] Source),
}

impl From<io::Error> for ContextError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Unwanted
        } else if error.raw_os_error().is_some() {
            Self::Io(Box::new(error))
        } else {
            Self::Invalid(error.to_string())
        }
    }
}

impl From<FilesError> for ContextError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Read(error) => error.into(),
            FilesError::Invalid(faults) => {
                let faults: Vec<String> = faults
                    .into_iter()
                    .map(|fault| format!("{}: {}", fault.place, fault.message))
                    .collect();
                Self::Invalid(faults.join("; "))
            }
        }
    }
}

impl From<ContextError> for BuildError {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Io(source) => Self::Bundle(source),
            user @ (ContextError::Ignore(_)
            | ContextError::Text { .. }
            | ContextError::Missing(_)
            | ContextError::Invalid(_)) => Self::Failed {
                step: None,
                detail: user.to_string(),
            },
            ContextError::Unwanted => Self::Cancelled,
        }
    }
}

/// The bundle's file. A failed read is kept: the readers of formats tell it as a fault of what they read.
struct Zip<'a> {
    file: File,
    failed: &'a RefCell<Option<io::Error>>,
}

impl<'a> Zip<'a> {
    fn open(path: &Path, failed: &'a RefCell<Option<io::Error>>) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file, failed })
    }
}

impl Read for Zip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                let error = io::Error::new(error.kind(), error.to_string());
                self.failed.replace(Some(error));
            }
        })
    }
}

impl Seek for Zip<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The error, or the failed read that led to it.
fn explained(error: ContextError, failed: &RefCell<Option<io::Error>>) -> ContextError {
    match failed.take() {
        Some(failed) => ContextError::Io(Box::new(failed)),
        None => error,
    }
}

/// An open bundle.
#[derive(Debug)]
pub(super) struct Bundle {
    path: PathBuf,
    files: Files,
}

impl Bundle {
    /// Reads its directory. Blocking.
    pub(super) fn open(path: &Path, limits: &Limits) -> Result<Self, ContextError> {
        let failed = RefCell::new(None);
        let zip = Zip::open(path, &failed)?;
        let files = Files::list(BufReader::new(zip), limits);
        Ok(Self {
            path: path.to_owned(),
            files: files.map_err(|error| explained(error.into(), &failed))?,
        })
    }

    /// Passes the content of the entry at `index` to `take`. Blocking.
    pub(super) fn read<T>(
        &self,
        index: usize,
        take: impl FnOnce(&mut dyn Read) -> Result<T, ContextError>,
    ) -> Result<T, ContextError> {
        let failed = RefCell::new(None);
        let zip = Zip::open(&self.path, &failed)?;
        let read = self.files.read(BufReader::new(zip), index, take);
        read.map_err(|error| explained(error, &failed))
    }

    /// Passes the content of the file of this name to `take`. Blocking.
    pub(super) fn with_file<T>(
        &self,
        name: &'static str,
        take: impl FnOnce(&mut dyn Read) -> Result<T, ContextError>,
    ) -> Result<T, ContextError> {
        let is_it = |entry: &EntryInfo| entry.path == name && !entry.folder;
        let index = self.files.entries().position(is_it);
        self.read(index.ok_or(ContextError::Missing(name))?, take)
    }

    fn text(&self, name: &'static str, max_bytes: u64) -> Result<String, ContextError> {
        self.with_file(name, |content| {
            let mut text = String::new();
            match content.take(max_bytes + 1).read_to_string(&mut text) {
                Ok(_) if text.len() as u64 <= max_bytes => Ok(text),
                Ok(_) => Err(ContextError::Text { name, max_bytes }),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    Err(ContextError::Text { name, max_bytes })
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    /// What the user leaves out of the context.
    pub(super) fn ignore(&self) -> Result<Ignore, ContextError> {
        for name in IGNORE_FILES {
            match self.text(name, IGNORE_MAX_BYTES) {
                Ok(text) => return Ok(Ignore::parse(&text)?),
                Err(ContextError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Ignore::default())
    }

    /// The Dockerfile for the engine's built-in frontend, whose steps see the secrets of these paths.
    pub(super) fn dockerfile(
        &self,
        builder: Builder,
        secrets: &[String],
    ) -> Result<String, ContextError> {
        let text = self.text(DOCKERFILE, DOCKERFILE_MAX_BYTES)?;
        let text = dockerfile::with_secrets(&text, secrets);
        match builder {
            Builder::Old => dockerfile::for_old_frontend(&text)
                .map_err(|why| ContextError::Invalid(format!("{DOCKERFILE}: {why}"))),
            Builder::Current | Builder::Absent => Ok(dockerfile::for_builtin_frontend(&text)),
        }
    }

    /// All files and folders.
    pub(super) fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        for (index, entry) in self.files.entries().enumerate() {
            if entry.folder {
                tree.add_folder(&entry.path);
            } else {
                let content = Content::Entry {
                    index,
                    size_bytes: entry.size_bytes,
                    crc32: entry.crc32,
                };
                tree.add_file(&entry.path, entry.mode, content);
            }
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::super::BuildLimits;
    use super::*;

    #[test]
    fn what_the_machine_cannot_read_is_no_fault_of_the_bundle() {
        let limits = BuildLimits::default().bundle;
        // A folder can be opened, but not read.
        let folder = tempfile::tempdir().expect("a folder");
        for path in [folder.path(), Path::new("/no/such/bundle.zip")] {
            let error = Bundle::open(path, &limits).expect_err("not read");
            let told = BuildError::from(error);
            assert!(matches!(told, BuildError::Bundle(_)), "{told:?}");
        }
        let text = folder.path().join("text");
        std::fs::write(&text, "no zip").expect("written");
        let told = BuildError::from(Bundle::open(&text, &limits).expect_err("no zip"));
        assert!(matches!(told, BuildError::Failed { .. }), "{told:?}");
    }
}
