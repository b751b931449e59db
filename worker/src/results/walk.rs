//! What lies in an `/outdir`: found by folder handles, so that no link can lead the walk elsewhere.
//!
//! The container has ended, so nobody changes the files meanwhile; but they were made by somebody who may wish us ill.
//! Memory and open files are bounded, and what cannot be stored is told and never fails the rest.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType};
use tokio_util::sync::CancellationToken;

use super::links;
use super::manifest::{self, Reason};
use crate::handles;

/// How much is kept in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Entries that are looked at.
    pub(super) entries: usize,
    /// Bytes of their names, and of links' targets.
    pub(super) text_bytes: usize,
}

/// A few hundred megabytes.
pub(super) const MOST: Most = Most {
    entries: 500_000,
    text_bytes: 32 << 20,
};
/// The deepest nest of folders; each level keeps a handle open.
const DEPTH_MAX: usize = 128;
/// The longest path, so that every program can open what is fetched.
const PATH_MAX: usize = 4000;

/// Shorter paths have room in an entry's own header.
const NAME_FIELD: usize = 100;
/// Bytes of a block of the archive.
const BLOCK: u64 = 512;
/// Bytes of a block as the file system counts them.
const DISK_BLOCK: u64 = 512;

/// What was found, each folder before what is in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    /// What cannot be stored, wherever it is.
    pub(super) left_out: Vec<LeftOut>,
}

/// One that can be stored.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The folder that it is in, by its place among the entries; `None` for `/outdir` itself.
    pub(super) parent: Option<usize>,
    pub(super) name: OsString,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Folder,
    File {
        bytes: u64,
        /// What it takes on the disk.
        on_disk: u64,
        /// Whether there is room for it.
        fits: bool,
    },
    /// A link that stays inside.
    Link {
        target: PathBuf,
    },
}

/// One that is left out.
#[derive(Debug, Clone)]
pub(super) struct LeftOut {
    pub(super) parent: Option<usize>,
    pub(super) name: OsString,
    pub(super) reason: Reason,
}

/// How the size of a file in the archive is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// What it takes on the disk, which is less for a file with holes.
    OnDisk,
    /// Its length. What a file system compresses takes less on the disk than in the archive.
    Length,
}

/// A folder that is being walked.
struct Level {
    handle: File,
    /// Its place among the entries.
    at: Option<usize>,
    names: std::vec::IntoIter<OsString>,
    path_bytes: usize,
}

/// Looks at everything in the folder. Blocks.
///
/// # Errors
/// When the folder itself cannot be read, or `stop` ends it.
pub(super) fn walk(folder: &Path, most: Most, stop: &CancellationToken) -> io::Result<Found> {
    let mut walk = Walk {
        most,
        found: Found::default(),
        levels: Vec::new(),
        seen: 0,
        text_bytes: 0,
    };
    let root = handles::root(folder)?;
    let (names, are_all) = walk.names(&root)?;
    if !are_all {
        walk.leave_out(None, ".".into(), Reason::Count);
    }
    walk.levels.push(Level {
        handle: root,
        at: None,
        names: names.into_iter(),
        path_bytes: 0,
    });
    while let Some(level) = walk.levels.last_mut() {
        if stop.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match level.names.next() {
            Some(name) => walk.look(name),
            None => {
                walk.levels.pop();
            }
        }
    }
    Ok(walk.found)
}

struct Walk {
    most: Most,
    found: Found,
    levels: Vec<Level>,
    /// Names that were read.
    seen: usize,
    /// Bytes of those names, and of links' targets.
    text_bytes: usize,
}

impl Walk {
    /// Whether no more may be kept.
    const fn is_full(&self) -> bool {
        self.seen >= self.most.entries || self.text_bytes >= self.most.text_bytes
    }

    /// The names in a folder, in order, and whether they are all.
    fn names(&mut self, folder: &File) -> io::Result<(Vec<OsString>, bool)> {
        let mut names = Vec::new();
        let mut are_all = true;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if self.is_full() {
                are_all = false;
                break;
            }
            names.push(OsStr::from_bytes(name).to_owned());
            self.seen += 1;
            self.text_bytes += name.len();
        }
        names.sort();
        Ok((names, are_all))
    }

    /// Looks at one entry of the innermost folder.
    fn look(&mut self, name: OsString) {
        let depth = self.levels.len();
        let Some(level) = self.levels.last() else {
            return;
        };
        let (parent, path_bytes) = (level.at, level.path_bytes + name.len() + 1);
        let kind = if path_bytes > PATH_MAX || !manifest::can_be_named(parent, &name) {
            Err(Reason::Name)
        } else {
            kind(&level.handle, &name, depth - 1)
        };
        let kind = match kind {
            Ok(kind) if !self.can_be_stored(parent, &name, &kind) => {
                return self.leave_out(parent, name, Reason::Name);
            }
            Ok(Kind::Link { .. }) if self.text_bytes >= self.most.text_bytes => {
                return self.leave_out(parent, name, Reason::Count);
            }
            Ok(kind) => kind,
            Err(reason) => return self.leave_out(parent, name, reason),
        };
        if let Kind::Link { target } = &kind {
            self.text_bytes += target.as_os_str().len();
        }
        let is_folder = matches!(kind, Kind::Folder);
        let handle = is_folder.then(|| handles::folder(&level.handle, &name));
        let at = self.found.entries.len();
        self.found.entries.push(Entry {
            parent,
            name: name.clone(),
            kind,
        });
        match handle {
            None => {}
            Some(_) if depth >= DEPTH_MAX => self.leave_out(parent, name, Reason::Depth),
            Some(Err(error)) => self.leave_out(parent, name, Reason::unreadable(&error)),
            Some(Ok(handle)) => match self.names(&handle) {
                Ok((names, are_all)) => {
                    if !are_all {
                        self.leave_out(parent, name, Reason::Count);
                    }
                    self.levels.push(Level {
                        handle,
                        at: Some(at),
                        names: names.into_iter(),
                        path_bytes,
                    });
                }
                Err(error) => self.leave_out(parent, name, Reason::unreadable(&error)),
            },
        }
    }

    /// Whether an archive can have an entry of this name. Only a long one that is no text may not.
    fn can_be_stored(&self, parent: Option<usize>, name: &OsStr, kind: &Kind) -> bool {
        let path = self.found.path(parent, name);
        let mut trial = tar::Builder::new(io::sink());
        let mut header = tar::Header::new_gnu();
        match kind {
            Kind::Link { target } => trial.append_link(&mut header, &path, target).is_ok(),
            Kind::Folder | Kind::File { .. } if path.as_os_str().len() < NAME_FIELD => true,
            Kind::Folder | Kind::File { .. } => {
                trial.append_data(&mut header, &path, io::empty()).is_ok()
            }
        }
    }

    fn leave_out(&mut self, parent: Option<usize>, name: OsString, reason: Reason) {
        self.found.left_out.push(LeftOut {
            parent,
            name,
            reason,
        });
    }
}

/// What an entry is, by a look at itself; or why it is left out.
fn kind(folder: &File, name: &OsStr, depth: usize) -> Result<Kind, Reason> {
    let unreadable = |error: rustix::io::Errno| Reason::unreadable(&error.into());
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Kind::Folder),
        FileType::RegularFile => Ok(Kind::File {
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            on_disk: u64::try_from(stat.st_blocks)
                .unwrap_or(0)
                .saturating_mul(DISK_BLOCK),
            fits: true,
        }),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(unreadable)?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            match links::inside(&target, depth) {
                Some(target) => Ok(Kind::Link { target }),
                None => Err(Reason::LinkLeaves),
            }
        }
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Err(Reason::Special),
    }
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.left_out.is_empty()
    }

    /// The path of what is called `name` in `parent`, below `/outdir`.
    pub(super) fn path(&self, parent: Option<usize>, name: &OsStr) -> PathBuf {
        let mut parts = vec![name];
        let mut at = parent;
        while let Some(entry) = at.and_then(|at| self.entries.get(at)) {
            parts.push(&entry.name);
            at = entry.parent;
        }
        parts.into_iter().rev().collect()
    }

    /// Chooses the files for which an archive of `max` bytes has room, the smallest first: a report is not lost
    /// beside a model that is too large.
    pub(super) fn choose(&mut self, max: u64, measure: Measure) {
        let mut left = max;
        let mut files = Vec::new();
        let length = |parent, name| as_u64(self.path(parent, name).as_os_str().len());
        left = left.saturating_sub(manifest::HEAD_BYTES);
        let gone = self.left_out.iter();
        let mut lines: u64 = gone
            .map(|gone| manifest::line_bytes(length(gone.parent, &gone.name)))
            .sum();
        for (at, entry) in self.entries.iter().enumerate() {
            let path = length(entry.parent, &entry.name);
            let names = BLOCK + 2 * round_up(path + 1);
            lines += manifest::line_bytes(path);
            match &entry.kind {
                Kind::Folder => left = left.saturating_sub(names),
                Kind::Link { target } => {
                    let target = as_u64(target.as_os_str().len());
                    left = left.saturating_sub(names + 2 * round_up(target + 1));
                }
                Kind::File { bytes, on_disk, .. } => {
                    let content = match measure {
                        Measure::OnDisk if on_disk < bytes => on_disk.saturating_add(on_disk / 64),
                        Measure::OnDisk | Measure::Length => *bytes,
                    };
                    files.push((round_up(content).saturating_add(names), at));
                }
            }
        }
        left = left.saturating_sub(lines.min(manifest::LISTS_MAX_BYTES));
        files.sort_unstable();
        for (cost, at) in files {
            let has_room = cost <= left;
            if has_room {
                left -= cost;
            }
            if let Some(Kind::File { fits, .. }) = self.entries.get_mut(at).map(|e| &mut e.kind) {
                *fits = has_room;
            }
        }
    }
}

fn round_up(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
