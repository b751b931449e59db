//! Appends batches of lines to segments.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dopq_common::id::Epoch;
use dopq_common::time::Timestamp;

use crate::bundles::{Bundles, Error, segment_path};

/// A local segment that has reached this size is closed. A new leader reads the newest segment whole.
const SEGMENT_MAX_BYTES: u64 = 32 << 20;

/// The segments of one leadership.
#[derive(Debug)]
pub(super) struct Appender {
    bundles: Bundles,
    epoch: Epoch,
    /// How many segments were begun.
    number: u32,
    open: Option<Segment>,
}

/// A local segment.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Appender {
    pub(super) const fn new(bundles: Bundles, epoch: Epoch) -> Self {
        Self {
            bundles,
            epoch,
            number: 0,
            open: None,
        }
    }

    /// Appends lines of which the first is of the time `at`. When this returns, they are durable; after an error
    /// they may be, too.
    pub(super) async fn append(&mut self, at: Timestamp, lines: Vec<u8>) -> Result<(), Error> {
        let Some(folder) = self.bundles.folder() else {
            let name = self.next_name(at);
            return self.bundles.put_segment(&name, Bytes::from(lines)).await;
        };
        let folder = folder.to_owned();
        // A segment that could not be written is not written to again: only its own end may be torn.
        let segment = match self.open.take() {
            Some(segment) => Ok(segment),
            None => Err(folder.join(segment_path(&self.next_name(at)))),
        };
        let appended = tokio::task::spawn_blocking(move || {
            let mut segment = match segment {
                Ok(segment) => segment,
                Err(path) => Segment::begin(&folder, path)?,
            };
            segment.append(&lines)?;
            Ok(segment)
        });
        let segment = match appended.await {
            Ok(appended) => appended?,
            Err(panicked) => {
                return Err(Error::local(
                    Path::new("archive"),
                    io::Error::other(panicked),
                ));
            }
        };
        self.open = Some(segment).filter(|segment| segment.len < SEGMENT_MAX_BYTES);
        Ok(())
    }

    /// The next batch begins another segment.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    fn next_name(&mut self, at: Timestamp) -> String {
        self.number += 1;
        let (at, epoch, number) = (at.to_datetime(), self.epoch.0, self.number);
        let time = at.format("%Y-%m-%d/%H%M%S%.3f");
        format!("{time}-{epoch:010}-{number:06}.jsonl")
    }
}

impl Segment {
    /// Makes the file, durably.
    fn begin(root: &Path, path: PathBuf) -> Result<Self, Error> {
        let failed = |source| Error::local(&path, source);
        let day = path.parent().unwrap_or(root);
        crate::bundles::private_folder(day)?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let folders = day
            .ancestors()
            .take_while(|folder| folder.starts_with(root));
        for folder in folders {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed)?;
        }
        Ok(Self { path, file, len: 0 })
    }

    fn append(&mut self, lines: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(lines);
        let synced = written.and_then(|()| self.file.sync_data());
        if let Err(source) = synced {
            // What was written in part is cut off, so that a full disk leaves nothing behind. Where that fails as
            // well, readers skip it.
            let cut = match self.len {
                0 => std::fs::remove_file(&self.path),
                len => self.file.set_len(len),
            };
            if let Err(error) = cut {
                tracing::debug!(path = %self.path.display(), %error, "failed to cut off what was written in part");
            }
            return Err(Error::local(&self.path, source));
        }
        self.len += lines.len() as u64;
        Ok(())
    }
}
