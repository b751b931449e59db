//! Adds up what a folder holds: by folder handles, so that no link can lead the count elsewhere, while jobs change it.
//!
//! Time, memory and open files are bounded. What is gone or cannot be read does not count.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType};
use tokio_util::sync::CancellationToken;

use crate::handles;

/// The most entries that are counted.
pub(super) const ENTRIES_MAX: u64 = 10_000_000;
/// The deepest nest of folders; each level keeps a handle open.
pub(super) const DEPTH_MAX: usize = 128;
/// Bytes of a block as the file system counts them.
const DISK_BLOCK: u64 = 512;

/// What a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// What it takes on the disk.
    pub(super) bytes: u64,
    /// Whether it has more entries, or is nested deeper, than is counted.
    pub(super) is_cut: bool,
}

/// Counts at most `entries_max` entries. Blocks.
///
/// # Errors
/// When the folder itself cannot be read, or `stop` ends it.
pub(super) fn measure(
    folder: &Path,
    entries_max: u64,
    stop: &CancellationToken,
) -> io::Result<Held> {
    let mut held = Held::default();
    let mut entries = 0;
    let mut levels = vec![Dir::new(handles::root(folder)?)?];
    while let Some(level) = levels.last_mut() {
        if stop.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some(Ok(entry)) = level.read() else {
            levels.pop();
            continue;
        };
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        entries += 1;
        if entries > entries_max {
            held.is_cut = true;
            return Ok(held);
        }
        let parent = level.fd()?;
        let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let bytes = as_u64(stat.st_blocks).saturating_mul(DISK_BLOCK);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            // Each name of a file with several counts for its part.
            held.bytes = held
                .bytes
                .saturating_add(bytes / as_u64(stat.st_nlink).max(1));
            continue;
        }
        held.bytes = held.bytes.saturating_add(bytes);
        let below = handles::folder(parent, name).and_then(|handle| Ok(Dir::new(handle)?));
        if levels.len() >= DEPTH_MAX {
            held.is_cut = true;
        } else if let Ok(below) = below {
            levels.push(below);
        }
    }
    Ok(held)
}

/// The system's numbers have other types on other machines.
fn as_u64(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn measured(folder: &Path, entries_max: u64) -> Held {
        measure(folder, entries_max, &CancellationToken::new()).expect("measured")
    }

    #[test]
    fn files_count_once_and_links_lead_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = tempfile::tempdir().expect("a folder");
        std::fs::write(elsewhere.path().join("big"), vec![1; 4 << 20]).expect("written");
        let root = folder.path();
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        std::fs::write(root.join("a/b/model"), vec![1; 1 << 20]).expect("written");
        let disk = |name: &str| {
            let found = std::fs::symlink_metadata(root.join(name)).expect("there");
            found.blocks() * DISK_BLOCK
        };
        let all = disk("a") + disk("a/b") + disk("a/b/model");
        assert_eq!(measured(root, 100).bytes, all);
        std::fs::hard_link(root.join("a/b/model"), root.join("a/again")).expect("linked");
        std::os::unix::fs::symlink(elsewhere.path(), root.join("link")).expect("linked");
        let held = measured(root, 100);
        assert_eq!((held.bytes, held.is_cut), (all + disk("link"), false));
        // A hole takes no room.
        let sparse = std::fs::File::create(root.join("sparse")).expect("made");
        sparse.set_len(1 << 40).expect("longer");
        assert!(measured(root, 100).bytes < all + (1 << 20));
        assert!(measured(root, 3).is_cut, "more entries than that");
    }

    #[test]
    fn deep_folders_are_cut_and_a_stop_ends_the_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut deep = folder.path().to_owned();
        for _ in 0..DEPTH_MAX {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).expect("made");
        std::fs::write(folder.path().join("file"), vec![1; 1 << 20]).expect("written");
        let held = measured(folder.path(), 1000);
        assert!(held.is_cut && held.bytes >= 1 << 20, "{held:?}");
        std::fs::remove_dir(&deep).expect("removed");
        assert!(!measured(folder.path(), 1000).is_cut);
        let stop = CancellationToken::new();
        stop.cancel();
        measure(folder.path(), 1000, &stop).expect_err("stopped");
        measure(&deep, 1000, &CancellationToken::new()).expect_err("missing");
    }
}
