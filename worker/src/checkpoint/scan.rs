//! What lies in a `/checkpoint` folder. A container may change it meanwhile, and may wish us ill: folders are opened by
//! handles, links are read and never followed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dopq_common::checkpoint::{DEPTH_MAX, ENTRIES_MAX, NAME_MAX_BYTES, PATH_MAX_BYTES};
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::paths;

/// One thing in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) kind: SeenKind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) stamp: Stamp,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SeenKind {
    Folder,
    File,
    Link(String),
}

/// Differs after every change of a file. Only the kernel sets the time of the last change of any kind (`ctime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub(super) bytes: u64,
    pub(super) mtime_ns: i64,
    ctime_ns: i64,
}

/// Within this time a further change may leave the same stamp: the kernel's clock for files ticks that seldom.
const TICK: Duration = Duration::from_millis(50);

impl Stamp {
    /// Whether a further change may not show.
    pub(super) fn is_fresh(&self) -> bool {
        let changed = Duration::from_nanos(u64::try_from(self.ctime_ns).unwrap_or(0));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.is_ok_and(|now| now.abs_diff(changed) < TICK)
    }

    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

fn nanoseconds(seconds: i64, rest: u64) -> i64 {
    let rest = i64::try_from(rest).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Looks at everything in the folder; sorted by path. Pipes, sockets and devices are left out. Blocks.
pub(super) fn scan(folder: &Path, stop: &CancellationToken) -> Result<Vec<Seen>, Error> {
    let root = paths::root(folder).map_err(Error::reading)?;
    let mut scan = Scan {
        found: Vec::new(),
        stop,
    };
    scan.folder(&root, "", 1)?;
    scan.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scan.found)
}

struct Scan<'a> {
    found: Vec<Seen>,
    stop: &'a CancellationToken,
}

impl Scan<'_> {
    fn folder(&mut self, folder: &File, path: &str, depth: usize) -> Result<(), Error> {
        let entries = Dir::read_from(folder).map_err(|error| Error::reading(error.into()))?;
        for entry in entries {
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let entry = entry.map_err(|error| Error::reading(error.into()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let shown = name.to_string_lossy();
            let inner = match path {
                "" => shown.to_string(),
                path => format!("{path}/{shown}"),
            };
            let is_storable = name.to_str().is_ok()
                && name.to_bytes().len() <= NAME_MAX_BYTES
                && inner.len() <= PATH_MAX_BYTES
                && depth <= DEPTH_MAX;
            if !is_storable {
                return Err(Error::Name(inner));
            }
            self.entry(folder, &shown, inner, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: &File,
        name: &str,
        path: String,
        depth: usize,
    ) -> Result<(), Error> {
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Error::reading(error.into())),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => SeenKind::Folder,
            FileType::RegularFile => SeenKind::File,
            FileType::Symlink => match rustix::fs::readlinkat(folder, name, Vec::new()) {
                Ok(target) => match target.into_string() {
                    Ok(target) if target.len() <= PATH_MAX_BYTES => SeenKind::Link(target),
                    Ok(_) | Err(_) => return Err(Error::Name(path)),
                },
                Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                Err(error) => return Err(Error::reading(error.into())),
            },
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Ok(()),
        };
        if self.found.len() >= ENTRIES_MAX {
            return Err(Error::TooMany);
        }
        let inner = match kind {
            SeenKind::Folder => match paths::folder(folder, name) {
                Ok(inner) => Some(inner),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(Error::reading(error)),
            },
            SeenKind::File | SeenKind::Link(_) => None,
        };
        self.found.push(Seen {
            path: path.clone(),
            kind,
            mode: stat.st_mode & 0o777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            stamp: Stamp::of(&stat),
        });
        inner.map_or(Ok(()), |inner| self.folder(&inner, &path, depth + 1))
    }
}
