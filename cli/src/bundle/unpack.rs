//! Unpacks results into a new folder. A container can write anything to `/outdir`, so nothing is written outside the
//! folder, over an existing file, or through a link.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, EntryType};

/// Zeros of this length become a hole.
const HOLE_BYTES: usize = 64 * 1024;

/// Why results cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// The target exists.
    #[error("{} exists; remove it or choose another folder with --into", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// An entry outside the folder.
    #[error("the archive contains {name:?}, which is outside the folder")]
    Escapes {
        /// Its name.
        name: String,
    },
    /// The archive is cut or damaged.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// A file cannot be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was unpacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// How many files.
    pub(crate) files: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// Special files, and links that may lead out, which are left out.
    pub(crate) skipped: Vec<String>,
}

/// Unpacks the archive into `target`, which must not exist. The folder gets its name once it is
/// complete.
pub(crate) fn unpack(archive: impl Read, target: &Path) -> Result<Unpacked, UnpackError> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(UnpackError::Exists {
            path: target.to_owned(),
        });
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let write = |source| UnpackError::Write {
        path: target.to_owned(),
        source,
    };
    fs::create_dir_all(parent).map_err(write)?;
    let staging = tempfile::Builder::new()
        .prefix(".dopq-")
        .tempdir_in(parent)
        .map_err(write)?;
    // A folder inside, because only the owner may enter the temporary one.
    let root = staging.path().join("results");
    fs::create_dir(&root).map_err(write)?;
    let unpacked = fill(archive, &root)?;
    fs::rename(&root, target).map_err(write)?;
    Ok(unpacked)
}

fn fill(archive: impl Read, root: &Path) -> Result<Unpacked, UnpackError> {
    let mut unpacked = Unpacked::default();
    // Made last, so that nothing is written through one.
    let mut links = Vec::new();
    let mut archive = Archive::new(archive);
    for entry in archive.entries().map_err(UnpackError::Read)? {
        let mut entry = entry.map_err(UnpackError::Read)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let relative = inside(&entry.path().map_err(UnpackError::Read)?)
            .ok_or_else(|| UnpackError::Escapes { name: name.clone() })?;
        let depth = relative.components().count();
        let path = root.join(relative);
        let write = |source| UnpackError::Write {
            path: path.clone(),
            source,
        };
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory {
            fs::create_dir_all(&path).map_err(write)?;
        } else if kind == EntryType::Symlink {
            let target = entry.link_name().map_err(UnpackError::Read)?;
            match target.filter(|target| stays_inside(target, depth)) {
                Some(target) => links.push((path, target.into_owned())),
                None => unpacked.skipped.push(name),
            }
        } else if matches!(
            kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        ) {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(write)?;
            }
            let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
            let mut file = create(&path, executable).map_err(write)?;
            let size = entry.size();
            copy_holes(&mut entry, &mut file, size)?;
            unpacked.bytes += size;
            unpacked.files += 1;
        } else {
            unpacked.skipped.push(name);
        }
    }
    for (path, target) in links {
        link(&target, &path).map_err(|source| UnpackError::Write {
            path: path.clone(),
            source,
        })?;
        unpacked.files += 1;
    }
    Ok(unpacked)
}

/// Whether a link's target cannot lead out of the folder, for a link with so many parts in its path. `..` after a name
/// might lead out through another link.
fn stays_inside(target: &Path, depth: usize) -> bool {
    let mut ups = 0;
    let mut named = false;
    for component in target.components() {
        match component {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if !named => ups += 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    ups < depth
}

/// Makes a link.
#[cfg(unix)]
fn link(target: &Path, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    std::os::unix::fs::symlink(target, path)
}

/// Makes a link, which may need a privilege.
#[cfg(windows)]
fn link(target: &Path, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let found = path.parent().map(|parent| parent.join(target));
    if found.is_some_and(|found| found.is_dir()) {
        std::os::windows::fs::symlink_dir(target, path)
    } else {
        std::os::windows::fs::symlink_file(target, path)
    }
}

/// Copies a file's content; what is zeros becomes a hole.
fn copy_holes(from: &mut impl Read, to: &mut File, size: u64) -> Result<(), UnpackError> {
    let mut buffer = vec![0; HOLE_BYTES];
    let mut copied = 0;
    loop {
        let read = fill_up(from, &mut buffer).map_err(UnpackError::Read)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            break;
        };
        copied += as_u64(read);
        let written = if read == HOLE_BYTES && piece.iter().all(|byte| *byte == 0) {
            let ahead = i64::try_from(read).unwrap_or(i64::MAX);
            to.seek(SeekFrom::Current(ahead)).map(drop)
        } else {
            to.write_all(piece)
        };
        written.map_err(UnpackError::Read)?;
    }
    if copied != size {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "a file is cut");
        return Err(UnpackError::Read(cut));
    }
    to.set_len(size).map_err(UnpackError::Read)
}

/// Reads until the buffer is full or nothing is left.
fn fill_up(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The path if it stays inside the folder.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(relative)
}

/// A new file, never an existing one; the umask still applies.
fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if executable { 0o777 } else { 0o666 });
    }
    #[cfg(not(unix))]
    let _ = executable;
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            // Written by hand, because the library refuses to make hostile names.
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            if *kind == EntryType::Symlink {
                header.set_link_name(content).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn files_and_folders_come_back() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("new/out");
        let tar = archive(&[
            ("./", EntryType::Directory, ""),
            ("model/weights.bin", EntryType::Regular, "12345"),
            ("log.txt", EntryType::Regular, "ok"),
            ("empty/", EntryType::Directory, ""),
        ]);
        let unpacked = unpack(tar.as_slice(), &target).unwrap();
        assert_eq!((unpacked.files, unpacked.bytes), (2, 7));
        assert_eq!(
            fs::read(target.join("model/weights.bin")).unwrap(),
            b"12345"
        );
        assert!(target.join("empty").is_dir());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(target.join("log.txt"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o7000, 0, "setuid is not taken over");
        }
        assert!(matches!(
            unpack(tar.as_slice(), &target),
            Err(UnpackError::Exists { .. })
        ));
    }

    #[test]
    fn nothing_lands_outside_and_nothing_half() {
        for name in ["../evil", "/evil", "a/../../evil"] {
            let home = tempfile::tempdir().unwrap();
            let target = home.path().join("out");
            let tar = archive(&[
                ("good", EntryType::Regular, "x"),
                (name, EntryType::Regular, "x"),
            ]);
            assert!(
                matches!(
                    unpack(tar.as_slice(), &target),
                    Err(UnpackError::Escapes { .. })
                ),
                "{name}"
            );
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{name}");
        }
    }

    #[test]
    fn links_that_may_lead_out_are_told_and_not_made() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("out");
        let tar = archive(&[
            ("way", EntryType::Symlink, "/etc"),
            ("way/passwd", EntryType::Regular, "x"),
            ("up", EntryType::Symlink, "../x"),
            ("deep/up", EntryType::Symlink, "a/../../../x"),
        ]);
        let unpacked = unpack(tar.as_slice(), &target).unwrap();
        assert_eq!(unpacked.skipped, ["way", "up", "deep/up"]);
        assert_eq!(fs::read(target.join("way/passwd")).unwrap(), b"x");
    }

    #[cfg(unix)]
    #[test]
    fn links_inside_are_made_and_nothing_is_written_through_them() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("out");
        let tar = archive(&[
            ("run/5.ckpt", EntryType::Regular, "weights"),
            ("run/last.ckpt", EntryType::Symlink, "5.ckpt"),
            ("latest", EntryType::Symlink, "run"),
            ("run/up", EntryType::Symlink, "../latest/5.ckpt"),
        ]);
        let unpacked = unpack(tar.as_slice(), &target).unwrap();
        assert_eq!((unpacked.files, unpacked.skipped.len()), (4, 0));
        for name in ["run/last.ckpt", "latest/last.ckpt", "run/up"] {
            assert_eq!(fs::read(target.join(name)).unwrap(), b"weights", "{name}");
        }
        let tar = archive(&[
            ("link", EntryType::Symlink, "real"),
            ("link", EntryType::Regular, "through"),
        ]);
        let through = unpack(tar.as_slice(), &home.path().join("other"));
        assert!(
            matches!(through, Err(UnpackError::Write { .. })),
            "{through:?}"
        );
    }

    #[test]
    fn zeros_become_holes_again() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("out");
        let content = format!("{}end", "\0".repeat(1 << 20));
        let tar = archive(&[("sparse", EntryType::Regular, &content)]);
        unpack(tar.as_slice(), &target).unwrap();
        assert_eq!(fs::read(target.join("sparse")).unwrap(), content.as_bytes());
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let blocks = fs::metadata(target.join("sparse")).unwrap().blocks();
            assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
        }
    }

    #[test]
    fn a_cut_archive_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("out");
        let tar = archive(&[("big", EntryType::Regular, &"x".repeat(5_000))]);
        let (cut, _) = tar.split_at(3_000);
        assert!(matches!(unpack(cut, &target), Err(UnpackError::Read(_))));
        assert!(!target.exists());
    }
}
